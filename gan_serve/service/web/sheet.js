/** The contact sheet: a page of seeds. One is shown large by a click, and pinned by its corner or the key P. */

import { $, ICONS, arrowKeys, h, icon, makeTabStop } from "./dom.js";
import { paint, picture } from "./paint.js";
import { isRun, pageFrom, parseSeeds } from "./seeds.js";
import { pointAt } from "./state.js";
import { Steady } from "./steady.js";

const PAGE_SIZES = [16, 32, 64, 128];

export class Sheet {
  #explorer;
  #drawn = null;
  #page = null; // its text, and its seeds
  #seeds = [];
  #steady = new Steady(() => this.#sample());

  constructor(explorer) {
    this.#explorer = explorer;
    const { store } = explorer;
    const sheet = $("sheet");
    arrowKeys(sheet, ".cell", () => getComputedStyle(sheet).gridTemplateColumns.split(" ").length);
    sheet.addEventListener("click", ({ target }) => {
      const cell = target.closest(".cell");
      if (!cell) return;
      if (target.closest(".corner")) this.#pin(Number(cell.dataset.seed));
      else this.#show(Number(cell.dataset.seed));
    });
    sheet.addEventListener("keydown", (event) => {
      const seed = event.target.closest(".cell")?.dataset.seed;
      if (seed === undefined) return;
      if (event.key === "Enter" || event.key === " ") this.#show(Number(seed));
      else if (event.key === "p" || event.key === "P") this.#pin(Number(seed));
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    $("seeds-form").addEventListener("submit", (event) => {
      event.preventDefault();
      try {
        const seeds = parseSeeds($("seeds").value, explorer.limits.max_images);
        store.set({ page: seeds.length === 1 ? pageFrom(seeds[0], this.count) : $("seeds").value.replace(/\s/g, "") });
        this.#complain("");
      } catch (error) {
        this.#complain(error.message);
        $("seeds").focus();
      }
    });
    const turn = (by) => store.set({ page: pageFrom(this.#seeds[0] + by * this.#seeds.length, this.#seeds.length) });
    $("previous").addEventListener("click", () => turn(-1));
    $("next").addEventListener("click", () => turn(1));
    $("count").addEventListener("change", () => store.set({ page: pageFrom(this.#seeds[0] ?? 0, this.count) }));
  }

  /** Images on a page. */
  get count() {
    return Number($("count").value) || 32;
  }

  update(state, before) {
    if (state.page !== before.page) this.refresh();
    else if (state.label !== before.label || state.truncation !== before.truncation) this.#steady.ask(null);
    if (["seed", "latent", "pins", "label"].some((name) => state[name] !== before[name])) this.#mark(state);
  }

  /** Show the page of the state, and sample what is not there. */
  async refresh() {
    const { store, limits } = this.#explorer;
    const { page } = store.get();
    try {
      this.#seeds = parseSeeds(page, limits.max_images);
      this.#complain("");
    } catch (error) {
      this.#complain(error.message);
      return;
    }
    if (page !== this.#page) $("seeds").value = page; // what a person types stays
    this.#page = page;
    this.#showCells();
    await this.#steady.ask(null);
  }

  async #sample() {
    const { store, model } = this.#explorer;
    const { label, truncation } = store.get();
    const seeds = this.#seeds;
    const name = JSON.stringify([model.name, model.digest, seeds, label, truncation]);
    if (name === this.#drawn || !model.z_dim) return;
    const request = { ...this.#explorer.requestOf(pointAt(0, label)), seeds };
    const pixels = await this.#explorer.sample(request, () => seeds !== this.#seeds);
    if (!pixels) return;
    this.#drawn = name;
    $("sheet")
      .querySelectorAll("canvas")
      .forEach((canvas, index) => paint(canvas, pixels, index));
    $("sheet").dataset.seeds = String(seeds.length);
    this.#explorer.status.say(`${seeds.length} images`);
  }

  #show(seed) {
    this.#explorer.stage.steer(pointAt(seed, this.#explorer.store.get().label), {});
  }

  #pin(seed) {
    this.#explorer.stage.pin(pointAt(seed, this.#explorer.store.get().label));
  }

  /** As many cells as seeds; the ones that are there are used again. */
  #showCells() {
    const sheet = $("sheet");
    while (sheet.children.length > this.#seeds.length) sheet.lastChild.remove();
    while (sheet.children.length < this.#seeds.length) sheet.append(makeCell());
    [...sheet.children].forEach((cell, index) => {
      const seed = this.#seeds[index];
      cell.dataset.seed = String(seed);
      cell.lastChild.textContent = String(seed);
    });
    if (!sheet.querySelector('[tabindex="0"]') && sheet.firstChild) makeTabStop(sheet, ".cell", sheet.firstChild);
    this.#mark(this.#explorer.store.get());
    const most = this.#explorer.limits.max_images;
    const sizes = most < PAGE_SIZES[0] ? [most] : PAGE_SIZES.filter((size) => size <= most);
    $("count").replaceChildren(...sizes.map((size) => new Option(size, size)));
    $("count").value = String(sizes.find((size) => size >= this.#seeds.length) ?? sizes.at(-1));
    const turnable = this.#seeds.length > 0 && isRun(this.#seeds);
    $("previous").disabled = !turnable || this.#seeds[0] === 0;
    $("next").disabled = !turnable || this.#seeds.at(-1) === 2 ** 32 - 1;
  }

  #mark({ seed, latent, pins, label }) {
    for (const cell of $("sheet").children) {
      const own = Number(cell.dataset.seed);
      const inWords = this.#explorer.labelOf({ seed: own, label });
      cell.setAttribute("aria-label", `Seed ${own}${inWords === null ? "" : `, ${inWords}`}`);
      cell.setAttribute("aria-selected", String(own === seed && !latent));
      cell.classList.toggle("pinned", pins.some((pin) => pin.seed === own && !pin.latent));
    }
  }

  #complain(message) {
    $("seeds").setAttribute("aria-invalid", String(Boolean(message)));
    $("seeds-hint").textContent = message || "A seed to start from, or a set: 0-3,10";
    $("seeds-hint").classList.toggle("wrong", Boolean(message));
  }
}

function makeCell() {
  return h(
    "div",
    { class: "cell", role: "option", tabindex: -1 },
    picture(1),
    h("span", { class: "corner", "aria-hidden": "true", title: "Pin (P)" }, icon(ICONS.pin)),
    h("span", { class: "cell-seed", "aria-hidden": "true" }),
  );
}
