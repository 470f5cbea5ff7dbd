/** Labels as pictures: the current latent under each. Beyond a dozen they can be searched. */

import { $, arrowKeys, h, makeTabStop } from "./dom.js";
import { paint, picture } from "./paint.js";
import { pointOf } from "./state.js";
import { Pictures } from "./steady.js";

const SEARCHED = 12; // labels beyond which there is a search
const SHOWN = 24; // at a time

export class Labels {
  #explorer;
  #pictures;
  #names = [];

  constructor(explorer) {
    this.#explorer = explorer;
    this.#pictures = new Pictures(explorer);
    const choose = (target) => {
      const chip = target.closest("[role=radio]");
      if (!chip) return;
      explorer.store.set({ label: chip.dataset.label ?? null });
    };
    $("labels").addEventListener("click", ({ target }) => choose(target));
    arrowKeys($("labels"), "[role=radio]", () => 1);
    $("labels-search").addEventListener("input", () => {
      this.#render();
      this.refresh();
    });
  }

  begin() {
    $("labels-search").value = "";
    this.#render();
  }

  update(state, before) {
    this.#mark();
    if (["seed", "latent", "truncation", "move"].every((name) => state[name] === before[name])) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), 160);
  }

  /** Sample the pictures. */
  async refresh() {
    const { store, model } = this.#explorer;
    const names = this.#names;
    if (!names.length) return;
    const { seed, latent, truncation, move } = store.get();
    const name = JSON.stringify([model.name, model.digest, seed, latent, truncation, move, names]);
    const request = { ...this.#explorer.requestOf(pointOf(store.get()), names.length), label: names };
    const pixels = await this.#pictures.sample(name, request);
    if (!pixels) return;
    $("labels")
      .querySelectorAll("[data-label] canvas")
      .forEach((canvas, index) => paint(canvas, pixels, index));
  }

  #render() {
    const { model } = this.#explorer;
    const all = model.c_dim ? model.class_names : [];
    $("labels-part").hidden = all.length === 0;
    $("labels-search").hidden = all.length <= SEARCHED;
    const wanted = $("labels-search").value.trim().toLocaleLowerCase();
    this.#names = all.filter((name) => name.toLocaleLowerCase().includes(wanted)).slice(0, SHOWN);
    this.#pictures.forget();
    $("labels").replaceChildren(
      h("button", { type: "button", role: "radio", class: "chip by-seed" }, h("span", {}, "By seed")),
      ...this.#names.map((name) =>
        h(
          "button",
          { type: "button", role: "radio", class: "chip", "data-label": name, title: name },
          picture(model.img_resolution),
          h("span", {}, name),
        ),
      ),
    );
    this.#mark();
  }

  #mark() {
    const { label } = this.#explorer.store.get();
    const chips = [...$("labels").querySelectorAll("[role=radio]")];
    for (const chip of chips) chip.setAttribute("aria-checked", String((chip.dataset.label ?? null) === label));
    const chosen = chips.find((chip) => chip.getAttribute("aria-checked") === "true") ?? chips[0];
    if (chosen && !chips.includes(document.activeElement)) makeTabStop($("labels"), "[role=radio]", chosen);
  }
}
