/** The keys of the walk as pictures, in their order: jump to one, move it, take it out. */

import { $, ICONS, arrowKeys, h, icon, keepFocus } from "./dom.js";
import { paint, picture } from "./paint.js";
import { nameOf } from "./state.js";
import { Pictures } from "./steady.js";

const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

export class Strip {
  #explorer;
  #listed = null; // names the keys that are shown
  #pictures;
  #dragged = null;

  constructor(explorer) {
    this.#explorer = explorer;
    this.#pictures = new Pictures(explorer);
    const list = $("keys");
    arrowKeys(list, ".key-picture", () => 1);
    list.addEventListener("click", ({ target }) => {
      const item = target.closest("li");
      if (!item) return;
      if (target.closest(".take-out")) this.#takeOut(Number(item.dataset.index));
      else this.#jump(Number(item.dataset.index));
    });
    list.addEventListener("keydown", (event) => this.#onKey(event), { capture: true });
    list.addEventListener("dragstart", ({ target }) => (this.#dragged = Number(target.closest("li").dataset.index)));
    list.addEventListener("dragover", (event) => this.#dragged !== null && event.preventDefault());
    list.addEventListener("drop", ({ target }) => {
      const to = target.closest("li")?.dataset.index;
      if (to !== undefined && this.#dragged !== null) this.#move(this.#dragged, Number(to));
      this.#dragged = null;
    });
    list.addEventListener("dragend", () => (this.#dragged = null));
  }

  /** Show the keys, and soon their pictures; the stage calls it whenever they change. */
  render() {
    this.#list();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#sample(), 140); // the large picture first
  }

  #list() {
    const { stage, store, model } = this.#explorer;
    const { keys } = stage;
    const { pins } = store.get();
    const isChosen = pins.length >= 2;
    const name = JSON.stringify([model.name, model.digest, keys, pins.length]);
    if (name === this.#listed) return;
    this.#listed = name;
    this.#pictures.forget();
    this.marked = null;
    keepFocus($("keys"), () => $("keys").replaceChildren(...keys.map((key, at) => this.#item(key, at, isChosen))));
    $("keys-hint").classList.remove("pending");
    $("keys-hint").textContent = isChosen
      ? "Drag to reorder, or Alt with an arrow key. Delete removes one."
      : pins.length === 1
        ? "One pinned. Pin another picture, and the walk leads through your own."
        : "Six seeds to begin with. Pin pictures (P) to walk through your own.";
  }

  async #sample() {
    const { stage, store, model, details } = this.#explorer;
    const { truncation } = store.get();
    if (!details) return; // the first frames of the walk come before it
    const { path } = stage.walk;
    const request = path.request(path.keys.map((_, at) => at * path.steps), { model: model.name, truncation });
    const pixels = await this.#pictures.sample(JSON.stringify([this.#listed, truncation]), request);
    if (!pixels) return;
    $("keys")
      .querySelectorAll("canvas")
      .forEach((canvas, at) => paint(canvas, pixels, at));
  }

  /** Mark where the walk is: a key and a share of the way to the next. */
  mark(position) {
    const nearest = Math.round(position) % Math.max(1, $("keys").children.length);
    if (nearest === this.marked) return;
    $("keys").children[this.marked]?.removeAttribute("aria-current");
    $("keys").children[nearest]?.setAttribute("aria-current", "step");
    this.marked = nearest;
  }

  #item(key, index, isChosen) {
    const name = `Key ${index + 1}: ${nameOf(key)}`;
    return h(
      "li",
      { "data-index": index, draggable: isChosen && "true" },
      h(
        "button",
        { type: "button", class: "key-picture", "aria-label": name, title: name, tabindex: index ? -1 : 0 },
        picture(this.#explorer.model.img_resolution || 1),
      ),
      isChosen &&
        h(
          "button",
          { type: "button", class: "take-out quiet icon-only tiny", "aria-label": `Remove key ${index + 1}`, tabindex: -1 },
          icon(ICONS.close),
        ),
    );
  }

  #jump(index) {
    const { stage } = this.#explorer;
    const { pins } = this.#explorer.store.get();
    stage.pause();
    const key = stage.keys[index];
    if (pins.length >= 2) stage.steer({ ...key }, {});
    else stage.show(key); // in the state, a seed would begin another walk
    stage.walk.position = index * stage.walk.path.steps;
    $("position").value = String(stage.walk.position);
    this.mark(index);
  }

  #takeOut(index) {
    const { pins } = this.#explorer.store.get();
    this.#explorer.store.set({ pins: pins.filter((_, at) => at !== index) });
  }

  #move(from, to) {
    const pins = [...this.#explorer.store.get().pins];
    if (to < 0 || to >= pins.length || pins.length < 2) return;
    pins.splice(to, 0, ...pins.splice(from, 1));
    this.#explorer.store.set({ pins });
  }

  #onKey(event) {
    const item = event.target.closest("li");
    if (!item || this.#explorer.store.get().pins.length < 2) return;
    const index = Number(item.dataset.index);
    if (event.key === "Delete" || event.key === "Backspace") this.#takeOut(index);
    else if (event.altKey && STEPS[event.key]) {
      this.#move(index, index + STEPS[event.key]);
      $("keys").children[index + STEPS[event.key]]?.querySelector("button").focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
