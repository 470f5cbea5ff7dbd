/** Sample checkpoints of gan-serve in a browser, in a worker or in Node, with onnxruntime-web. See docs/web.md. */

import { GanServeError } from "./errors.js";
import { Images } from "./images.js";
import { latentOf, moved, slerp } from "./latents.js";
import { openNetwork, PRECISIONS, readerOf } from "./network.js";
import { parseSeeds } from "./seeds.js";

export { GanServeError, Images };

export const VERSION = "source"; // export-web writes the version of gan-serve here
const FORMAT_VERSION = 1;
const MOST_IMAGES = 100_000;
const MOST_OFFSET = 20; // standard deviations along a direction
const TIMED = ["fp32", "int8"]; // of "auto"
const GAIN = 0.9; // another precision is chosen where it takes less than this share of the time

export class Generator {
  #config;
  #space;
  #networks;
  #network;

  /** Use `Generator.load`. */
  constructor(config, space, networks) {
    this.#config = config;
    this.#space = space;
    this.#networks = networks;
    this.#network = [...networks.values()].reduce((a, b) => (b.milliseconds < a.milliseconds * GAIN ? b : a));
  }

  /**
   * Load a checkpoint: check the digest of its network, compute its golden sample and compare.
   *
   * @param {string | URL | Record<string, Uint8Array>} source the folder of the checkpoint: an address, in Node also a
   *   path; or the content of its files by name
   * @param {{precision?: string, ort?: object}} options `precision`: fp32, int8 or fp16, where the checkpoint has it, or
   *   auto: the faster one of fp32 and int8, timed here. `ort`: the module onnxruntime-web, or its
   *   promise; found where left out
   */
  static async load(source, { precision = "auto", ort } = {}) {
    const read = readerOf(source);
    const config = JSON.parse(new TextDecoder().decode(await read("config.json")));
    if (!(config.format_version <= FORMAT_VERSION)) {
      throw new GanServeError("format_too_new", "A later gan-serve wrote this checkpoint.", "Use the gan-serve.js of that version.");
    }
    if (config.task === "translate") {
      const message = `${config.name} translates images and does not generate them.`;
      throw new GanServeError("invalid_checkpoint", message, "Give the folder of a generator.");
    }
    const known = Object.keys(PRECISIONS).filter((each) => PRECISIONS[each] in config.files);
    const chosen = precision === "auto" ? known.filter((each) => TIMED.includes(each)) : [precision];
    if (!chosen.every((each) => known.includes(each))) {
      throw new GanServeError("invalid_option", `${config.name} has no ${precision}.`, `It has ${known.join(", ")}.`);
    }
    const networks = new Map();
    for (const each of chosen) networks.set(each, await openNetwork({ config, read, precision: each, ort }));
    for (const network of chosen.length > 1 ? networks.values() : []) await network.time();
    const space = "latent_space.json" in config.files ? JSON.parse(new TextDecoder().decode(await read("latent_space.json"))) : {};
    return new Generator(config, space, networks);
  }

  get name() {
    return this.#config.name;
  }
  get zDim() {
    return this.#config.z_dim;
  }
  get cDim() {
    return this.#config.c_dim;
  }
  get classNames() {
    return this.#config.class_names;
  }
  get imgResolution() {
    return this.#config.img_resolution;
  }
  get imgChannels() {
    return this.#config.img_channels;
  }
  get license() {
    return this.#config.license;
  }
  /** The precision that it samples in. */
  get precision() {
    return this.#network.precision;
  }
  /** The digest of the network that it samples with. */
  get digest() {
    return this.#network.digest;
  }
  /** How far the golden sample was from that of the checkpoint, in grey levels; 0: bit-equal. */
  get goldenDifference() {
    return this.#network.difference;
  }
  /** Milliseconds an image, by precision, where several were timed. */
  get milliseconds() {
    return Object.fromEntries([...this.#networks].map(([name, { milliseconds }]) => [name, milliseconds]));
  }
  /** Directions in z of norm 1, those that change the images most first. */
  get directions() {
    return (this.#space.directions ?? []).map(({ vector }) => Float32Array.from(vector));
  }
  /** The smallest useful truncation. */
  get truncationFloor() {
    return this.#space.truncation_floor ?? 0;
  }

  /**
   * Sample images; gan-serve.d.ts describes the options. The image of a seed does not depend on the others.
   * @returns {Promise<Images>}
   */
  async generate({ n, seed, seeds, latents, offsets, label = null, truncation = 1 } = {}) {
    checkTruncation(truncation);
    if (latents && [n, seed, seeds].some((each) => each !== undefined)) {
      throw new GanServeError("invalid_option", "Both latents and seeds were given.", "Give one of them.");
    }
    const numbers = latents ? null : seedsOf({ n, seed, seeds });
    let rows = latents ? checkLatents(latents, this.zDim) : numbers.map((each) => latentOf(each, this.zDim));
    const classes = this.#classes(label, numbers ?? rows.map((_, index) => index));
    if (offsets) rows = this.#moved(rows, offsets);
    return this.#run(rows, { classes, truncation, seeds: offsets ? null : numbers });
  }

  /**
   * Sample the frames of a walk through the latents of two or more key seeds; gan-serve.d.ts describes the options.
   * @returns {Promise<Images>}
   */
  async interpolate(seeds, { steps = 16, method = "slerp", loop = false, label = null, truncation = 1 } = {}) {
    checkTruncation(truncation);
    const numbers = seedsOf({ seeds });
    const along = { slerp, lerp: (a, b, t) => a.map((value, i) => (1 - t) * value + t * b[i]) }[method];
    if (!along || numbers.length < 2 || !(Number.isInteger(steps) && steps >= 1)) {
      const right = "Give two or more seeds, steps of 1 or more, and slerp or lerp.";
      throw new GanServeError("invalid_option", "There is no such walk.", right);
    }
    const keys = numbers.map((each) => latentOf(each, this.zDim));
    const total = loop ? keys.length * steps : (keys.length - 1) * steps + 1;
    checkCount(total);
    const rows = Array.from({ length: total }, (_, frame) => {
      const from = Math.floor(frame / steps);
      const t = (frame % steps) / steps;
      return t === 0 ? keys[from] : along(keys[from], keys[(from + 1) % keys.length], t);
    });
    const [first] = this.#classes(label, numbers.slice(0, 1)) ?? [];
    return this.#run(rows, { classes: first === undefined ? null : rows.map(() => first), truncation, seeds: null });
  }

  /** Free the memory of the networks. */
  async release() {
    for (const network of this.#networks.values()) await network.release();
  }

  async #run(latents, { classes, truncation, seeds }) {
    const { name: model, precision, digest } = this;
    const data = await this.#network.run(latents, classes, truncation);
    const images = {
      data,
      n: latents.length,
      size: this.imgResolution,
      channels: this.imgChannels,
      seeds,
      latents: seeds ? null : latents,
      labels: classes && classes.map((each) => this.classNames[each]),
      truncation,
    };
    return new Images(images, { model, digest, precision, version: VERSION, runtime: this.#network.runtime });
  }

  #classes(label, keys) {
    const { cDim, classNames, name } = this;
    const unknown = (each) => {
      const hint = cDim ? `It has: ${classNames.join(", ")} (or 0 to ${cDim - 1}).` : "Leave the label out.";
      return new GanServeError("unknown_label", `${name} has no ${cDim ? `label ${JSON.stringify(each)}` : "labels"}.`, hint);
    };
    if (label === null || label === undefined) return cDim ? keys.map((key) => key % cDim) : null;
    const classOf = (each) => {
      const found = typeof each === "string" ? classNames.indexOf(each) : each;
      if (!(Number.isInteger(found) && found >= 0 && found < cDim)) throw unknown(each);
      return found;
    };
    const several = Array.isArray(label) ? label.map(classOf) : keys.map(() => classOf(label));
    if (several.length !== keys.length) {
      const message = `There are ${several.length} labels for ${keys.length} images.`;
      throw new GanServeError("unknown_label", message, "Give one label, or one for each image.");
    }
    return several;
  }

  #moved(latents, offsets) {
    const { directions } = this;
    const rows = Array.isArray(offsets[0]) ? offsets : latents.map(() => offsets);
    const isRight = (row) => row.length >= 1 && row.length <= directions.length && row.every((each) => Math.abs(each) <= MOST_OFFSET);
    if (rows.length !== latents.length || !rows.every(isRight)) {
      const right = `Give up to ${directions.length} numbers from -${MOST_OFFSET} to ${MOST_OFFSET}, or such a list for each image.`;
      throw new GanServeError("invalid_option", "These are no offsets for the directions of this checkpoint.", right);
    }
    return latents.map((latent, index) => moved(latent, rows[index], directions));
  }
}

function seedsOf({ n, seed, seeds }) {
  if (seeds !== undefined && (n !== undefined || seed !== undefined)) {
    throw new GanServeError("invalid_seeds", "Both seeds and n or seed were given.", "Give seeds, or n and seed.");
  }
  if (seeds === undefined) {
    const count = n ?? 1;
    checkCount(count);
    const first = seed ?? crypto.getRandomValues(new Uint32Array(1))[0] % (2 ** 32 - count);
    seeds = Array.from({ length: count }, (_, index) => first + index);
  }
  try {
    return typeof seeds === "string" ? parseSeeds(seeds, MOST_IMAGES) : checkSeeds([seeds].flat());
  } catch (error) {
    throw new GanServeError("invalid_seeds", error.message, 'Seeds are whole numbers below 2**32, a list, or text: "0-3,10".');
  }
}

function checkSeeds(seeds) {
  const wrong = seeds.find((each) => !(Number.isInteger(each) && each >= 0 && each < 2 ** 32));
  if (wrong !== undefined) throw new RangeError(`${wrong} is not a seed.`);
  checkCount(seeds.length);
  return seeds;
}

function checkCount(count) {
  if (!(Number.isInteger(count) && count >= 1 && count <= MOST_IMAGES)) {
    const right = `Ask for 1 to ${MOST_IMAGES.toLocaleString("en")} at a time.`;
    throw new GanServeError("too_many_images", `${count} images cannot be sampled in one call.`, right);
  }
}

function checkLatents(latents, zDim) {
  const rows = Array.from(latents, (row) => Float32Array.from(row));
  if (!rows.length || rows.length > MOST_IMAGES || rows.some((row) => row.length !== zDim || !row.every(Number.isFinite))) {
    throw new GanServeError("invalid_latents", "These are no latents.", `Give lists of ${zDim} finite numbers.`);
  }
  return rows;
}

function checkTruncation(truncation) {
  if (typeof truncation === "number" && truncation >= 0 && truncation <= 1) return;
  const message = `truncation must be a number from 0 to 1, not ${truncation}.`;
  throw new GanServeError("invalid_truncation", message, "1 leaves the latents unchanged.");
}
