/** Sample checkpoints of gan-serve in a browser, in a worker or in Node, with onnxruntime-web. See docs/web.md. */

import { Checkpoint, openCheckpoint, originOf, VERSION } from "./checkpoint.js";
import { GanServeError } from "./errors.js";
import { Images } from "./images.js";
import { latentOf, moved, slerp } from "./latents.js";
import { Network } from "./network.js";
import { parseSeeds } from "./seeds.js";
import { Translation, Translator } from "./translations.js";

export { Checkpoint, GanServeError, Images, Translation, Translator, VERSION };

const BATCH = 16; // images that are computed at once
const MOST_IMAGES = 100_000;
const MOST_OFFSET = 20; // standard deviations along a direction

export class Generator extends Checkpoint {
  #config;
  #space;

  /** Use `Generator.load`. */
  constructor(opened, space) {
    super(opened);
    this.#config = opened.config;
    this.#space = space;
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
  static async load(source, options = {}) {
    const opened = await openCheckpoint(source, options, "generate", GeneratorNetwork);
    const hasSpace = "latent_space.json" in opened.config.files;
    const space = hasSpace ? JSON.parse(new TextDecoder().decode(await opened.read("latent_space.json"))) : {};
    return new Generator(opened, space);
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

  async #run(latents, { classes, truncation, seeds }) {
    const data = await this.network.run(latents, classes, truncation);
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
    return new Images(images, originOf(this));
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

class GeneratorNetwork extends Network {
  /** @returns {Promise<Uint8Array>} uint8 [n, size, size, channels] of latents before truncation */
  async run(latents, classes, truncation) {
    const { img_resolution: size, img_channels: channels } = this.config;
    const pixels = new Uint8Array(latents.length * size * size * channels);
    for (let start = 0; start < latents.length; start += BATCH) {
      const end = Math.min(start + BATCH, latents.length);
      const inputs = this.#inputs(latents.slice(start, end), classes?.slice(start, end), truncation);
      pixels.set(await this.compute(inputs), start * size * size * channels);
    }
    return pixels;
  }

  async golden() {
    const { golden_sample: golden, z_dim: zDim } = this.config;
    return this.run([latentOf(golden.seed, zDim)], golden.label === null ? null : [golden.label], 1);
  }

  #inputs(latents, classes, truncation) {
    const { Tensor } = this.ort;
    const { z_dim: zDim, truncation_space: space } = this.config;
    const n = latents.length;
    const z = new Float32Array(n * zDim);
    latents.forEach((latent, index) => z.set(latent, index * zDim));
    const inputs = { z: new Tensor("float32", z, [n, zDim]) };
    if (space === "w") {
      inputs.psi = new Tensor("float32", new Float32Array(n).fill(truncation), [n]);
    } else if (truncation !== 1) {
      const factor = Math.fround(truncation); // as NumPy multiplies: both factors are float32
      z.forEach((value, index) => (z[index] = value * factor));
    }
    if (classes) inputs.c = new Tensor("int64", BigInt64Array.from(classes, BigInt), [n]);
    return inputs;
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
