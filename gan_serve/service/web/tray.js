/** The picks, at hand below the grid: in their order, each can be taken out; and the way to the walk. */

import { ICONS, h, icon, latest } from "./dom.js";
import { parseSeeds } from "./seeds.js";

export class Tray {
  #root;
  #parts;
  #run = latest();

  constructor(root, parts) {
    this.#root = root;
    this.#parts = parts;
    root.addEventListener("click", ({ target }) => {
      const seed = target.closest("[data-seed]")?.dataset.seed;
      if (seed !== undefined) parts.store.togglePick(Number(seed));
    });
  }

  update(state) {
    this.#root.hidden = state.view === "walk" || state.picks.length === 0;
    document.body.classList.toggle("has-tray", !this.#root.hidden);
    if (this.#root.hidden) return;
    this.#render(state);
    const seeds = state.picks.filter((seed) => !isOnPage(seed, state));
    this.#run(async (signal) => {
      try {
        await this.#parts.images.draw({ ...state, seeds }, signal);
        if (!signal.aborted) this.#render(state);
      } catch {
        // The view says what is wrong. Without pictures the tray still works.
      }
    });
  }

  #render(state) {
    const { store } = this.#parts;
    const enough = state.picks.length >= 2;
    this.#root.replaceChildren(
      h(
        "ol",
        { class: "tray-picks" },
        state.picks.map((seed) => this.#pick(seed, state)),
      ),
      h("span", { class: "tray-hint" }, enough ? "" : "Pick one more"),
      h("button", { type: "button", class: "quiet", onclick: () => store.set({ picks: [] }) }, "Clear"),
      h(
        "button",
        {
          type: "button",
          class: "primary",
          id: "start-walk",
          disabled: !enough,
          onclick: () => store.set({ view: "walk" }),
        },
        "Walk",
      ),
    );
  }

  /** A pick; its picture is there once it was drawn. */
  #pick(seed, { model, label, truncation }) {
    const image = this.#parts.images.peek(model, seed, label, truncation);
    const picture = image
      ? h("img", { src: image.url, alt: "", class: "pixelated" })
      : h("span", { class: "blank" });
    const name = `Seed ${seed}: take it out of the walk`;
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", "data-seed": seed, "aria-label": name, title: name },
        picture,
        icon(ICONS.close),
      ),
    );
  }
}

/** Whether the grid draws it anyway; picks of other pages, as a link may hold, are a request of their own. */
function isOnPage(seed, { view, seeds }) {
  try {
    return view === "grid" && parseSeeds(seeds).includes(seed);
  } catch {
    return false;
  }
}
