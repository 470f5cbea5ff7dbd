/**
 * Where a page without a server has its engine and its checkpoints: beside it, or inside it.
 *
 * @typedef {object} Files
 * @property {() => Promise<Worker>} worker
 * @property {() => Promise<{module: ?string, wasm: string | Uint8Array, gif: ?string}>} runtime the address of
 *   onnxruntime-web, null where the worker has it; its WebAssembly; and the address of gifenc, or null
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
    gif: addressOf(`${ENGINE}gifenc.esm.js`),
    wasm: addressOf(`${ENGINE}ort-wasm-simd-threaded.wasm.gz`),
  }),
  source: async (model) => addressOf(`models/${model}/`),
  address: (model) => addressOf(`models/${model}/`),
};

/**
 * Files in script elements of the document, compressed by gzip, in base64. Pages from a disk may have no workers that are
 * modules or import any, so the worker is a plain script with the runtime inside.
 *
 * @type {Files}
 */
export const inside = {
  worker: async () => {
    const script = new Blob([await contentOf("engine/worker.js")], { type: "text/javascript" });
    return new Worker(URL.createObjectURL(script));
  },
  runtime: async () => ({ module: null, gif: null, wasm: await contentOf("engine/ort-wasm-simd-threaded.wasm") }),
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
