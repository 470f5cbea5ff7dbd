/** Animations without a server: GIF by gifenc, WebP by the browser, which encodes one frame at a time. */

import { GanServeError } from "./errors.js";
import { enlarged } from "./images.js";
import { joined } from "./png.js";

const GRAYS = Array.from({ length: 256 }, (_, value) => [value, value, value]);

/**
 * @param {import("./images.js").Images} images the frames
 * @param {{gifenc: object, fps: number, scale: number}} options
 * @returns {Uint8Array} an endless GIF: exact for gray, 256 colours a frame for RGB
 */
export function gif(images, { gifenc, fps, scale }) {
  const { GIFEncoder, quantize, applyPalette } = gifenc;
  const encoder = GIFEncoder();
  for (let index = 0; index < images.n; index += 1) {
    const rgba = asRgba(images, index).data;
    const palette = images.channels === 1 ? GRAYS : quantize(rgba, 256);
    const places = images.channels === 1 ? images.pixels(index) : applyPalette(rgba, palette);
    const { size } = images;
    const { data, width, height } = enlarged({ data: places, width: size, height: size, channels: 1 }, scale);
    encoder.writeFrame(data, width, height, { palette, delay: 1000 / fps, repeat: 0 });
  }
  encoder.finish();
  return encoder.bytes();
}

/**
 * @param {import("./images.js").Images} images the frames
 * @param {{fps: number, scale: number}} options
 * @returns {Promise<Uint8Array>} an endless WebP (RFC 9649), without loss where the browser can do so
 */
export async function webp(images, { fps, scale }) {
  const parts = [];
  const side = images.size * scale;
  const small = new OffscreenCanvas(images.size, images.size);
  const large = new OffscreenCanvas(side, side);
  const context = large.getContext("2d");
  context.imageSmoothingEnabled = false;
  for (let index = 0; index < images.n; index += 1) {
    small.getContext("2d").putImageData(asRgba(images, index), 0, 0);
    context.drawImage(small, 0, 0, side, side);
    const blob = await large.convertToBlob({ type: "image/webp", quality: 1 });
    if (blob.type !== "image/webp") throw new GanServeError("unsupported_format", "This browser does not write WebP.", "Choose GIF.");
    const duration = Math.round(1000 / fps);
    const header = [...number(0, 6), ...number(side - 1, 3), ...number(side - 1, 3), ...number(duration, 3), DO_NOT_BLEND];
    parts.push(chunk("ANMF", joined([Uint8Array.from(header), picture(new Uint8Array(await blob.arrayBuffer()))])));
  }
  const size = [...number(side - 1, 3), ...number(side - 1, 3)];
  const head = [chunk("VP8X", Uint8Array.from([IS_ANIMATED, 0, 0, 0, ...size])), chunk("ANIM", new Uint8Array(6))];
  return chunk("RIFF", joined([ascii("WEBP"), ...head, ...parts]));
}

const IS_ANIMATED = 2; // flags of VP8X
const DO_NOT_BLEND = 2; // flags of ANMF

/** The chunks of a still WebP that have its pixels. */
function picture(file) {
  const view = new DataView(file.buffer);
  const found = [];
  for (let at = 12; at + 8 <= file.length; ) {
    const end = at + 8 + 2 * Math.ceil(view.getUint32(at + 4, true) / 2);
    const name = String.fromCharCode(...file.subarray(at, at + 4));
    if (["ALPH", "VP8 ", "VP8L"].includes(name)) found.push(file.subarray(at, end));
    at = end;
  }
  return joined(found);
}

function chunk(name, content) {
  const padding = new Uint8Array(content.length % 2);
  return joined([ascii(name), Uint8Array.from(number(content.length, 4)), content, padding]);
}

/** A number as `count` bytes, the lowest first. */
function number(value, count) {
  return Array.from({ length: count }, (_, at) => Math.floor(value / 256 ** at) & 255);
}

function ascii(text) {
  return new TextEncoder().encode(text);
}

function asRgba(images, index) {
  const { size, channels } = images;
  const data = images.pixels(index);
  const image = new ImageData(size, size);
  for (let at = 0; at < size * size; at += 1) {
    for (let c = 0; c < 3; c += 1) image.data[4 * at + c] = data[at * channels + (channels > 1 ? c : 0)];
    image.data[4 * at + 3] = 255;
  }
  return image;
}
