/** The worker of a page without a server: loads checkpoints, samples them and translates pictures. `LocalBackend` speaks to it. */

import { gif, webp } from "./animations.js";
import { Generator, Translator } from "./gan-serve.js";
import { setWasm } from "./network.js";

const checkpoints = new Map(); // promises, by model and precision
const sources = new Map();
const FPS = 12; // of animations, as for POST /sample
let runtime = null; // the promise of onnxruntime-web: networks are fetched meanwhile
let gifenc = null; // its address; null where it stands before this script

const methods = {
  /**
   * Load onnxruntime-web: the address of its module, null where it stands before this script; the address, or the bytes,
   * of its WebAssembly. `gif`: the address of gifenc, which is loaded for the first GIF.
   */
  async begin(options) {
    gifenc = options.gif;
    runtime = findRuntime(options);
    await runtime;
  },

  async load({ model, source, task }) {
    sources.set(model, { source, Kind: task === "translate" ? Translator : Generator });
    const { precision, digest, goldenDifference } = await checkpointOf(model);
    return { precision, digest, goldenDifference };
  },

  async sample({ request }) {
    const started = performance.now();
    const { data, n, size, channels } = await imagesOf(request);
    return { data, n, size, channels, milliseconds: performance.now() - started };
  },

  async file({ request, format, scale = 1 }) {
    const images = await imagesOf(request);
    if (format === "npz") return images.npz();
    if (format === "zip") return images.zip({ scale });
    if (format === "webp") return webp(images, { fps: FPS, scale });
    if (format === "gif") return gif(images, { gifenc: gifenc ? await import(gifenc) : globalThis.gifenc, fps: FPS, scale });
    return images.n === 1 ? images.png(0, { scale }) : images.gridPng({ scale });
  },

  /** A picture, a file, as PNG. */
  async translate({ model, file }) {
    return (await (await checkpointOf(model)).translate(file)).png();
  },

  async receipt({ request }) {
    return (await imagesOf(request)).receipt(0);
  },
};

async function findRuntime({ module, wasm }) {
  const ort = module ? await import(module) : globalThis.ort;
  const bytes = typeof wasm === "string" ? await fetch(wasm).then((response) => response.arrayBuffer()) : wasm;
  await setWasm(ort, new Uint8Array(bytes));
  return ort;
}

function checkpointOf(model, precision = "auto") {
  const key = `${precision} ${model}`;
  if (!checkpoints.has(key)) {
    const { source, Kind } = sources.get(model);
    const loading = Kind.load(source, { precision, ort: runtime });
    checkpoints.set(key, loading);
    loading.catch(() => checkpoints.delete(key)); // it can be tried again
  }
  return checkpoints.get(key);
}

async function imagesOf({ model, precision, offsets, ...request }) {
  const isMoved = offsets?.flat().some(Boolean); // one that is not moved has a seed in its receipt
  return (await checkpointOf(model, precision ?? "auto")).generate({ ...request, offsets: isMoved ? offsets : undefined });
}

addEventListener("message", async ({ data: { id, method, options } }) => {
  try {
    const value = await methods[method](options);
    const bytes = value?.data ?? value;
    postMessage({ id, value }, bytes instanceof Uint8Array ? [bytes.buffer] : []);
  } catch ({ code = "engine_failed", message, hint = "" }) {
    postMessage({ id, error: { code, message, hint } });
  }
});
