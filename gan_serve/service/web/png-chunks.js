/** The parts of a PNG file, and the texts among them. */

export const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

/** The kind and the content of each chunk. @param {Uint8Array} bytes of any file; one that is no PNG has none */
export function* chunksOf(bytes) {
  if (SIGNATURE.some((byte, at) => bytes[at] !== byte)) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    yield [String.fromCharCode(...bytes.subarray(at + 4, at + 8)), bytes.subarray(at + 8, at + 8 + view.getUint32(at))];
  }
}

/** @returns {?string} the text of a PNG by its key, as gan-serve writes it: in iTXt, not compressed */
export function textOf(bytes, key) {
  const start = new TextEncoder().encode(`${key}\0\0\0\0\0`);
  for (const [kind, content] of chunksOf(bytes)) {
    if (kind !== "iTXt" || start.some((byte, at) => content[at] !== byte)) continue;
    return new TextDecoder().decode(content.subarray(start.length));
  }
  return null;
}
