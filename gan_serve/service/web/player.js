/** Shows the frames of a walk: play, pause, and a slider to go through them by hand. Frames may still be coming. */

import { ICONS, h, icon } from "./dom.js";

export const FRAMES_PER_SECOND = 12;
const MOST_PICTURES = 10; // above the slider; more keys would overlap, and are marks

/** @typedef {import("./images.js").Image} Image */

export class Player {
  /** @type {Image[]} */
  #frames = [];
  #total = 0;
  #walk = null;
  #at = 0;
  #timer = null;
  #onFrame;

  /** Whether a person stopped it: the next walk, of other settings, then waits too. */
  isHeld = false;

  #image = h("img", { class: "pixelated", alt: "" });
  #slider = h("input", { type: "range", min: "0", value: "0", "aria-label": "Frame", disabled: true });
  #button = h("button", { type: "button", class: "primary icon-only", "aria-label": "Play", disabled: true });
  #counter = h("span", { class: "value counter", "aria-hidden": "true" });
  #keys = h("div", { class: "track-keys", "aria-hidden": "true" });

  /** @param {(frame: Image) => void} onFrame told which frame is shown */
  constructor(onFrame) {
    this.#onFrame = onFrame;
    this.#slider.addEventListener("input", () => {
      this.#hold();
      this.#show(Number(this.#slider.value));
    });
    this.#button.addEventListener("click", () => (this.#timer ? this.#hold() : this.play()));
    this.#drawButton();
    this.screen = h("div", { class: "screen" }, this.#image);
    this.transport = h(
      "div",
      { class: "transport" },
      this.#button,
      h("div", { class: "track" }, this.#keys, this.#slider),
      this.#counter,
    );
  }

  /** Begin a new walk; the frame on the screen stays until the first new one is there. */
  begin(walk) {
    this.pause();
    this.#walk = walk;
    this.#frames = [];
    this.#at = 0;
    this.#total = 0;
    this.#slider.disabled = this.#button.disabled = true;
    this.#counter.textContent = "";
    const keys = walk.loop ? [...walk.picks, walk.picks[0]] : walk.picks;
    this.#keys.classList.toggle("dense", keys.length > MOST_PICTURES);
    this.#keys.replaceChildren(...keys.map((seed) => h("span", { title: `Seed ${seed}` })));
  }

  /** @param {Image} frame the next one @param {number} total how many there will be */
  add(frame, total) {
    this.#total = total;
    const index = this.#frames.push(frame) - 1;
    this.#slider.max = String(total - 1);
    this.#slider.disabled = this.#button.disabled = false;
    if (index % this.#walk.steps === 0) this.#showKey(index / this.#walk.steps, frame);
    if (index === 0) this.#show(0);
    if (index === 0 && this.#walk.loop) this.#showKey(this.#walk.picks.length, frame);
    this.#count();
  }

  play() {
    this.isHeld = false;
    this.#timer ??= setInterval(() => this.#step(), 1000 / FRAMES_PER_SECOND);
    this.#drawButton();
  }

  pause() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#drawButton();
  }

  #hold() {
    this.pause();
    this.isHeld = true;
  }

  /** While frames are still coming it waits at the last one. */
  #step() {
    const next = this.#at + 1;
    if (next < this.#frames.length) this.#show(next);
    else if (next === this.#total) this.#show(0);
  }

  #show(index) {
    this.#at = Math.min(index, this.#frames.length - 1);
    const frame = this.#frames[this.#at];
    this.#image.src = frame.url;
    this.#image.alt = this.#place();
    this.#slider.value = String(this.#at);
    this.#slider.setAttribute("aria-valuetext", this.#place());
    this.#count();
    this.#onFrame(frame);
  }

  /** Where in the walk this is, in words. */
  #place() {
    const { picks, steps } = this.#walk;
    const [key, step] = [Math.floor(this.#at / steps), this.#at % steps];
    const from = picks[key];
    if (step === 0) return `Seed ${from}`;
    return `${Math.round((100 * step) / steps)} % of the way from seed ${from} to seed ${picks[(key + 1) % picks.length]}`;
  }

  #count() {
    this.#counter.textContent = `${this.#at + 1} / ${this.#total}`;
  }

  #showKey(place, { url }) {
    this.#keys.children[place]?.replaceChildren(h("img", { src: url, alt: "", class: "pixelated" }));
  }

  #drawButton() {
    this.#button.setAttribute("aria-label", this.#timer ? "Pause" : "Play");
    this.#button.replaceChildren(icon(this.#timer ? ICONS.pause : ICONS.play));
  }
}
