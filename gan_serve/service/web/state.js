/**
 * Everything that decides what is on the screen, kept in the address: a link restores it, back and forward work.
 *
 * @typedef {object} Point where in the latent space: a seed or a latent, moved along the directions, under a label
 * @property {number} seed
 * @property {?string} latent in place of the seed: base64 of float32, as in receipts
 * @property {number[]} move offsets along the directions; empty: none
 * @property {?string} label a class name; null: the seed decides
 *
 * @typedef {object} State a Point, and:
 * @property {string} model
 * @property {number} truncation 0 to 1
 * @property {string} page the seeds of the contact sheet, as text: "0-31"
 * @property {Point[]} pins the keys of the walk that a person chose; fewer than two: the page chooses
 * @property {number} speed seconds from one key to the next
 */

import { fromBase64 } from "./latents.js";

export const SPEEDS = [0.5, 1, 2, 4];
const DEFAULTS = { model: "", truncation: 1, page: "", speed: 1 };
const MOST_PINS = 64;
const MOST_OFFSETS = 16;
const MOST_NUMBERS = 4096; // of a latent

/** @returns {string} the part of an address after "#", without parts that have their default values */
export function formatState(state) {
  const { model, move, label, truncation, page, pins, speed } = state;
  const parameters = new URLSearchParams({ model, seed: keyAsText(state) });
  if (move.some(Boolean)) parameters.set("move", move.join(","));
  if (label !== null) parameters.set("label", label);
  if (truncation !== 1) parameters.set("truncation", String(truncation));
  if (page) parameters.set("seeds", page);
  for (const pin of pins) {
    const parts = [keyAsText(pin), pin.move.join(","), ...(pin.label === null ? [] : [pin.label])];
    parameters.append("pin", parts.join(":"));
  }
  if (speed !== 1) parameters.set("speed", String(speed));
  return parameters.toString();
}

/** @returns {State} what an address says; parts that cannot be read have their default values */
export function parseState(hash) {
  const parameters = new URLSearchParams(hash.replace(/^#/, ""));
  return {
    model: parameters.get("model") ?? DEFAULTS.model,
    ...(keyFrom(parameters.get("seed") ?? "") ?? { seed: 0, latent: null }),
    move: moveFrom(parameters.get("move")),
    label: parameters.get("label"),
    truncation: numberFrom(parameters.get("truncation"), 0, 1, DEFAULTS.truncation),
    page: parameters.get("seeds") ?? DEFAULTS.page,
    pins: parameters.getAll("pin").slice(0, MOST_PINS).map(pinFrom).filter(Boolean),
    speed: SPEEDS.includes(Number(parameters.get("speed"))) ? Number(parameters.get("speed")) : DEFAULTS.speed,
  };
}

/** @returns {Point} the one that the state is at */
export function pointOf({ seed, latent, move, label }) {
  return { seed, latent, move, label };
}

/** @returns {Point} a seed as it is; a null label lets it decide */
export function pointAt(seed, label) {
  return { seed, latent: null, move: [], label };
}

/** @returns {string} a point in words, without its label */
export function nameOf({ seed, latent, move }) {
  return `${latent ? "latent" : `seed ${seed}`}${move.some(Boolean) ? ", moved" : ""}`;
}

function pinFrom(text) {
  const [name, move = "", ...label] = text.split(":");
  const key = keyFrom(name);
  return key && { ...key, move: moveFrom(move), label: label.length ? label.join(":") : null };
}

/** A seed, or "@" and a latent. */
function keyAsText({ seed, latent }) {
  return latent ? `@${latent}` : String(seed);
}

function keyFrom(text) {
  if (text.startsWith("@")) return isLatent(text.slice(1)) ? { seed: 0, latent: text.slice(1) } : null;
  return /^\d{1,10}$/.test(text) && Number(text) < 2 ** 32 ? { seed: Number(text), latent: null } : null;
}

/** @returns {boolean} whether a text is base64 of float32, all of them finite */
export function isLatent(text) {
  try {
    const numbers = fromBase64(text);
    return numbers.length > 0 && numbers.length <= MOST_NUMBERS && numbers.every(Number.isFinite);
  } catch {
    return false;
  }
}

function moveFrom(text) {
  const numbers = (text || "").split(",").map(Number);
  const valid = numbers.length <= MOST_OFFSETS && numbers.every((number) => Math.abs(number) <= 20);
  return text && valid ? numbers : [];
}

function numberFrom(text, low, high, otherwise) {
  const number = text === null || text.trim() === "" ? NaN : Number(text);
  return number >= low && number <= high ? number : otherwise;
}

/** The state, and who wants to know of its changes. */
export class Store {
  #state = parseState(location.hash);
  #listeners = [];

  constructor() {
    // Back, forward, and an address that somebody edits.
    addEventListener("popstate", () => {
      const read = parseState(location.hash);
      this.#become({ ...read, model: read.model || this.#state.model });
    });
  }

  /** @returns {State} */
  get() {
    return this.#state;
  }

  /** @param {(state: State, before: State) => void} listener called after each change */
  subscribe(listener) {
    this.#listeners.push(listener);
  }

  /**
   * @param {Partial<State>} changes
   * @param {{replace?: boolean}} options replace: no entry in the history, for steps of a slider and the like
   */
  set(changes, { replace = false } = {}) {
    const state = { ...this.#state, ...changes };
    if (formatState(state) === formatState(this.#state)) return;
    this.#become(state);
    this.#write(replace);
  }

  /** Browsers refuse more than some hundred changes of the address in half a minute: while one drags, the last counts. */
  #write(replace) {
    clearTimeout(this.timer);
    const hash = () => `#${formatState(this.#state)}`;
    if (!replace) history.pushState(null, "", hash());
    else this.timer = setTimeout(() => history.replaceState(null, "", hash()), 150);
  }

  #become(state) {
    const before = this.#state;
    this.#state = state;
    for (const listener of this.#listeners) listener(state, before);
  }
}
