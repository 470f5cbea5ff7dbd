// Render avatars of one split: node render.mjs SPLIT COUNT FOLDER WORKER WORKERS
//
// Image i of a split has the style number i modulo the number of styles, and options chosen by the SHA-256 of its seed
// (`avatars/train/00042`) and the option's name. Each chunk of images becomes two files in FOLDER, written whole or not
// at all: `SPLIT-00000.rgb` with uint8 [n, 64, 64, 3] and `SPLIT-00000.jsonl` with one line of options an image. A chunk
// that is there is not rendered again. Worker w of W renders the chunks w, w + W, ...

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { createAvatar } from "@dicebear/core";
import { Resvg } from "@resvg/resvg-js";

import { BACKGROUNDS, STYLES } from "./styles.mjs";

const SIDE = 64;
const CHUNK = 500;
const NAMES = Object.keys(STYLES);
const PACKAGES = Object.fromEntries(
  await Promise.all(NAMES.map(async (name) => [name, await import(`@dicebear/${name}`)])),
);

/** A whole number from 0 to 2**32 - 1 that depends on the image's seed and the name of what is chosen. */
function chosen(seed, name) {
  return createHash("sha256").update(`${seed}/${name}`).digest().readUInt32BE(0);
}

/** The options of DiceBear for one image: every list has one value, and every probability is 0 or 100. */
function optionsOf(style, seed) {
  const { only = {}, without = {}, chance = {} } = STYLES[style];
  const pick = (name, values) => [values[chosen(seed, name) % values.length]];
  const options = { seed, backgroundColor: pick("backgroundColor", BACKGROUNDS) };
  for (const [name, property] of Object.entries(PACKAGES[style].schema.properties)) {
    if (name === "backgroundColor") continue;
    if (property.type === "array") {
      options[name] = pick(name, only[name] ?? property.default.filter((value) => !without[name]?.includes(value)));
    } else if (name.endsWith("Probability")) {
      const percent = chance[name.slice(0, -"Probability".length)] ?? property.default;
      options[name] = chosen(seed, name) % 100 < percent ? 100 : 0;
    }
  }
  return options;
}

/** The row of the table: the parts that most styles have, under one name for all styles, and every part in `options`. */
function rowOf(style, seed, drawn) {
  const { hair = "hair", skin = "skinColor", glasses = {} } = STYLES[style];
  const { primaryBackgroundColor, secondaryBackgroundColor, backgroundType, backgroundRotation, ...options } = drawn;
  const wears = drawn.glasses || Object.entries(glasses).some(([name, values]) => values.includes(drawn[name]));
  return {
    image: seed,
    style,
    background: primaryBackgroundColor,
    skin: drawn[skin],
    hair: drawn[hair] ?? "",
    hair_color: drawn.hairColor ?? drawn.headContrastColor ?? "",
    glasses: wears ? 1 : 0,
    mouth: drawn.mouth ?? drawn.face,
    options,
  };
}

/** One avatar: its pixels as RGB bytes, and its row of the table. */
function render(split, index) {
  const style = NAMES[index % NAMES.length];
  const seed = `avatars/${split}/${String(index).padStart(5, "0")}`;
  const { svg, extra } = createAvatar(PACKAGES[style], optionsOf(style, seed)).toJson();
  const image = new Resvg(svg, { fitTo: { mode: "width", value: SIDE }, font: { loadSystemFonts: false } }).render();
  if (image.width !== SIDE || image.height !== SIDE) throw new Error(`${seed} is ${image.width}x${image.height}`);
  const rgba = image.pixels;
  const rgb = Buffer.alloc(SIDE * SIDE * 3);
  for (let pixel = 0; pixel < SIDE * SIDE; pixel++) rgba.copy(rgb, pixel * 3, pixel * 4, pixel * 4 + 3);
  return { rgb, row: rowOf(style, seed, extra) };
}

/** Write a file whole or not at all. */
function write(path, content) {
  writeFileSync(`${path}.part`, content);
  renameSync(`${path}.part`, path);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [split, count, folder, worker, workers] = process.argv.slice(2);
  mkdirSync(folder, { recursive: true });
  for (let start = Number(worker) * CHUNK; start < Number(count); start += Number(workers) * CHUNK) {
    const stem = join(folder, `${split}-${String(start).padStart(5, "0")}`);
    if (existsSync(`${stem}.rgb`)) continue;
    const avatars = [];
    for (let i = start; i < Math.min(start + CHUNK, Number(count)); i++) avatars.push(render(split, i));
    write(`${stem}.jsonl`, avatars.map(({ row }) => JSON.stringify(row) + "\n").join(""));
    write(`${stem}.rgb`, Buffer.concat(avatars.map(({ rgb }) => rgb)));
  }
}
