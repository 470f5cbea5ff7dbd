/** What is on the screen as requests, and the same in Python, for curl and on the command line. */

import { parseSeeds, seedsAsText } from "./seeds.js";

const SHEET_SEEDS = 8;
const SHEET_LABELS = 40;

/**
 * @typedef {object} Request
 * @property {"sample"|"condition"|"interpolate"} path
 * @property {object} body without `format`; what is as always is left out
 * @property {string[]} formats worth downloading, the best first
 * @property {string} [row] the first label of a sheet
 */

/** @returns {Request} for the page of seeds */
export function pageRequest(state) {
  return {
    path: "sample",
    body: { model: state.model, seeds: state.seeds, ...common(state) },
    formats: ["png", "npz", "zip"],
  };
}

/** @returns {Request} for the image that is open */
export function imageRequest(state) {
  const { seed, label } = state.open;
  return {
    path: "sample",
    body: { model: state.model, seeds: seed, ...common({ ...state, label }) },
    formats: ["png", "npz"],
  };
}

/** @returns {Request} for the walk through the picks */
export function walkRequest(state) {
  const { model, picks, steps, method, loop } = state;
  const body = {
    model,
    seeds: seedsAsText(picks),
    steps,
    ...(method !== "slerp" && { method }),
    ...(loop && { loop }),
  };
  return { path: "interpolate", body: { ...body, ...common(state) }, formats: ["gif", "webp", "png", "npz"] };
}

/**
 * The seeds and labels of a sheet: the first of many, and no more images than the server draws at once.
 *
 * @param {string[]} classNames those of the model
 * @param {number} most images
 * @returns {{seeds: number[], labels: string[]}}
 */
export function sheetOf(state, classNames, most) {
  const labels = classNames.slice(0, Math.min(SHEET_LABELS, most));
  const columns = Math.min(SHEET_SEEDS, Math.floor(most / labels.length));
  return { seeds: parseSeeds(state.seeds, most).slice(0, columns), labels };
}

/** @returns {Request} for the sheet of labels; parameters as for sheetOf */
export function sheetRequest(state, classNames, most) {
  const { seeds, labels } = sheetOf(state, classNames, most);
  const some = labels.length < classNames.length && { labels };
  return {
    path: "condition",
    body: { model: state.model, seeds: seedsAsText(seeds), ...some, ...common({ ...state, label: null }) },
    formats: ["png", "npz", "zip"],
    row: classNames[0],
  };
}

function common({ label, truncation }) {
  return { ...(label !== null && { label }), ...(truncation !== 1 && { truncation }) };
}

/** A file name that tells what is inside. */
export function fileName({ path, body }, format) {
  const what = { sample: "seeds", condition: "labels-seeds", interpolate: "walk-seeds" }[path];
  const name = [body.model, body.label, what, String(body.seeds).slice(0, 40)].filter(Boolean).join("-");
  return `${name.replace(/[^\p{L}\p{N}._-]+/gu, "_")}.${format}`;
}

/**
 * How each language says a request.
 *
 * @type {Record<string, (request: Request, server: Server) => string>}
 * @typedef {{origin: string, hasKey: boolean, precision: ?string}} Server
 */
export const LANGUAGES = { Python: asPython, curl: asCurl, CLI: asCommand };

function asPython({ path, body, row }, { origin, hasKey }) {
  const { model, ...options } = body;
  const call = { sample: "generate", condition: "condition", interpolate: "interpolate" }[path];
  const words = [model, ...Object.entries(options)].map((word) =>
    Array.isArray(word) ? `${word[0]}=${pythonLiteral(word[1])}` : pythonLiteral(word),
  );
  const result = { sample: "images", condition: "sheet", interpolate: "frames" }[path];
  const use = {
    sample: `images[0].save("image.png")  # with its receipt`,
    condition: `sheet[${pythonLiteral(row)}][0].save("image.png")  # with its receipt`,
    interpolate: `frames[0].save("walk.gif", save_all=True, append_images=frames[1:], duration=83, loop=0)`,
  }[path];
  return [
    hasKey ? "import os\n\nimport gan_serve\n" : "import gan_serve\n",
    `client = gan_serve.Client(${pythonLiteral(origin)}${hasKey ? ', api_key=os.environ["GAN_SERVE_API_KEY"]' : ""})`,
    `${result} = client.${call}(${words.join(", ")})`,
    use,
  ].join("\n");
}

function asCurl({ path, body, formats }, { origin, hasKey }) {
  const [format] = formats;
  const key = hasKey ? ` \\\n  -H "Authorization: Bearer $GAN_SERVE_API_KEY"` : "";
  const data = shellQuote(JSON.stringify(body));
  return `curl --fail-with-body ${shellQuote(`${origin}/${path}`)}${key} \\
  -H 'Content-Type: application/json' \\
  -d ${data} \\
  -o ${shellQuote(fileName({ path, body }, format))}`;
}

function asCommand({ path, body, formats }, { precision }) {
  const { model, ...options } = body;
  const command = { sample: "generate", condition: "condition", interpolate: "interpolate" }[path];
  const words = Object.entries(options).flatMap(([name, value]) => {
    if (value === true) return [`--${name}`];
    if (name === "labels") return value.flatMap((label) => ["--label", shellQuote(label)]);
    return [`--${name}`, shellQuote(String(value))];
  });
  if (precision && precision !== "fp32") words.push("--precision", precision);
  return [
    "gan-serve",
    command,
    shellQuote(model),
    ...words,
    "--out",
    shellQuote(fileName({ path, body }, formats[0])),
  ].join(" ");
}

function pythonLiteral(value) {
  if (value === true) return "True";
  if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(", ")}]`;
  return JSON.stringify(value);
}

function shellQuote(text) {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
