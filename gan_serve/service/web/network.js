/** A network of a checkpoint: read, checked against its digest, loaded by onnxruntime-web, and held to its golden sample. */

import { GanServeError } from "./errors.js";
import { decodePng, through } from "./png.js";
import { sha256 } from "./receipt.js";

export const PRECISIONS = { fp32: "generator.onnx", int8: "generator.int8.onnx", fp16: "generator.fp16.onnx" };
const TIMINGS = 5;
const GREY_LEVELS = 1; // difference that rounding explains in fp32
const DECIBELS = 40; // lowest PSNR that rounding explains in other precisions
const RUNTIME = "ort.wasm.bundle.min.mjs";
const WASM = "ort-wasm-simd-threaded.wasm";

/** @returns {(name: string) => Promise<Uint8Array>} what reads a file of a checkpoint */
export function readerOf(source) {
  if (!(typeof source === "string" || source instanceof URL)) {
    return async (name) => source[name] ?? missing(name);
  }
  const base = String(source).replace(/\/?$/, "/");
  const isNode = typeof process !== "undefined" && Boolean(process.versions?.node);
  if (isNode && !/^https?:/.test(base)) {
    return async (name) => {
      const { readFile } = await import("node:fs/promises");
      const content = await readFile(base.startsWith("file:") ? new URL(base + name) : base + name).catch(() => null);
      return content ? new Uint8Array(content) : missing(base + name);
    };
  }
  return async (name) => {
    const response = await fetch(base + name);
    return response.ok ? new Uint8Array(await response.arrayBuffer()) : missing(base + name);
  };
}

function missing(name) {
  throw new GanServeError("invalid_checkpoint", `${name} cannot be read.`, "Is this the folder of a checkpoint?");
}

/** onnxruntime-web: as a package, or else the file beside this one, with its WebAssembly compressed. */
async function findRuntime() {
  try {
    return await import("onnxruntime-web/wasm");
  } catch {
    const ort = await import(new URL(RUNTIME, import.meta.url).href);
    await setWasm(ort, await readerOf(new URL(".", import.meta.url))(`${WASM}.gz`));
    return ort;
  }
}

/** Give the runtime its WebAssembly, compressed by gzip or not: some hosts send .gz files decompressed. */
export async function setWasm(ort, bytes) {
  const isPlain = bytes[0] !== 0x1f || bytes[1] !== 0x8b;
  const plain = isPlain ? bytes : await through(bytes, new DecompressionStream("gzip"));
  ort.env.wasm.wasmBinary = plain.buffer;
}

let found = null;

/**
 * Open a network as a `Kind` of `Network`.
 * @returns {Promise<Network>}
 * @throws {GanServeError} `digest_mismatch`, `invalid_checkpoint`, `golden_sample_mismatch`
 */
export async function openNetwork({ config, read, precision, ort }, Kind) {
  const file = PRECISIONS[precision];
  const bytes = await read(file);
  const digest = config.files[file].sha256;
  // Pages from plain http:// have no digests; there the golden sample is the check.
  if (globalThis.crypto?.subtle && (await sha256(bytes)) !== digest) {
    throw new GanServeError("digest_mismatch", `${config.name}/${file} is not the file that its config describes.`);
  }
  const runtime = await (ort ?? (found ??= findRuntime()));
  runtime.env.wasm.numThreads = 1; // more need headers that few static hosts send
  let session;
  try {
    session = await runtime.InferenceSession.create(bytes, { logSeverityLevel: 4 });
  } catch (error) {
    throw new GanServeError("invalid_checkpoint", `The runtime cannot load ${config.name}: ${error.message}`);
  }
  const network = new Kind({ config, session, precision, digest, ort: runtime });
  await network.check();
  return network;
}

/** A network that is loaded; subclasses have `golden`, which computes the pixels of the golden sample. */
export class Network {
  #session;
  #last = Promise.resolve(); // a session computes one batch at a time
  milliseconds = 0; // an image, where it was timed
  difference = null; // of the golden sample, in grey levels

  constructor({ config, session, precision, digest, ort }) {
    this.config = config;
    this.#session = session;
    this.ort = ort;
    this.precision = precision;
    this.digest = `sha256:${digest}`;
    this.runtime = `${ort.env.versions.web ?? ort.env.versions.common} (web)`;
  }

  /** @returns {Promise<Uint8Array>} the pixels of a batch */
  async compute(inputs) {
    const run = this.#last.then(() => this.#session.run(inputs, ["img"]));
    this.#last = run.catch(() => {});
    const { img } = await run;
    const pixels = img.data.slice();
    img.dispose();
    return pixels;
  }

  /** Compute the golden sample and compare it. */
  async check() {
    const { golden_sample: golden, name } = this.config;
    const png = this.precision === "fp32" ? golden.png : golden.reduced[this.precision];
    const expected = await decodePng(Uint8Array.from(atob(png), (character) => character.charCodeAt(0)));
    const pixels = await this.golden();
    let [difference, squares] = [pixels.length === expected.data.length ? 0 : 255, 0];
    expected.data.forEach((value, index) => {
      difference = Math.max(difference, Math.abs(value - pixels[index]));
      squares += (value - pixels[index]) ** 2 / expected.data.length;
    });
    this.difference = difference;
    const isRight = this.precision === "fp32" ? difference <= GREY_LEVELS : 10 * Math.log10(255 ** 2 / Math.max(squares, 1e-9)) >= DECIBELS;
    if (!isRight) {
      const message = `${name} does not compute its golden sample in ${this.precision}: a pixel is off by ${difference} grey levels.`;
      throw new GanServeError("golden_sample_mismatch", message, "Try another precision, or another browser.");
    }
  }

  /** Measure the milliseconds that one image takes: the least of some. */
  async time() {
    this.milliseconds = Infinity;
    for (let count = 0; count < TIMINGS; count += 1) {
      const started = performance.now();
      await this.golden();
      this.milliseconds = Math.min(this.milliseconds, performance.now() - started);
    }
  }

  release() {
    return this.#session.release();
  }
}
