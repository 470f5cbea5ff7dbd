/** The sheet of labels: one latent a column, one label a row. What a label means, with all else held still. */

import { BLANK, arrowKeys, h, latest, makeTabStop } from "./dom.js";
import { sheetOf } from "./requests.js";

export class LabelsView {
  #root;
  #parts;
  #run = latest();
  #drawn = null;
  #shape = null;

  constructor(root, parts) {
    this.#root = root;
    this.#parts = parts;
    arrowKeys(root, ".cell", () => root.querySelectorAll("thead th").length - 1);
    root.addEventListener("click", ({ target }) => {
      const cell = target.closest(".cell");
      if (cell) parts.store.open(Number(cell.dataset.seed), cell.dataset.label);
    });
  }

  update(state, model) {
    const sheet = JSON.stringify([state.model, model.digest, state.seeds, state.truncation]);
    if (sheet !== this.#drawn) {
      this.#drawn = sheet;
      this.#run((signal) => this.#draw(state, model, signal));
    }
    this.#markRow(state.label);
  }

  leave() {
    if (this.#root.ariaBusy === "true") this.retry();
    this.#run.cancel();
  }

  retry() {
    this.#drawn = null;
  }

  async #draw(state, model, signal) {
    const { status, problem, images, retry, limits } = this.#parts;
    try {
      const { seeds, labels } = sheetOf(state, model.class_names, limits().max_images);
      this.#makeSheet(seeds, labels, model);
      this.#root.ariaBusy = "true";
      status.busy("Drawing each label…");
      const rows = await images.drawSheet({ ...state, seeds, labels }, signal);
      signal.throwIfAborted();
      problem.clear();
      const pictures = rows.flat();
      this.#cells().forEach((cell, index) => (cell.firstChild.src = pictures[index].url));
      status.say(`${labels.length} labels, ${seeds.length} ${seeds.length === 1 ? "seed" : "seeds"}`);
    } catch (error) {
      if (signal.aborted) return;
      this.#drawn = null;
      this.#shape = null;
      this.#root.replaceChildren();
      status.say("");
      problem.show(error, { action: retry });
    }
    this.#root.ariaBusy = "false";
  }

  /** All cells before their pictures are there: nothing moves when they come. */
  #makeSheet(seeds, labels, model) {
    const shape = JSON.stringify([seeds, labels]);
    if (shape === this.#shape) return;
    this.#shape = shape;
    this.#root.replaceChildren(note(labels, model), table(seeds, labels, model));
    makeTabStop(this.#root, ".cell", this.#cells()[0]);
  }

  /** The row of the label that the other views draw. */
  #markRow(label) {
    for (const row of this.#root.querySelectorAll("tbody tr"))
      row.classList.toggle("chosen", row.dataset.label === label);
  }

  #cells() {
    return [...this.#root.querySelectorAll(".cell")];
  }
}

function note(labels, model) {
  const some =
    labels.length < model.class_names.length
      ? ` The first ${labels.length} of ${model.class_names.length} labels.`
      : "";
  return h(
    "p",
    { class: "hint sheet-note" },
    `One latent down each column, one label along each row.${some}`,
  );
}

function table(seeds, labels, model) {
  const head = h(
    "tr",
    {},
    h("th", { scope: "col" }, "Label"),
    seeds.map((seed) => h("th", { scope: "col", class: "seed" }, seed)),
  );
  const body = labels.map((label) =>
    h(
      "tr",
      { "data-label": label },
      h("th", { scope: "row" }, label),
      seeds.map((seed) => h("td", {}, makeCell(seed, label))),
    ),
  );
  const pixelated = model.img_resolution <= 48 ? "pixelated" : "";
  return h(
    "div",
    { class: "sheet-scroll" },
    h("table", { class: `sheet ${pixelated}` }, h("thead", {}, head), h("tbody", {}, body)),
  );
}

function makeCell(seed, label) {
  return h(
    "button",
    {
      type: "button",
      class: "cell",
      "data-seed": seed,
      "data-label": label,
      "aria-label": `Seed ${seed}, ${label}`,
    },
    h("img", { src: BLANK, alt: "" }),
  );
}
