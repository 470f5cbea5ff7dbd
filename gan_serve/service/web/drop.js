/** Pictures that are dropped on the page, or opened: their receipt names their latents; others are projected. */

import { $ } from "./dom.js";
import { GanServeError } from "./errors.js";
import { fromBase64, toBase64 } from "./latents.js";
import { textOf } from "./png-chunks.js";
import { parseSeeds, seedsAsText } from "./seeds.js";
import { isLatent, pointAt } from "./state.js";

const MOST_BYTES = 2 ** 26;

export class Drop {
  #explorer;
  #count = 0; // of the pictures so far: only the newest is shown

  constructor(explorer) {
    this.#explorer = explorer;
    const hasFiles = (event) => event.dataTransfer.types.includes("Files");
    addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.open(event.dataTransfer.files[0]);
    });
    $("open").addEventListener("click", () => $("open-file").click());
    $("open-file").addEventListener("change", ({ target }) => {
      this.open(target.files[0]);
      target.value = ""; // so that the same file can be chosen again
    });
  }

  async open(file) {
    const { limits, problem, status, translator } = this.#explorer;
    if (!file) return;
    if (this.#explorer.isTranslator()) return void translator.translate(file);
    this.#count += 1;
    const count = this.#count;
    problem.clear();
    $("opened").textContent = "";
    try {
      const receipt = await receiptOf(file);
      if (!receipt && !limits.project) {
        throw new GanServeError("no_receipt", `${file.name} has no receipt.`, "Open a PNG that gan-serve saved.");
      }
      status.busy(receipt ? "Reading the picture…" : `Searching for its latent: up to ${limits.project} s…`);
      const find = !receipt ? this.#projected(file) : receipt.seeds ? this.#sheetOf(receipt) : this.#pointOf(receipt);
      const { said, ...changes } = await find;
      if (count !== this.#count) return;
      status.say("");
      this.#show(changes);
      $("opened").textContent = `${file.name}: ${said}`;
    } catch (error) {
      if (count !== this.#count) return;
      status.say("");
      problem.show(error instanceof TypeError ? unshowable() : error); // a receipt whose fields have other types
    }
  }

  /** The page of seeds of a sheet. */
  async #sheetOf({ model, seeds, labels, mix, truncation }) {
    const names = this.#modelOf(model).class_names;
    const isBySeed = !labels || labels.every((each, at) => each === names[seeds[at] % names.length]);
    if (mix || !(isBySeed || labels.every((each) => each === labels[0]))) throw unshowable();
    const page = seedsAsText(seeds);
    parseSeeds(page, this.#explorer.limits.max_images); // throws where there are too many
    return { model, page, truncation, label: isBySeed ? null : labels[0], said: "its seeds are on the contact sheet." };
  }

  /** The seed or the latent of an image. It is sampled first: that says whether the model can do so. */
  async #pointOf({ model, digest, seed, latents, label = null, mix, truncation }) {
    this.#modelOf(model);
    if (mix || !(Number.isInteger(seed) || isLatent(latents ?? ""))) throw unshowable();
    const { backend } = this.#explorer;
    const origin = latents ? { latents: [fromBase64(latents)] } : { seeds: [seed] };
    await backend.sample({ model, ...origin, label, truncation });
    const { files } = await backend.details(model);
    const isSame = Object.values(files).some(({ sha256 }) => digest === `sha256:${sha256}`);
    const said = isSame ? "pinned." : `pinned. Another version of ${model} made it: here it may look different.`;
    return { model, truncation, point: { ...pointAt(seed ?? 0, label), latent: latents ?? null }, said };
  }

  /** The latent whose image is nearest to any picture. */
  async #projected(file) {
    const { backend, model } = this.#explorer;
    const { latents, label, psnr, real_psnr: real } = await backend.project(model.name, file);
    const point = { ...pointAt(0, label), latent: toBase64(Float32Array.from(latents[0])) };
    const beside = real ? `; the median of real pictures is ${real.toFixed(1)} dB` : "";
    return { model: model.name, truncation: 1, point, said: `the nearest image is pinned, PSNR ${psnr.toFixed(1)} dB${beside}.` };
  }

  #modelOf(wanted) {
    const found = this.#explorer.models.find(({ name }) => name === wanted);
    if (found) return found;
    throw new GanServeError("unknown_model", `The picture is of ${wanted}, which this page does not have.`);
  }

  #show({ model, point, ...changes }) {
    const { store, stage } = this.#explorer;
    const { pins, seed, model: before } = store.get();
    const isOther = model !== before;
    const kept = isOther ? [] : pins; // those of another model are not its own
    if (point) {
      stage.steer({ ...changes, model, ...point, pins: [...kept, point] }, {});
      if (stage.walk.isPlaying) stage.steer({}); // another model begins with a walk
    } else {
      store.set({ ...(isOther && pointAt(seed, null)), ...changes, model, pins: kept });
      $("contact").scrollIntoView();
    }
  }
}

/** @returns {Promise<?object>} the receipt of a PNG; null for other files, and without one */
async function receiptOf(file) {
  const text = file.size <= MOST_BYTES ? textOf(new Uint8Array(await file.arrayBuffer()), "gan_serve") : null;
  if (text === null) return null;
  try {
    const receipt = JSON.parse(text);
    if (receipt.truncation >= 0 && receipt.truncation <= 1) return receipt;
  } catch {
    // The same as a receipt of something else.
  }
  throw unshowable();
}

function unshowable() {
  return new GanServeError(
    "unsupported_receipt",
    "The page cannot show what this receipt names.",
    "It shows single images, and sheets of seeds. For all others there is gan-serve verify.",
  );
}
