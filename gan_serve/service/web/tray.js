/** The picks, at hand below the grid: in their order, each can be taken out; and the way to the walk. */

import { $, ICONS, h, icon, keepFocus, latest } from "./dom.js";
import { parseSeeds } from "./seeds.js";

export class Tray {
  #root;
  #parts;
  #run = latest();
  #picks = h("ol", { class: "tray-picks" });
  #hint = h("span", { class: "tray-hint" });
  #walk;

  constructor(root, parts) {
    this.#root = root;
    this.#parts = parts;
    const { store } = parts;
    const walk = () => store.set({ view: "walk" });
    this.#walk = h("button", { type: "button", class: "primary", id: "start-walk", onclick: walk }, "Walk");
    root.append(
      this.#picks,
      this.#hint,
      h("button", { type: "button", class: "quiet", onclick: () => store.set({ picks: [] }) }, "Clear"),
      this.#walk,
    );
    this.#picks.addEventListener("click", ({ target }) => {
      const seed = target.closest("[data-seed]")?.dataset.seed;
      if (seed !== undefined) store.togglePick(Number(seed));
    });
  }

  update(state) {
    const hadFocus = this.#root.contains(document.activeElement);
    this.#root.hidden = state.view === "walk" || state.picks.length === 0;
    if (this.#root.hidden && hadFocus) $("stage").focus({ preventScroll: true });
    document.body.classList.toggle("has-tray", !this.#root.hidden);
    if (this.#root.hidden) return;
    this.#render(state);
    const seeds = state.picks.filter((seed) => !isOnPage(seed, state, this.#parts.limits().max_images));
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
    const enough = state.picks.length >= 2;
    keepFocus(this.#picks, () =>
      this.#picks.replaceChildren(...state.picks.map((seed) => this.#pick(seed, state))),
    );
    this.#hint.textContent = enough ? "" : "Pick one more";
    this.#walk.disabled = !enough;
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
function isOnPage(seed, { view, seeds }, most) {
  try {
    return view === "grid" && parseSeeds(seeds, most).includes(seed);
  } catch {
    return false;
  }
}
