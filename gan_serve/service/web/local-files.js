/**
 * Where a page without a server has its engine and its checkpoints: beside it, or inside it.
 *
 * @typedef {object} Files
 * @property {() => Promise<Worker>} worker
 * @property {() => Promise<{module: string, wasm: string | Uint8Array}>} runtime the address of onnxruntime-web, and its
 *   WebAssembly
 * @property {(model: string) => Promise<string | Record<string, Uint8Array>>} source as `Generator.load` takes it
 * @property {(model: string) => ?string} address of a checkpoint, where it has one
 */

const ENGINE = "engine/";
const addressOf = (path) => new URL(path, document.baseURI.replace(/[?#].*/, "")).href;

/** @type {Files} */
export const beside = {
  worker: async () => new Worker(addressOf(`${ENGINE}worker.js`), { type: "module" }),
  runtime: async () => ({
    module: addressOf(`${ENGINE}ort.wasm.bundle.min.mjs`),
    wasm: addressOf(`${ENGINE}ort-wasm-simd-threaded.wasm.gz`),
  }),
  source: async (model) => addressOf(`models/${model}/`),
  address: (model) => addressOf(`models/${model}/`),
};

/** Files in script elements of the document, compressed by gzip, in base64. @type {Files} */
export const inside = {
  worker: async () => new Worker(await scriptOf("engine/worker.js"), { type: "module" }),
  runtime: async () => ({
    module: await scriptOf("engine/ort.wasm.bundle.min.mjs"),
    wasm: await contentOf("engine/ort-wasm-simd-threaded.wasm"),
  }),
  source: async (model) => {
    const start = `models/${model}/`;
    const files = [...document.querySelectorAll("script[data-file]")].map((each) => each.dataset.file);
    const contents = files
      .filter((file) => file.startsWith(start))
      .map(async (file) => [file.slice(start.length), await contentOf(file)]);
    return Object.fromEntries(await Promise.all(contents));
  },
  address: () => null,
};

async function contentOf(file) {
  const text = document.querySelector(`script[data-file="${CSS.escape(file)}"]`).textContent;
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

async function scriptOf(file) {
  return URL.createObjectURL(new Blob([await contentOf(file)], { type: "text/javascript" }));
}
