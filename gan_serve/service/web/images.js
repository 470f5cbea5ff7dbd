/**
 * Images by seed, drawn once: what a page, the tray and the large view share is asked for once, in one request.
 *
 * @typedef {object} Image
 * @property {string} url data URL of the PNG, with its receipt inside
 * @property {object} receipt
 */

const MOST_KEPT = 50_000_000; // characters of their URLs, a byte each

/** @returns {Image} of an entry of the server's JSON */
export function toImage({ png, receipt }) {
  return { url: `data:image/png;base64,${png}`, receipt };
}

export class Images {
  #api;
  #kept = new Map();
  #size = 0;
  #digests = new Map();

  constructor(api) {
    this.#api = api;
  }

  /** One image if it was drawn before. */
  peek(model, seed, label, truncation) {
    return this.#kept.get(keyOf(model, seed, label, truncation));
  }

  /** The images of seeds, one request for those that were not drawn before. @returns {Promise<Image[]>} */
  async draw({ model, seeds, label, truncation }, signal) {
    const drawn = new Map(seeds.map((seed) => [seed, this.peek(model, seed, label, truncation)]));
    const missing = [...drawn.keys()].filter((seed) => !drawn.get(seed));
    if (missing.length) {
      const body = { model, seeds: missing, truncation, format: "json", ...(label !== null && { label }) };
      const { images } = await this.#api.post("sample", body, signal);
      const isSame = this.#keep(
        images,
        missing.map((seed) => [model, seed, label, truncation]),
      );
      // Another checkpoint goes by this name now: the others are of the old one.
      if (!isSame && missing.length < drawn.size)
        return this.draw({ model, seeds, label, truncation }, signal);
      missing.forEach((seed, index) => drawn.set(seed, toImage(images[index])));
    }
    return seeds.map((seed) => drawn.get(seed));
  }

  /** The same seeds under each label, label by label. @returns {Promise<Image[][]>} */
  async drawSheet({ model, seeds, labels, truncation }, signal) {
    const cells = labels.flatMap((label) => seeds.map((seed) => [model, seed, label, truncation]));
    if (!cells.every((cell) => this.peek(...cell))) {
      const { images } = await this.#api.post(
        "condition",
        { model, seeds, labels, truncation, format: "json" },
        signal,
      );
      this.#keep(images, cells);
    }
    return labels.map((label) => seeds.map((seed) => this.peek(model, seed, label, truncation)));
  }

  /** @returns {boolean} whether they are of the checkpoint that drew what is kept */
  #keep(entries, cells) {
    const [model] = cells[0];
    const { digest } = entries[0].receipt;
    const known = this.#digests.get(model);
    const isSame = known === undefined || known === digest;
    const size = entries.reduce((sum, { png }) => sum + png.length, 0);
    if (!isSame || this.#size + size > MOST_KEPT) {
      this.#kept.clear();
      this.#size = 0;
    }
    this.#size += size;
    this.#digests.set(model, digest);
    entries.forEach((entry, index) => this.#kept.set(keyOf(...cells[index]), toImage(entry)));
    return isSame;
  }
}

function keyOf(model, seed, label, truncation) {
  return JSON.stringify([model, seed, label, truncation]);
}
