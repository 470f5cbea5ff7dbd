/** Pixels on canvases. A canvas has the size of its image and is enlarged by CSS, by whole numbers where it can be. */

import { h } from "./dom.js";

let buffer = null; // a canvas copies what is put on it, so that one image serves for all of the same size

/** Paint image `index` of `pixels` (see backend.js) on a canvas, which gets its size. */
export function paint(canvas, pixels, index = 0) {
  const { size } = pixels;
  fit(canvas, size);
  const image = imageOf(size, size);
  fill(image, pixels, index, 0, 0);
  put(canvas, image);
}

/** Paint all images of `pixels` on a canvas, row by row. */
export function paintMosaic(canvas, pixels, columns) {
  const { n, size } = pixels;
  const rows = Math.ceil(n / columns);
  fit(canvas, size * columns, size * rows);
  const image = imageOf(size * columns, size * rows);
  for (let index = 0; index < n; index += 1) {
    fill(image, pixels, index, size * (index % columns), size * Math.floor(index / columns));
  }
  put(canvas, image);
}

function imageOf(width, height) {
  if (buffer?.width !== width || buffer.height !== height) buffer = new ImageData(width, height);
  return buffer;
}

/** Write image `index` of `pixels` into an ImageData, its upper left corner at (left, top). */
function fill(image, { data, size, channels }, index, left, top) {
  const [green, blue] = channels > 1 ? [1, 2] : [0, 0];
  let from = index * size * size * channels;
  for (let y = top; y < top + size; y += 1) {
    let to = 4 * (y * image.width + left);
    for (const end = to + 4 * size; to < end; to += 4) {
      image.data[to] = data[from];
      image.data[to + 1] = data[from + green];
      image.data[to + 2] = data[from + blue];
      image.data[to + 3] = 255;
      from += channels;
    }
  }
}

/** Without `willReadFrequently`, Chromium keeps a copy of every image put on a canvas until the canvas is shown. */
function put(canvas, image) {
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(image, 0, 0);
}

/** Give a canvas a size; that empties it, so only where it has another. */
function fit(canvas, width, height = width) {
  if (canvas.width === width && canvas.height === height) return;
  canvas.width = width;
  canvas.height = height;
}

/** A small picture: a canvas, hidden from screen readers, for its button has a name. */
export function picture(size) {
  return h("canvas", { width: size, height: size, class: "pixelated", "aria-hidden": "true" });
}
