/** The backend of a page without a server: see backend.js for what each method promises. */

import { asCommand, asModule } from "./code.js";
import { GanServeError } from "./errors.js";

export class LocalBackend {
  #site;
  #files;
  #onWait;
  #worker = null;
  #calls = new Map();
  #count = 0;
  #loaded = new Map(); // promises, by model
  formats = ["png", "zip", "npz", "gif", "webp"];

  /**
   * @param {{models: object[], limits: object, details: Record<string, object>}} site what export-web wrote into the page
   * @param {import("./local-files.js").Files} files
   * @param {(text: string) => void} onWait
   */
  constructor(site, files, onWait) {
    this.#site = site;
    this.#files = files;
    this.#onWait = onWait;
  }

  async models() {
    return this.#site;
  }

  async details(name) {
    const { precision, digest, goldenDifference } = await this.#load(name);
    const golden = goldenDifference ? `golden sample within ${goldenDifference}` : "golden sample equal";
    return { ...this.#site.details[name], precision, digest, device: `WebAssembly · ${golden}` };
  }

  async sample(request) {
    await this.#load(request.model);
    return this.#call("sample", { request });
  }

  async file(request, format, { scale } = {}) {
    await this.#load(request.model);
    return new Blob([await this.#call("file", { request, format, scale })]);
  }

  async translate(model, file) {
    await this.#load(model);
    return new Blob([await this.#call("translate", { model, file })], { type: "image/png" });
  }

  async receipt(request) {
    await this.#load(request.model);
    return this.#call("receipt", { request });
  }

  async ready() {
    return true;
  }

  code(request) {
    if (request.latents) return [];
    const address = this.#files.address(request.model);
    return [
      ...(address ? [{ language: "JavaScript", text: asModule(request, address), note: "Samples in a browser." }] : []),
      { language: "CLI", text: asCommand(request), note: "Samples on your own machine." },
    ];
  }

  /** Load a model once; after an error it can be tried again. */
  #load(name) {
    if (!this.#loaded.has(name)) {
      const loading = this.#begin(name);
      this.#loaded.set(name, loading);
      loading.catch(() => this.#loaded.delete(name));
    }
    return this.#loaded.get(name);
  }

  async #begin(name) {
    const model = this.#site.models.find((each) => each.name === name);
    if (!model) throw new GanServeError("unknown_model", `This page does not have ${name}.`, "Choose another model.");
    this.#onWait(this.#worker ? `Loading ${name}…` : `Loading the engine and ${name}…`);
    try {
      this.#worker ??= this.#start().catch((error) => {
        this.#worker = null; // it can be tried again
        throw error;
      });
      await this.#worker;
      const source = await this.#files.source(name);
      const facts = await this.#call("load", { model: name, source, task: model.task });
      Object.assign(model, { precision: facts.precision, digest: facts.digest });
      return facts;
    } finally {
      this.#onWait("");
    }
  }

  /** @returns {Promise<Worker>} one that loads its runtime */
  async #start() {
    const worker = await this.#files.worker();
    worker.addEventListener("message", ({ data: { id, value, error } }) => {
      if (!this.#calls.has(id)) return; // from a worker that was ended
      const { resolve, reject } = this.#calls.get(id);
      this.#calls.delete(id);
      if (error) reject(new GanServeError(error.code, error.message, error.hint));
      else resolve(value);
    });
    worker.addEventListener("error", () => {
      const hint = "It needs WebAssembly with SIMD: Chrome 91, Firefox 89, Safari 16.4 or later.";
      this.#end(worker, new GanServeError("engine_failed", "The engine stopped.", hint));
    });
    const runtime = await this.#files.runtime();
    this.#send(worker, "begin", runtime).catch((error) => this.#end(worker, error));
    return worker;
  }

  /** End a worker that failed, and all that waits for it; the next request starts another, which loads models anew. */
  #end(worker, error) {
    worker.terminate();
    this.#worker = null;
    this.#loaded.clear();
    for (const { reject } of this.#calls.values()) reject(error);
    this.#calls.clear();
  }

  async #call(method, options) {
    return this.#send(await this.#worker, method, options);
  }

  #send(worker, method, options) {
    this.#count += 1;
    const id = this.#count;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      worker.postMessage({ id, method, options });
    });
  }
}
