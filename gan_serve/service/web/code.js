/** A request for images in Python, for curl and on the command line. */

/** @returns {{language: string, text: string, note: string}[]} of the body of POST /sample */
export function codeOf(body, { origin, hasKey }) {
  if (body.latents) return [];
  return [
    { language: "Python", text: asPython(body, origin, hasKey), note: "Samples on this server." },
    { language: "curl", text: asCurl(body, origin, hasKey), note: "Samples on this server." },
    {
      language: "CLI",
      text: asCommand(body),
      note: "Samples on your own machine. Name the directory of a model that is not in the package.",
    },
  ];
}

function asPython({ model, ...options }, origin, hasKey) {
  const words = Object.entries(options).map(([name, value]) => `${name}=${literal(value)}`);
  const key = hasKey ? ', api_key=os.environ["GAN_SERVE_API_KEY"]' : "";
  return [
    hasKey ? "import os\n\nimport gan_serve\n" : "import gan_serve\n",
    `client = gan_serve.Client(${literal(origin)}${key})`,
    `images = client.generate(${[literal(model), ...words].join(", ")})`,
    `images[0].save("image.png")  # with its receipt`,
  ].join("\n");
}

function asCurl(body, origin, hasKey) {
  return [
    `curl --fail-with-body ${quote(`${origin}/sample`)}`,
    ...(hasKey ? [`-H "Authorization: Bearer $GAN_SERVE_API_KEY"`] : []),
    "-H 'Content-Type: application/json'",
    `-d ${quote(JSON.stringify(body))}`,
    "-o image.png",
  ].join(" \\\n  ");
}

/** A request as a command line. */
export function asCommand({ model, seeds, offsets, label, truncation }) {
  return [
    "gan-serve generate",
    quote(model),
    `--seeds ${quote(String(seeds))}`,
    // With "=": a value that begins with a minus sign would be taken for an option.
    ...(offsets?.some(Boolean) ? [`--offsets=${quote(offsets.join(","))}`] : []),
    ...(label ? [`--label ${quote(label)}`] : []),
    ...(truncation === undefined || truncation === 1 ? [] : [`--truncation ${truncation}`]),
    "--out image.png",
  ].join(" ");
}

/** A request as a module that loads the checkpoint at an address. */
export function asModule({ seeds, offsets, label, truncation }, address) {
  const options = {
    seeds,
    ...(offsets?.some(Boolean) && { offsets }),
    ...(label && { label }),
    ...(truncation !== 1 && truncation !== undefined && { truncation }),
  };
  return [
    `import { Generator } from ${literal(new URL("../../engine/gan-serve.js", address).href)};`,
    "",
    `const generator = await Generator.load(${literal(address)});`,
    `const images = await generator.generate(${JSON.stringify(options)});`,
    "const png = await images.png(0);  // with its receipt",
  ].join("\n");
}

function literal(value) {
  return Array.isArray(value) ? `[${value.map(literal).join(", ")}]` : JSON.stringify(value);
}

function quote(text) {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
