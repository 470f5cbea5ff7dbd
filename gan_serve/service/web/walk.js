/** The frames of a loop through key points: sampled ahead of the one that is shown, kept, and played at a steady rate. */

import { between, latentOfKey, moved } from "./latents.js";

export const RATE = 30; // frames a second
const MOST = 16; // frames of a request; the first one asks for a single frame, so that the picture moves soon

/** The key points, latents and labels of a loop. */
export class Path {
  /**
   * @param {import("./state.js").Point[]} keys two or more
   * @param {{steps: number, zDim: number, directions: number[][], labelOf: (key: object) => ?string}} options
   */
  constructor(keys, { steps, zDim, directions, labelOf }) {
    this.keys = keys;
    this.steps = steps;
    this.zDim = zDim;
    this.total = keys.length * steps;
    this.labels = keys.map(labelOf);
    const latents = keys.map((key) => moved(latentOfKey(key, zDim), key.move, directions));
    const width = Math.max(...latents.map(({ length }) => length)); // offsets in w may follow z: of the others they are 0
    this.latents = latents.map((latent) => Float32Array.from({ length: width }, (_, i) => latent[i] ?? 0));
  }

  /** Where frame `index` lies. The label changes with the nearer key: networks have no label between two. */
  at(index) {
    const from = Math.floor(index / this.steps) % this.keys.length;
    const to = (from + 1) % this.keys.length;
    const t = (index % this.steps) / this.steps;
    return { from, to, t, nearest: t < 0.5 ? from : to };
  }

  /** @returns {{latent: Float32Array, label: ?string}} */
  frame(index) {
    const { from, to, t, nearest } = this.at(index);
    const latent = between(this.latents[from], this.latents[to], t, this.zDim);
    return { latent, label: this.labels[nearest] };
  }

  /** The request for some frames. */
  request(indices, { model, truncation }) {
    const frames = indices.map((index) => this.frame(index));
    const label = frames[0].label === null ? null : frames.map((frame) => frame.label);
    return { model, truncation, latents: frames.map(({ latent }) => latent), label };
  }
}

/** Plays a path: calls `onFrame(index, pixels)` for each frame that is due and there. */
export class Walk {
  #sample;
  #onFrame;
  #path = null;
  #frames = [];
  #fetching = 0; // the generation that is being fetched for, 0: none
  #generation = 0;
  #clock = null;
  #isNew = false; // nothing of the path was shown
  position = 0;

  /**
   * @param {(path: Path, indices: number[], isStale: () => boolean) => Promise<?import("./backend.js").Pixels>} sample
   * @param {(index: number, pixels: import("./backend.js").Pixels) => void} onFrame
   */
  constructor(sample, onFrame) {
    this.#sample = sample;
    this.#onFrame = onFrame;
  }

  get path() {
    return this.#path;
  }

  get isPlaying() {
    return this.#clock !== null;
  }

  /** Take another path; the frame that is shown stays until the first new one is there. */
  follow(path) {
    this.#generation += 1;
    this.#path = path;
    this.#frames = [];
    this.#isNew = true;
    this.position = this.position < path.total ? this.position : 0;
  }

  play() {
    if (this.isPlaying || !this.#path) return;
    let last = performance.now();
    const tick = (now) => {
      this.#clock = requestAnimationFrame(tick);
      const step = ((now - last) / 1000) * RATE;
      const at = (by) => (this.position + by) % this.#path.total;
      let by = this.#isNew ? 0 : Math.min(Math.floor(step + 0.01), 3); // after a pause of the tab it does not leap
      while (by > 0 && !this.#frames[at(by)]) by -= 1; // frames may be late
      if (by > 0 || (this.#isNew && this.#frames[this.position])) {
        this.position = at(by);
        this.#isNew = false;
        this.#onFrame(this.position, this.#frames[this.position]);
        last = now - Math.max(0, Math.min(step - by, 1)) * (1000 / RATE);
      }
      this.#fetch();
    };
    this.#clock = requestAnimationFrame(tick);
  }

  pause() {
    cancelAnimationFrame(this.#clock);
    this.#clock = null;
  }

  /** Show one frame, sampled first where it is not there yet. */
  async seek(index) {
    this.position = index;
    if (!this.#frames[index]) await this.#load([index]);
    if (this.position === index && this.#frames[index]) this.#onFrame(index, this.#frames[index]);
  }

  /** Sample frames ahead, one request at a time. */
  async #fetch() {
    if (this.#fetching === this.#generation || !this.#path) return;
    const generation = this.#generation;
    this.#fetching = generation;
    const known = this.#frames.reduce((count) => count + 1, 0);
    const missing = [];
    for (let ahead = 0; ahead < this.#path.total && missing.length < (known ? MOST : 1); ahead += 1) {
      const index = (this.position + ahead) % this.#path.total;
      if (!this.#frames[index]) missing.push(index);
      else if (missing.length) break;
    }
    const isThere = missing.length === 0 || (await this.#load(missing));
    // After an error, and where all is there, it rests until the path changes.
    if (this.#fetching === generation && missing.length && isThere) this.#fetching = 0;
  }

  async #load(indices) {
    const [generation, path] = [this.#generation, this.#path];
    const pixels = await this.#sample(path, indices, () => generation !== this.#generation);
    if (!pixels || generation !== this.#generation) return false;
    const { data, size, channels, n, milliseconds } = pixels;
    const bytes = size * size * channels;
    indices.forEach((index, at) => {
      const one = data.subarray(at * bytes, (at + 1) * bytes);
      this.#frames[index] = { data: one, size, channels, n: 1, milliseconds: milliseconds / n };
    });
    return true;
  }
}
