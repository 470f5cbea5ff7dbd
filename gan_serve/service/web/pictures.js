/** Read pictures and fit them to a translator, as gan_serve/translation/inputs.py does, pixel for pixel. */

import { GanServeError } from "./errors.js";

const MOST_PIXELS = 2 ** 24;
const FITS = ["crop", "exact"];
const LOBES = 3; // of the Lanczos filter
const BITS = 22; // of the filter's weights, as Pillow rounds them

/**
 * @typedef {{data: Uint8Array, width: number, height: number, channels: number}} Pixels rows of 1 (gray), 3 (RGB) or 4
 *   (RGBA) bytes a pixel
 */

/**
 * Read a picture: transparency becomes white.
 *
 * @param {Blob | ImageBitmap | ImageData | Pixels} source a file, where there is `createImageBitmap` (browsers and their
 *   workers), or pixels
 * @returns {Promise<Pixels>} gray or RGB
 * @throws {GanServeError} `invalid_image`
 */
export async function readPicture(source) {
  if (typeof Blob !== "undefined" && source instanceof Blob) {
    const head = new Uint8Array(await source.slice(0, 2 ** 16).arrayBuffer());
    return withoutAlpha(await decoded(source), isRgb(head));
  }
  if (typeof ImageBitmap !== "undefined" && source instanceof ImageBitmap) return withoutAlpha(drawn(source), false);
  const { data, width, height } = source ?? {};
  const channels = source?.channels ?? data?.length / (width * height);
  if (![1, 3, 4].includes(channels) || !data?.length || data.length !== width * height * channels) {
    const right = "Give a file, or data of width x height x channels bytes, with 1, 3 or 4 channels.";
    throw new GanServeError("invalid_image", "This is no picture.", right);
  }
  checkSize(width, height);
  const pixels = { data: Uint8Array.from(data), width, height, channels };
  return channels === 4 ? withoutAlpha(pixels, false) : pixels;
}

async function decoded(file) {
  if (typeof createImageBitmap === "undefined") {
    throw new GanServeError("invalid_image", "There is no decoder for files here.", "Give the pixels of the picture.");
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new GanServeError("invalid_image", "The picture cannot be decoded.", "Give a PNG, JPEG, WebP, GIF or BMP.");
  }
  try {
    return drawn(bitmap);
  } finally {
    bitmap.close();
  }
}

function drawn(bitmap) {
  const { width, height } = bitmap;
  checkSize(width, height);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { data, width, height, channels: 4 };
}

function checkSize(width, height) {
  if (width * height <= MOST_PIXELS) return;
  const message = `The picture has ${width}x${height} pixels; at most ${MOST_PIXELS.toLocaleString("en")} are read.`;
  throw new GanServeError("invalid_image", message, "Give a smaller picture.");
}

/** RGBA on white, as Pillow's `alpha_composite` rounds it; gray where all pixels are gray, unless `staysRgb`. */
function withoutAlpha({ data, width, height }, staysRgb) {
  const count = width * height;
  const rgb = new Uint8Array(3 * count);
  let isGray = !staysRgb;
  for (let at = 0; at < count; at += 1) {
    const weight = data[4 * at + 3] * 128;
    for (let c = 0; c < 3; c += 1) {
      const sum = data[4 * at + c] * weight + 255 * (255 * 128 - weight) + 0x4000;
      rgb[3 * at + c] = (((sum >> 8) + sum) >> 8) >> 7;
    }
    isGray &&= rgb[3 * at] === rgb[3 * at + 1] && rgb[3 * at] === rgb[3 * at + 2];
  }
  return { data: isGray ? rgb.filter((_, at) => at % 3 === 0) : rgb, width, height, channels: isGray ? 1 : 3 };
}

/** True for files that Pillow reads as RGB even if all pixels are gray; the digest in a receipt depends on it. */
function isRgb(bytes) {
  const [first] = bytes;
  if (first === 0x89) return bytes[25] === 2; // PNG: the colour type
  if (first === 0x42) return bytes[28] >= 24; // BMP: bits a pixel
  if (first !== 0xff) return first === 0x52; // WebP
  for (let at = 2; at + 9 < bytes.length; at += 2 + bytes[at + 2] * 256 + bytes[at + 3]) {
    const marker = bytes[at + 1]; // JPEG: the components of the frame, SOF0 to SOF15 without DHT, JPG and DAC
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return bytes[at + 9] !== 1;
  }
  return true;
}

/**
 * Fit a picture to a translator: as it is, where that takes any size; otherwise the largest square in the middle, resized
 * with Lanczos. `exact` refuses other sizes.
 *
 * @param {Pixels} picture gray or RGB
 * @param {object} config of the translator
 * @returns {Pixels} of the channels that the translator takes
 */
export function fitted(picture, { any_size: anySize, in_resolution: side, in_channels: channels, name }, fit) {
  if (!FITS.includes(fit)) {
    throw new GanServeError("invalid_option", `There is no fit ${JSON.stringify(fit)}.`, `Choose from: ${FITS.join(", ")}.`);
  }
  const { width, height } = picture;
  if (anySize || (width === side && height === side)) return ofChannels(picture, channels);
  if (fit === "exact") {
    const message = `The picture has ${width}x${height} pixels; ${name} takes ${side}x${side}.`;
    throw new GanServeError("invalid_image", message, 'fit "crop" cuts the largest square from the middle and resizes it.');
  }
  return resized(ofChannels(middleSquare(picture), channels), side);
}

function middleSquare({ data, width, height, channels }) {
  const side = Math.min(width, height);
  const [left, top] = [Math.floor((width - side) / 2), Math.floor((height - side) / 2)];
  const square = new Uint8Array(side * side * channels);
  for (let y = 0; y < side; y += 1) {
    const start = ((top + y) * width + left) * channels;
    square.set(data.subarray(start, start + side * channels), y * side * channels);
  }
  return { data: square, width: side, height: side, channels };
}

/** Gray from colour by ITU-R 601 luma, as Pillow rounds it; colour from gray by repeating it. */
function ofChannels({ data, width, height, channels }, wanted) {
  if (channels === wanted) return { data, width, height, channels };
  const at = (i, c) => data[3 * i + c];
  const value =
    wanted === 1
      ? (i) => (at(i, 0) * 19595 + at(i, 1) * 38470 + at(i, 2) * 7471 + 0x8000) >> 16
      : (i) => data[Math.floor(i / 3)];
  return { data: Uint8Array.from({ length: width * height * wanted }, (_, i) => value(i)), width, height, channels: wanted };
}

/** A picture at side x side pixels by Pillow's Lanczos filter, which is widened where it makes a picture smaller. */
function resized({ data, width, height, channels }, side) {
  const rows = filteredRows(data, width, height, channels, side);
  const turned = transposed(rows, side, height, channels);
  return { data: transposed(filteredRows(turned, height, side, channels, side), side, side, channels), width: side, height: side, channels };
}

function transposed(data, width, height, channels) {
  const turned = new Uint8Array(data.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      for (let c = 0; c < channels; c += 1) turned[(x * height + y) * channels + c] = data[(y * width + x) * channels + c];
    }
  }
  return turned;
}

/** Rows of `size` pixels from rows of `width`. */
function filteredRows(data, width, height, channels, size) {
  if (size === width) return data;
  const windows = Array.from({ length: size }, (_, x) => windowOf(x, width, size));
  const rows = new Uint8ClampedArray(size * height * channels);
  for (let y = 0; y < height; y += 1) {
    windows.forEach(({ start, weights }, x) => {
      for (let c = 0; c < channels; c += 1) {
        let sum = 1 << (BITS - 1);
        weights.forEach((weight, i) => (sum += weight * data[(y * width + start + i) * channels + c]));
        rows[(y * size + x) * channels + c] = sum >> BITS;
      }
    });
  }
  return rows;
}

/** The first pixel of the filter for pixel x of `size`, and the filter's weights there (Pillow, Resample.c). */
function windowOf(x, width, size) {
  const scale = width / size;
  const widened = Math.max(scale, 1);
  const [center, support] = [(x + 0.5) * scale, LOBES * widened];
  const start = Math.max(0, Math.trunc(center - support + 0.5));
  const end = Math.min(width, Math.trunc(center + support + 0.5));
  const plain = Array.from({ length: end - start }, (_, i) => lanczos((i + start - center + 0.5) / widened));
  const total = plain.reduce((sum, weight) => sum + weight, 0);
  return { start, weights: plain.map((weight) => Math.trunc((weight / total) * 2 ** BITS + (weight < 0 ? -0.5 : 0.5))) };
}

function lanczos(x) {
  const sinc = (value) => (value === 0 ? 1 : Math.sin(value * Math.PI) / (value * Math.PI));
  return Math.abs(x) < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}
