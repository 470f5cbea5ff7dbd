/** The plane of the first two directions as a mosaic: hover previews, drag steers, click pins. */

import { $ } from "./dom.js";
import { paintMosaic } from "./paint.js";
import { pointOf } from "./state.js";
import { Pictures } from "./steady.js";

export const REACH = 4; // standard deviations from the middle to an edge
const CELLS = 8;
const STEP = 0.25; // of an arrow key

export class Pad {
  #explorer;
  #pictures;
  #press = null;

  constructor(explorer) {
    this.#explorer = explorer;
    this.#pictures = new Pictures(explorer);
    const pad = $("pad");
    pad.addEventListener("pointerdown", (event) => this.#onDown(event));
    pad.addEventListener("pointermove", (event) => this.#onMove(event));
    pad.addEventListener("pointerup", (event) => this.#onUp(event));
    pad.addEventListener("pointercancel", () => (this.#press = null));
    pad.addEventListener("pointerleave", () => this.#onLeave());
    pad.addEventListener("keydown", (event) => this.#onKey(event));
  }

  update(state, before) {
    this.#mark();
    if (["seed", "latent", "label", "truncation", "move"].every((name) => state[name] === before[name])) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), 120); // the large picture first
  }

  /** Sample the mosaic around the current seed, unless it is there. */
  async refresh() {
    const { model, directions, store } = this.#explorer;
    $("pad-part").hidden = directions.length < 2;
    if (directions.length < 2) return;
    const { seed, latent, move, label, truncation } = store.get();
    const rest = Array.from({ length: directions.length - 2 }, (_, index) => move[index + 2] ?? 0);
    const name = JSON.stringify([model.name, model.digest, seed, latent, rest, label, truncation]);
    this.#mark();
    const middle = (index) => ((index + 0.5) / CELLS - 0.5) * 2 * REACH;
    const cells = Array.from({ length: CELLS * CELLS }, (_, at) => [at % CELLS, Math.floor(at / CELLS)]);
    const request = {
      ...this.#explorer.requestOf(pointOf(store.get()), cells.length),
      offsets: cells.map(([column, row]) => [middle(column), -middle(row), ...rest]),
    };
    const pixels = await this.#pictures.sample(name, request);
    if (!pixels) return;
    paintMosaic($("mosaic"), pixels, CELLS);
    $("mosaic").classList.add("painted");
  }

  #mark() {
    const [x = 0, y = 0] = this.#explorer.store.get().move;
    $("marker").style.left = `${50 + (50 * x) / REACH}%`;
    $("marker").style.top = `${50 - (50 * y) / REACH}%`;
  }

  /** The state's move with other offsets on the plane, from a pointer. */
  #moveAt(event) {
    const box = $("pad").getBoundingClientRect();
    const along = (value, from, length) => Math.min(1, Math.max(0, (value - from) / length)) * 2 * REACH - REACH;
    return this.#withPlane(along(event.clientX, box.left, box.width), -along(event.clientY, box.top, box.height));
  }

  #withPlane(x, y) {
    const rest = this.#explorer.store.get().move.slice(2);
    const short = (value) => Math.round(Math.min(REACH, Math.max(-REACH, value)) * 100) / 100 || 0;
    return [short(x), short(y), ...rest];
  }

  #onDown(event) {
    if (event.button !== 0) return;
    $("pad").setPointerCapture(event.pointerId);
    this.#press = { x: event.clientX, y: event.clientY, isDrag: false };
  }

  #onMove(event) {
    const { stage, store } = this.#explorer;
    if (this.#press) {
      const distance = Math.hypot(event.clientX - this.#press.x, event.clientY - this.#press.y);
      this.#press.isDrag ||= distance > 4;
      if (this.#press.isDrag) stage.steer({ move: this.#moveAt(event) });
    } else if (event.pointerType === "mouse" && this.#explorer.directions.length > 1) {
      if (stage.walk.isPlaying) {
        this.wasPlaying = true;
        stage.pause();
      }
      stage.show({ ...pointOf(store.get()), move: this.#moveAt(event) });
    }
  }

  #onUp(event) {
    const press = this.#press;
    this.#press = null;
    if (!press) return;
    this.wasPlaying = false;
    const move = this.#moveAt(event);
    this.#explorer.stage.steer({ move });
    if (!press.isDrag) this.#explorer.stage.pin({ ...pointOf(this.#explorer.store.get()), move });
  }

  /** Hovering changes nothing: what was shown before is shown again. */
  #onLeave() {
    if (this.#press) return;
    if (this.wasPlaying) this.#explorer.stage.play();
    else if (!this.#explorer.stage.walk.isPlaying) this.#explorer.stage.show();
    this.wasPlaying = false;
  }

  #onKey(event) {
    const by = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] }[event.key];
    const [x = 0, y = 0] = this.#explorer.store.get().move;
    if (by) this.#explorer.stage.steer({ move: this.#withPlane(x + by[0], y + by[1]) });
    else if (event.key === "Enter") this.#explorer.stage.pin();
    else return;
    event.preventDefault();
  }
}
