/** Encode and decode PNG, 8 bits a channel, gray or RGB; nothing beneath but the browser's (or Node's) zlib. */

import { GanServeError } from "./errors.js";
import { SIGNATURE, chunksOf } from "./png-chunks.js";

const COLOUR_TYPES = { 1: 0, 3: 2 }; // channels -> colour type
const UP = 2;

const TABLE = new Uint32Array(256).map((_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** @returns {number} the CRC-32 of bytes, as PNG and ZIP use it */
export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** @returns {Promise<Uint8Array>} bytes through a CompressionStream or DecompressionStream */
export async function through(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

/** @returns {Uint8Array} several arrays of bytes as one */
export function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * @param {{data: Uint8Array, width: number, height: number, channels: number}} image
 * @param {Record<string, string>} texts for text chunks (iTXt)
 * @returns {Promise<Uint8Array>} a PNG whose rows are stored as the difference from the row above
 */
export async function encodePng({ data, width, height, channels }, texts = {}) {
  const stride = width * channels;
  const rows = new Uint8Array(height * (stride + 1));
  for (let y = 0; y < height; y += 1) {
    const at = y * (stride + 1);
    rows[at] = UP;
    for (let x = 0; x < stride; x += 1) {
      rows[at + 1 + x] = data[y * stride + x] - (y ? data[(y - 1) * stride + x] : 0);
    }
  }
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8);
  header.setUint8(9, COLOUR_TYPES[channels]);
  const encoder = new TextEncoder();
  return joined([
    Uint8Array.from(SIGNATURE),
    chunk("IHDR", new Uint8Array(header.buffer)),
    ...Object.entries(texts).map(([key, text]) =>
      chunk("iTXt", joined([encoder.encode(key), new Uint8Array(5), encoder.encode(text)])),
    ),
    chunk("IDAT", await through(rows, new CompressionStream("deflate"))),
    chunk("IEND", new Uint8Array(0)),
  ]);
}

function chunk(kind, content) {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(kind), 4);
  bytes.set(content, 8);
  view.setUint32(content.length + 8, crc32(bytes.subarray(4, content.length + 8)));
  return bytes;
}

/**
 * @param {Uint8Array} bytes of a PNG without a palette, transparency or interlacing, such as a golden sample
 * @returns {Promise<{data: Uint8Array, width: number, height: number, channels: number}>}
 * @throws {GanServeError} `invalid_checkpoint`: it is no such PNG
 */
export async function decodePng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [width, height, depth, colour] = [view.getUint32(16), view.getUint32(20), bytes[24], bytes[25]];
  const channels = { 0: 1, 2: 3 }[colour];
  if (SIGNATURE.some((byte, at) => bytes[at] !== byte) || depth !== 8 || !channels || bytes[28]) {
    throw new GanServeError("invalid_checkpoint", "The golden sample is not an 8-bit gray or RGB PNG.");
  }
  const parts = [...chunksOf(bytes)].filter(([kind]) => kind === "IDAT").map(([, content]) => content);
  const rows = await through(joined(parts), new DecompressionStream("deflate"));
  return { data: unfiltered(rows, width * channels, height, channels), width, height, channels };
}

/** The pixels of filtered rows (PNG specification, section 9). */
function unfiltered(rows, stride, height, channels) {
  const data = new Uint8Array(stride * height);
  for (let y = 0; y < height; y += 1) {
    const filter = rows[y * (stride + 1)];
    for (let x = 0; x < stride; x += 1) {
      const left = x >= channels ? data[y * stride + x - channels] : 0;
      const up = y ? data[(y - 1) * stride + x] : 0;
      const corner = y && x >= channels ? data[(y - 1) * stride + x - channels] : 0;
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
      data[y * stride + x] = rows[y * (stride + 1) + 1 + x] + guess;
    }
  }
  return data;
}

function paeth(left, up, corner) {
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}
