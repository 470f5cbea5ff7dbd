/** Pixels on canvases. A canvas has the size of its image and is enlarged by CSS, by whole numbers where it can be. */

import { h } from "./dom.js";

/** Paint image `index` of `pixels` (see backend.js) on a canvas, at a cell of a mosaic if one is named. */
export function paint(canvas, { data, size, channels }, index = 0, [column, row] = [0, 0]) {
  const image = new ImageData(size, size);
  const to = image.data;
  let from = index * size * size * channels;
  for (let at = 0; at < to.length; at += 4) {
    to[at] = data[from];
    to[at + 1] = data[from + (channels > 1 ? 1 : 0)];
    to[at + 2] = data[from + (channels > 1 ? 2 : 0)];
    to[at + 3] = 255;
    from += channels;
  }
  canvas.getContext("2d").putImageData(image, column * size, row * size);
}

/** Give a canvas the size of an image, or of a mosaic; that empties it, so only where it has another. */
export function fit(canvas, size, columns = 1, rows = 1) {
  if (canvas.width === columns * size && canvas.height === rows * size) return;
  canvas.width = columns * size;
  canvas.height = rows * size;
}

/** A small picture: a canvas, hidden from screen readers, for its button has a name. */
export function picture(size) {
  return h("canvas", { width: size, height: size, class: "pixelated", "aria-hidden": "true" });
}
