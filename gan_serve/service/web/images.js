/** What `Generator.generate` returns: pixels, and all that determines them. */

import { npz, textArray, zip } from "./archives.js";
import { GanServeError } from "./errors.js";
import { toBase64 } from "./latents.js";
import { encodePng } from "./png.js";
import { sealed } from "./receipt.js";

const GAP = 2; // white pixels between the images of a grid
const MOST_SCALE = 64;

export class Images {
  #origin;

  /**
   * @param {{data: Uint8Array, n: number, size: number, channels: number, seeds: ?number[], latents: ?Float32Array[],
   *   labels: ?string[], truncation: number}} images exactly one of `seeds` and `latents` is set
   * @param {{model: string, digest: string, precision: string, version: string, runtime: string}} origin
   */
  constructor(images, origin) {
    Object.assign(this, images);
    this.#origin = origin;
  }

  /** The pixels of one image, uint8 [size, size, channels]. */
  pixels(index) {
    const bytes = this.size * this.size * this.channels;
    return this.data.subarray(index * bytes, (index + 1) * bytes);
  }

  /** The sealed receipt of one image. */
  async receipt(index = 0, scale = 1) {
    return (await this.#one(index, scale)).receipt;
  }

  /** One image as PNG with its receipt, each pixel as a square of `scale` x `scale`. */
  async png(index = 0, { scale = 1 } = {}) {
    const { image, receipt } = await this.#one(index, scale);
    return encodePng(image, { gan_serve: JSON.stringify(receipt) });
  }

  /** All images as one PNG, a grid with its receipt; as square as possible where `columns` is left out. */
  async gridPng({ columns = Math.ceil(Math.sqrt(this.n)), scale = 1 } = {}) {
    const across = Math.min(columns, this.n);
    const image = enlarged(this.#grid(across), scale);
    const { seeds, labels } = this;
    const latents = this.latents && toBase64(flat(this.latents));
    const receipt = await this.#sealed({ seeds, latents, labels, columns: across }, image, scale);
    return encodePng(image, { gan_serve: JSON.stringify(receipt) });
  }

  /** All images as PNGs in a ZIP archive. */
  async zip({ scale = 1 } = {}) {
    const files = [];
    for (let index = 0; index < this.n; index += 1) {
      const seed = this.seeds ? `-seed${this.seeds[index]}` : "";
      files.push([`${String(index).padStart(5, "0")}${seed}.png`, await this.png(index, { scale })]);
    }
    return zip(files);
  }

  /** All images as arrays of NumPy: images, and seeds, latents and labels where there are any. */
  npz() {
    const { n, size, channels, seeds, latents, labels } = this;
    return npz({
      images: { kind: "|u1", shape: [n, size, size, channels], bytes: this.data },
      ...(seeds && { seeds: { kind: "<i8", shape: [n], bytes: bytesOf(BigInt64Array.from(seeds, BigInt)) } }),
      ...(latents && { latents: { kind: "<f4", shape: [n, latents[0].length], bytes: flat(latents) } }),
      ...(labels && { labels: textArray(labels) }),
    });
  }

  async #one(index, scale) {
    if (!(Number.isInteger(index) && index >= 0 && index < this.n)) {
      throw new GanServeError("invalid_option", `There is no image ${index} of ${this.n}.`, "The first one is 0.");
    }
    const { size, channels } = this;
    const image = enlarged({ data: this.pixels(index), width: size, height: size, channels }, scale);
    const what = {
      seed: this.seeds?.[index],
      latents: this.latents && toBase64(this.latents[index]),
      label: this.labels?.[index],
    };
    return { image, receipt: await this.#sealed(what, image, scale) };
  }

  #sealed(what, image, scale) {
    const { truncation } = this;
    return sealed({ ...this.#origin, truncation, ...what, scale: scale > 1 ? scale : null }, image);
  }

  #grid(columns) {
    const { size, channels, n } = this;
    const side = size + GAP;
    const [width, height] = [columns * side + GAP, Math.ceil(n / columns) * side + GAP];
    const data = new Uint8Array(width * height * channels).fill(255);
    for (let index = 0; index < n; index += 1) {
      const [top, left] = [Math.floor(index / columns) * side + GAP, (index % columns) * side + GAP];
      const image = this.pixels(index);
      for (let y = 0; y < size; y += 1) {
        const row = image.subarray(y * size * channels, (y + 1) * size * channels);
        data.set(row, ((top + y) * width + left) * channels);
      }
    }
    return { data, width, height, channels };
  }
}

/** An image with each pixel as a square of `scale` x `scale`. */
export function enlarged({ data, width, height, channels }, scale) {
  if (!(Number.isInteger(scale) && scale >= 1 && scale <= MOST_SCALE)) {
    throw new GanServeError("invalid_option", `scale must be a whole number from 1 to ${MOST_SCALE}, not ${scale}.`);
  }
  if (scale === 1) return { data, width, height, channels };
  const wide = width * scale;
  const large = new Uint8Array(wide * height * scale * channels);
  for (let y = 0; y < height * scale; y += 1) {
    for (let x = 0; x < wide; x += 1) {
      const from = (Math.floor(y / scale) * width + Math.floor(x / scale)) * channels;
      for (let c = 0; c < channels; c += 1) large[(y * wide + x) * channels + c] = data[from + c];
    }
  }
  return { data: large, width: wide, height: height * scale, channels };
}

function bytesOf(array) {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function flat(latents) {
  const all = new Float32Array(latents.length * latents[0].length);
  latents.forEach((latent, index) => all.set(latent, index * latent.length));
  return bytesOf(all);
}
