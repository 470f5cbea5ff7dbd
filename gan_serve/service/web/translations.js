/** Translate pictures with a checkpoint of the task "translate". See docs/web.md. */

import { Checkpoint, openCheckpoint, originOf } from "./checkpoint.js";
import { GanServeError } from "./errors.js";
import { Network } from "./network.js";
import { fitted, readPicture } from "./pictures.js";
import { decodePng, encodePng, joined } from "./png.js";
import { sealed, sha256 } from "./receipt.js";

const TILE = 128; // pixels of the input, to each side, that a tile gives; it reads `reach` more
const MOST_OUTPUT = 2 ** 28; // bytes of an output

export class Translator extends Checkpoint {
  #config;

  /** Use `Translator.load`. */
  constructor(opened) {
    super(opened);
    this.#config = opened.config;
  }

  /** Load a checkpoint: arguments and checks are those of `Generator.load`. @returns {Promise<Translator>} */
  static async load(source, options = {}) {
    return new Translator(await openCheckpoint(source, options, "translate", TranslatorNetwork));
  }

  get scale() {
    return this.#config.scale;
  }
  get anySize() {
    return this.#config.any_size;
  }
  get inResolution() {
    return this.#config.in_resolution;
  }
  get inChannels() {
    return this.#config.in_channels;
  }

  /**
   * Translate a picture; gan-serve.d.ts describes the options.
   * @returns {Promise<Translation>}
   */
  async translate(picture, { fit = "crop" } = {}) {
    const source = await readPicture(picture);
    const input = fitted(source, this.#config, fit);
    if (input.width * input.height * this.scale ** 2 * this.imgChannels > MOST_OUTPUT) {
      const message = `The output would have more than ${Math.round(MOST_OUTPUT / 1e6)} MB.`;
      throw new GanServeError("too_many_images", message, "Translate a smaller picture.");
    }
    return new Translation(await this.network.run(input), { ...originOf(this), fit }, source);
  }
}

/** What `Translator.translate` returns: the pixels of the output, and all that determines them. */
export class Translation {
  #origin;
  #source;

  constructor(image, origin, source) {
    Object.assign(this, image);
    this.#origin = origin;
    this.#source = source;
  }

  /** The sealed receipt, which names the digest of the picture as it was read. */
  async receipt() {
    const { data, width, height, channels } = this.#source;
    const input = `sha256:${await sha256(joined([new TextEncoder().encode(`${height}x${width}x${channels}\n`), data]))}`;
    return sealed({ ...this.#origin, input }, this);
  }

  /** A PNG with its receipt; without one where browsers compute no digests, on pages from plain http://. */
  async png() {
    const texts = globalThis.crypto?.subtle ? { gan_serve: JSON.stringify(await this.receipt()) } : {};
    return encodePng(this, texts);
  }
}

class TranslatorNetwork extends Network {
  /** Translate a fitted picture, a large one in tiles that overlap by what a pixel depends on. */
  async run(input) {
    const { any_size: anySize, scale, reach, img_channels: channels } = this.config;
    const { width, height } = input;
    if (!anySize || Math.max(width, height) <= TILE + 2 * reach) return this.#whole(input);
    const output = { data: new Uint8Array(width * height * scale ** 2 * channels), width: width * scale, height: height * scale, channels };
    for (let top = 0; top < height; top += TILE) {
      for (let left = 0; left < width; left += TILE) {
        const kept = { left, top, right: Math.min(left + TILE, width), bottom: Math.min(top + TILE, height) };
        const [x, y] = [Math.max(0, left - reach), Math.max(0, top - reach)];
        const size = { width: Math.min(width, kept.right + reach) - x, height: Math.min(height, kept.bottom + reach) - y };
        const read = { data: new Uint8Array(size.width * size.height * input.channels), ...size, channels: input.channels };
        copy(input, { x, y }, read, { x: 0, y: 0 }, size);
        const inside = { x: scale * (left - x), y: scale * (top - y) };
        const part = { width: scale * (kept.right - left), height: scale * (kept.bottom - top) };
        copy(await this.#whole(read), inside, output, { x: scale * left, y: scale * top }, part);
      }
    }
    return output;
  }

  async golden() {
    return (await this.run(await decodePng(Uint8Array.from(atob(this.config.golden_sample.input), (each) => each.charCodeAt(0))))).data;
  }

  async #whole({ data, width, height, channels }) {
    const x = new this.ort.Tensor("uint8", data, [1, height, width, channels]);
    const { scale, img_channels: after } = this.config;
    return { data: await this.compute({ x }), width: width * scale, height: height * scale, channels: after };
  }
}

/** Copy `width` x `height` pixels of an image into another. */
function copy(source, from, target, to, { width, height }) {
  const { channels } = source;
  for (let y = 0; y < height; y += 1) {
    const start = ((from.y + y) * source.width + from.x) * channels;
    const row = source.data.subarray(start, start + width * channels);
    target.data.set(row, ((to.y + y) * target.width + to.x) * channels);
  }
}
