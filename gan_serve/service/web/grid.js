/** The page of seeds: a listbox in two dimensions. Enter or a click opens, Space or the corner picks for a walk. */

import { BLANK, ICONS, arrowKeys, h, icon, latest, makeTabStop } from "./dom.js";
import { parseSeeds } from "./seeds.js";

export class GridView {
  #grid;
  #parts;
  #run = latest();
  #onDrawn;
  #drawn = null;

  /**
   * @param {HTMLElement} grid has role=listbox
   * @param {() => void} onDrawn
   */
  constructor(grid, parts, onDrawn) {
    this.#grid = grid;
    this.#onDrawn = onDrawn;
    this.#parts = parts;
    arrowKeys(grid, ".cell", () => getComputedStyle(grid).gridTemplateColumns.split(" ").length);
    grid.addEventListener("click", (event) => this.#onClick(event));
    grid.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** Show the page that the state names; one request at most. */
  update(state, model) {
    const { seeds, label, truncation } = state;
    const page = JSON.stringify([state.model, model.digest, seeds, label, truncation]);
    if (page !== this.#drawn) {
      this.#drawn = page;
      this.#run((signal) => this.#draw(state, model, signal));
    }
    this.#markPicks(state.picks);
  }

  /** Stop what is under way; the next update begins anew. */
  leave() {
    if (this.#grid.ariaBusy === "true") this.retry();
    this.#run.cancel();
  }

  /** Draw again at the next update, though nothing changed. */
  retry() {
    this.#drawn = null;
  }

  async #draw(state, model, signal) {
    const { status, problem, images, retry, limits } = this.#parts;
    try {
      const seeds = parseSeeds(state.seeds, limits().max_images);
      this.#makeCells(seeds.length, model);
      this.#grid.ariaBusy = "true";
      status.busy(model.loaded === false ? `Loading ${model.name}…` : "Drawing…");
      const drawn = await images.draw({ ...state, seeds }, signal);
      signal.throwIfAborted();
      model.loaded = true;
      problem.clear();
      [...this.#grid.children].forEach((cell, index) =>
        fill(cell, seeds[index], drawn[index], state.label === null),
      );
      this.#markPicks(this.#parts.store.get().picks);
      this.#onDrawn();
      status.say(seeds.length === 1 ? "1 image" : `${seeds.length} images`);
    } catch (error) {
      if (signal.aborted) return;
      this.#drawn = null;
      this.#grid.replaceChildren();
      status.say("");
      problem.show(error, { action: retry });
    }
    this.#grid.ariaBusy = "false";
  }

  /** As many cells as images, before these are there: nothing moves when they come. */
  #makeCells(count, model) {
    this.#grid.classList.toggle("pixelated", model.img_resolution <= 48);
    while (this.#grid.children.length > count) this.#grid.lastChild.remove();
    while (this.#grid.children.length < count) this.#grid.append(makeCell());
    if (!this.#grid.querySelector('[tabindex="0"]')) makeTabStop(this.#grid, ".cell", this.#grid.firstChild);
  }

  #markPicks(picks) {
    for (const cell of this.#grid.children) {
      const place = picks.indexOf(Number(cell.dataset.seed));
      cell.setAttribute("aria-selected", String(place >= 0));
      cell.querySelector(".check").dataset.place = place >= 0 ? place + 1 : "";
    }
  }

  #onClick({ target }) {
    const cell = target.closest(".cell");
    if (!cell?.dataset.seed) return;
    const seed = Number(cell.dataset.seed);
    if (target.closest(".check")) {
      this.#parts.store.togglePick(seed);
    } else {
      this.#open(seed);
    }
  }

  #onKey(event) {
    const seed = event.target.closest(".cell")?.dataset.seed;
    if (!seed) return;
    if (event.key === "Enter") {
      this.#open(Number(seed));
    } else if (event.key === " ") {
      event.preventDefault();
      this.#parts.store.togglePick(Number(seed));
    }
  }

  #open(seed) {
    this.#parts.store.open(seed, this.#parts.store.get().label);
  }
}

function makeCell() {
  return h(
    "div",
    { class: "cell", role: "option", tabindex: "-1", "aria-selected": "false" },
    h("img", { src: BLANK, alt: "", draggable: "false" }),
    h("span", { class: "check", title: "Pick for a walk" }, icon(ICONS.check)),
    h("span", { class: "caption", "aria-hidden": "true" }),
  );
}

function fill(cell, seed, { url, receipt }, isBySeed) {
  const name = receipt.label ? `Seed ${seed}, ${receipt.label}` : `Seed ${seed}`;
  cell.dataset.seed = seed;
  cell.setAttribute("aria-label", name);
  cell.querySelector("img").src = url;
  cell.querySelector(".caption").textContent =
    isBySeed && receipt.label ? `${seed} · ${receipt.label}` : seed;
}
