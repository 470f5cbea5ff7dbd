/**
 * Everything that decides what is on the screen, kept in the address: a link restores it, back and forward work.
 *
 * @typedef {object} State
 * @property {string} model
 * @property {string} seeds the page, as text that the server takes: "0-31"; empty: the first page
 * @property {?string} label a class name; null: the seed decides
 * @property {number} truncation 0 to 1
 * @property {"grid"|"walk"|"labels"} view
 * @property {number[]} picks the key seeds of the walk, in its order
 * @property {number} steps frames from one key to the next
 * @property {"slerp"|"lerp"} method
 * @property {boolean} loop
 * @property {?{seed: number, label: ?string}} open the image that is shown large
 */

import { parseSeeds, seedsAsText } from "./seeds.js";

const VIEWS = ["grid", "walk", "labels"];
const DEFAULTS = Object.freeze({
  model: "",
  seeds: "",
  label: null,
  truncation: 1,
  view: "grid",
  picks: [],
  steps: 16,
  method: "slerp",
  loop: false,
  open: null,
});

/** @returns {string} the part of an address after "#"; what is as always is left out */
export function formatState(state) {
  const parameters = new URLSearchParams({ model: state.model, seeds: state.seeds });
  if (state.label !== null) parameters.set("label", state.label);
  if (state.truncation !== 1) parameters.set("truncation", String(state.truncation));
  if (state.view !== "grid") parameters.set("view", state.view);
  if (state.picks.length) parameters.set("picks", seedsAsText(state.picks));
  if (state.steps !== DEFAULTS.steps) parameters.set("steps", String(state.steps));
  if (state.method !== DEFAULTS.method) parameters.set("method", state.method);
  if (state.loop) parameters.set("loop", "1");
  if (state.open) {
    parameters.set("open", String(state.open.seed));
    if (state.open.label !== null) parameters.set("open-label", state.open.label);
  }
  return parameters.toString();
}

/** @returns {State} what an address says; parts that make no sense are as if they were not there */
export function parseState(hash) {
  const parameters = new URLSearchParams(hash.replace(/^#/, ""));
  const open = Number(parameters.get("open") ?? NaN);
  return {
    model: parameters.get("model") ?? DEFAULTS.model,
    seeds: parameters.get("seeds") ?? DEFAULTS.seeds,
    label: parameters.get("label"),
    truncation: numberFrom(parameters.get("truncation"), 0, 1, DEFAULTS.truncation),
    view: VIEWS.includes(parameters.get("view")) ? parameters.get("view") : DEFAULTS.view,
    picks: seedsOrNone(parameters.get("picks")),
    steps: Math.round(numberFrom(parameters.get("steps"), 1, 240, DEFAULTS.steps)),
    method: parameters.get("method") === "lerp" ? "lerp" : DEFAULTS.method,
    loop: parameters.get("loop") === "1",
    open: Number.isInteger(open) && open >= 0 ? { seed: open, label: parameters.get("open-label") } : null,
  };
}

/** Whether a state needs a model that has labels. */
export function asksForLabels({ label, view, open }) {
  return label !== null || view === "labels" || Boolean(open && open.label !== null);
}

/** @returns {State} the same for a model that has none: a link for another model may name one */
export function withoutLabels(state) {
  const { view, open } = state;
  return {
    ...state,
    label: null,
    view: view === "labels" ? "grid" : view,
    open: open && { ...open, label: null },
  };
}

function numberFrom(text, low, high, otherwise) {
  const number = text === null || text.trim() === "" ? NaN : Number(text);
  return number >= low && number <= high ? number : otherwise;
}

function seedsOrNone(text) {
  try {
    return text ? parseSeeds(text) : [];
  } catch {
    return [];
  }
}

/** The state, and who wants to know of its changes. */
export class Store {
  #state = parseState(location.hash);
  #listeners = [];
  #isGoingBack = false;

  constructor() {
    // Back, forward, and an address that somebody edits.
    addEventListener("popstate", () => {
      this.#isGoingBack = false;
      const read = parseState(location.hash);
      const { model, seeds } = this.#state;
      const state = { ...read, model: read.model || model, seeds: read.seeds || seeds };
      if (formatState(state) !== formatState(this.#state)) {
        this.#become(state);
      }
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
    if (this.#isGoingBack) {
      addEventListener("popstate", () => this.set(changes, { replace }), { once: true });
      return;
    }
    const state = { ...this.#state, ...changes };
    const hash = `#${formatState(state)}`;
    if (hash === `#${formatState(this.#state)}` && location.hash) return;
    if (replace) {
      history.replaceState(history.state, "", hash);
    } else {
      history.pushState({ opened: Boolean(state.open) && !this.#state.open }, "", hash);
    }
    this.#become(state);
  }

  /** Show one image large. */
  open(seed, label) {
    this.set({ open: { seed, label } }, { replace: this.#state.open !== null });
  }

  /** Back to where the image was opened, so that the history holds no pair of equal entries. */
  close() {
    if (this.#isGoingBack) return;
    if (history.state?.opened) {
      this.#isGoingBack = true;
      history.back();
    } else {
      this.set({ open: null }, { replace: true });
    }
  }

  /** Add a seed to the walk, or take it out. */
  togglePick(seed) {
    const { picks } = this.#state;
    this.set(
      { picks: picks.includes(seed) ? picks.filter((pick) => pick !== seed) : [...picks, seed] },
      { replace: true },
    );
  }

  #become(state) {
    const before = this.#state;
    this.#state = state;
    for (const listener of this.#listeners) listener(state, before);
  }
}
