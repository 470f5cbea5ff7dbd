/** The backend of a gan-serve server: see backend.js for what each method promises. */

import { Api } from "./api.js";
import { codeOf } from "./code.js";

export class HttpBackend {
  #api;
  formats = ["png", "zip", "npz", "gif", "webp"];

  /**
   * @param {{askForKey: (refused: boolean) => Promise<string>, onWait: (text: string) => void,
   *   models?: {models: object[], limits: object}}} options `models`: what the server wrote into the page
   */
  constructor({ askForKey, onWait, models = null }) {
    this.#api = new Api({ askForKey, onWait });
    this.known = models;
  }

  async models() {
    const known = this.known ?? (await this.#api.get("models"));
    this.known = null; // asked for again, it has changed
    return known;
  }

  details(name) {
    return this.#api.get(`models/${encodeURIComponent(name)}`);
  }

  async sample(request) {
    const started = performance.now();
    const response = await this.#api.send("sample", { ...bodyOf(request), format: "raw" });
    const [n, size, , channels] = response.headers.get("X-Gan-Serve-Shape").split(",").map(Number);
    const data = new Uint8Array(await response.arrayBuffer());
    return { data, n, size, channels, milliseconds: performance.now() - started };
  }

  async file(request, format, { scale } = {}) {
    return (await this.#api.send("sample", { ...bodyOf(request), ...(scale > 1 && { scale }), format })).blob();
  }

  async translate(model, file) {
    return (await this.#api.send("translate", { model, images: [await addressOf(file)] })).blob();
  }

  async project(model, file) {
    return (await this.#api.send("project", { model, image: await addressOf(file) })).json();
  }

  async receipt(request) {
    const response = await this.#api.send("sample", { ...bodyOf(request), format: "json" });
    return (await response.json()).images[0].receipt;
  }

  async ready() {
    const response = await fetch("readyz").catch(() => null);
    if (response === null || response.ok) return response !== null;
    // One model that cannot be loaded keeps a server from being ready; the others are served.
    const { models } = await this.#api.get("models").catch(() => ({ models: [] }));
    return models.some((model) => model.ready);
  }

  code(request) {
    const origin = document.baseURI.replace(/[?#].*/, "").replace(/\/$/, "");
    return codeOf(bodyOf(request), { origin, hasKey: this.#api.hasKey });
  }
}

/** A file as an address that has it inside, in base64. */
function addressOf(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** The body of POST /sample, without fields that have their default values. */
function bodyOf({ model, seeds, latents, offsets, label = null, truncation = 1, precision = null }) {
  return {
    model,
    ...(latents ? { latents: latents.map((row) => [...row]) } : { seeds }),
    ...(offsets?.flat().some(Boolean) && { offsets }),
    ...(label !== null && { label }),
    ...(truncation !== 1 && { truncation }),
    ...(precision && { precision }),
  };
}
