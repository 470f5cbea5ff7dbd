/** A slider for each direction, with the pictures of both ends, and one for truncation. A double-click resets. */

import { $, h } from "./dom.js";
import { paint, picture } from "./paint.js";
import { REACH } from "./pad.js";
import { pointOf } from "./state.js";
import { Pictures } from "./steady.js";

export class Sliders {
  #explorer;
  #pictures;
  #inputs = [];
  #truncation;

  constructor(explorer) {
    this.#explorer = explorer;
    this.#pictures = new Pictures(explorer);
    this.#truncation = this.#row("Truncation", { min: 0, max: 1, step: 0.01, id: "truncation", reset: 1 }, (value) => ({
      truncation: value,
    }));
    $("sliders").append(this.#truncation.row);
  }

  /** The sliders of a model whose directions are known. */
  begin() {
    const { directions, details } = this.#explorer;
    this.#pictures.forget();
    this.#inputs = directions.map((_, index) =>
      this.#row(
        `Direction ${index + 1}`,
        { min: -REACH, max: REACH, step: 0.05, id: `direction-${index + 1}`, reset: 0 },
        (value) => ({ move: this.#moveWith(index, value) }),
      ),
    );
    const floor = details.latent_space?.truncation_floor ?? 0;
    this.#truncation.input.min = String(floor);
    $("sliders").replaceChildren(...this.#inputs.map(({ row }) => row), this.#truncation.row);
    this.#show();
  }

  update(state, before) {
    this.#show();
    if (["seed", "latent", "label", "truncation", "move"].every((name) => state[name] === before[name])) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), 200);
  }

  /** Sample the pictures of the ends. */
  async refresh() {
    const { directions, store, model } = this.#explorer;
    if (!directions.length) return;
    const state = store.get();
    const name = JSON.stringify([model.name, model.digest, pointOf(state), state.truncation]);
    const ends = directions.flatMap((_, index) => [-REACH, REACH].map((end) => this.#moveWith(index, end)));
    const request = { ...this.#explorer.requestOf(pointOf(state), ends.length), offsets: ends };
    const pixels = await this.#pictures.sample(name, request);
    if (!pixels) return;
    this.#inputs.forEach(({ pictures }, index) =>
      pictures.forEach((canvas, end) => paint(canvas, pixels, 2 * index + end)),
    );
  }

  /** The offsets with another one at `index`, all of them, so that their number is that of the directions. */
  #moveWith(index, value) {
    const { move } = this.#explorer.store.get();
    return this.#explorer.directions.map((_, at) => (at === index ? value : (move[at] ?? 0)));
  }

  #row(name, { reset, ...range }, changes) {
    const value = h("span", { class: "value", "aria-hidden": "true" });
    const input = h("input", { type: "range", ...range });
    const set = (number) => this.#explorer.stage.steer(changes(number));
    input.addEventListener("input", () => set(Number(input.value)));
    input.addEventListener("dblclick", () => set(reset));
    const pictures = range.id === "truncation" ? [] : [picture(1), picture(1)];
    const row = h(
      "div",
      { class: "slider-row" },
      pictures[0],
      h("div", { class: "slider" }, h("div", { class: "spread" }, h("label", { for: range.id }, name), value), input),
      pictures[1],
    );
    return { row, input, value, pictures };
  }

  #show() {
    const { move, truncation } = this.#explorer.store.get();
    this.#inputs.forEach(({ input, value }, index) => {
      input.value = String(move[index] ?? 0);
      value.textContent = (move[index] ?? 0).toFixed(2);
    });
    const { input, value } = this.#truncation;
    input.min = String(Math.min(Number(input.min), truncation)); // a link may go below the floor
    input.value = String(truncation);
    value.textContent = truncation.toFixed(2);
  }
}
