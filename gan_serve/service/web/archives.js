/** ZIP archives and NumPy's npz. */

import { crc32, joined, through } from "./png.js";

const DATE = 0x21; // 1 January 1980, so that the same images give the same bytes

/**
 * @param {[string, Uint8Array][]} files by name
 * @param {{compress?: boolean}} options PNGs are compressed already
 * @returns {Promise<Uint8Array>} a ZIP archive
 */
export async function zip(files, { compress = false } = {}) {
  const parts = [];
  const entries = [];
  let at = 0;
  for (const [name, content] of files) {
    const stored = compress ? await through(content, new CompressionStream("deflate-raw")) : content;
    const label = new TextEncoder().encode(name);
    const sizes = [crc32(content), stored.length, content.length];
    const common = [20, 0x800, compress ? 8 : 0, 0, DATE];
    const local = joined([fields(0x04034b50, common, sizes, [label.length, 0]), label, stored]);
    entries.push(
      joined([fields(0x02014b50, [20, ...common], sizes, [label.length, 0, 0, 0, 0, 0, 0, at & 0xffff, at >>> 16]), label]),
    );
    parts.push(local);
    at += local.length;
  }
  const directory = joined(entries);
  const end = fields(0x06054b50, [0, 0, files.length, files.length], [directory.length, at], [0]);
  return joined([...parts, directory, end]);
}

/** A record: its signature, numbers of 16 bits, of 32 bits, and of 16 bits again, the lower byte first. */
function fields(signature, words, longs, rest) {
  const view = new DataView(new ArrayBuffer(4 + 2 * words.length + 4 * longs.length + 2 * rest.length));
  let at = 0;
  const put = (value, bytes) => {
    if (bytes === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += bytes;
  };
  put(signature, 4);
  for (const word of words) put(word, 2);
  for (const long of longs) put(long, 4);
  for (const word of rest) put(word, 2);
  return new Uint8Array(view.buffer);
}

/**
 * @param {Record<string, {kind: string, shape: number[], bytes: Uint8Array}>} arrays `kind`: NumPy's, such as "<f4"
 * @returns {Promise<Uint8Array>} the arrays as `numpy.load` reads them
 */
export function npz(arrays) {
  const files = Object.entries(arrays).map(([name, { kind, shape, bytes }]) => {
    const about = `{'descr': '${kind}', 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
    const text = `${about.padEnd(64 * Math.ceil((about.length + 11) / 64) - 11)}\n`;
    const magic = Uint8Array.of(0x93, 78, 85, 77, 80, 89, 1, 0, text.length & 255, text.length >> 8);
    return [`${name}.npy`, joined([magic, new TextEncoder().encode(text), bytes])];
  });
  return zip(files, { compress: true });
}

/** @returns {{kind: string, shape: number[], bytes: Uint8Array}} texts as an array of NumPy's, 4 bytes a character */
export function textArray(texts) {
  const rows = texts.map((text) => [...text].map((character) => character.codePointAt(0)));
  const length = Math.max(1, ...rows.map((row) => row.length));
  const points = new Uint32Array(rows.length * length);
  rows.forEach((row, index) => points.set(row, index * length));
  return { kind: `<U${length}`, shape: [rows.length], bytes: new Uint8Array(points.buffer) };
}
