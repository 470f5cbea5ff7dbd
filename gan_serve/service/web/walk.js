/** The walk through the picked seeds: its settings, its frames as they come, cancel and resume. */

import { ApiError } from "./api.js";
import { ICONS, debounce, h, icon, keepFocus, latest } from "./dom.js";
import { toImage } from "./images.js";
import { FRAMES_PER_SECOND, Player } from "./player.js";
import { walkRequest } from "./requests.js";

const STEPS_MAX = 64;

export class WalkView {
  #parts;
  #run = latest();
  #shown = null;
  #frames = 0;
  #total = 0;

  #empty = h("div", { class: "empty", hidden: true });
  #body = h("div", { class: "walk" });
  #picks = h("ol", { class: "picks" });
  #note = h("p", { class: "hint" });
  #steps = h("input", { type: "range", min: "2", max: String(STEPS_MAX), id: "steps" });
  #stepsValue = h("span", { class: "value", "aria-hidden": "true" });
  #loop = h("input", { type: "checkbox", id: "loop" });
  #methods = ["slerp", "lerp"].map((method) =>
    h("input", { type: "radio", name: "method", value: method, id: `method-${method}` }),
  );
  #progress = h("progress", { "aria-label": "Frames drawn" });
  #progressText = h("span", { class: "hint" });
  #cancel = h("button", { type: "button", id: "walk-cancel" }, "Cancel");
  #resume = h("button", { type: "button", id: "walk-resume" }, "Resume");
  #receipt = h("a", { class: "button", id: "frame-png" }, "PNG of this frame");

  constructor(root, parts) {
    this.#parts = parts;
    this.player = new Player((frame) => this.#offer(frame));
    this.#fillEmpty();
    this.#body.append(this.#stage(), this.#settings());
    root.append(this.#empty, this.#body);
    this.#wire();
  }

  update(state, model) {
    const isWalk = state.picks.length >= 2;
    const hadFocus = this.#body.contains(document.activeElement);
    this.#empty.hidden = isWalk;
    this.#body.hidden = !isWalk;
    this.#showSettings(state, model);
    if (!isWalk) {
      if (hadFocus) this.#empty.querySelector("button").focus();
      this.leave();
      this.#shown = null;
      this.#parts.problem.clear();
      this.#parts.status.say("");
      return;
    }
    const walk = JSON.stringify([walkRequest(state), model.digest]);
    if (walk === this.#shown) return;
    this.#shown = walk;
    this.#begin(state, model);
  }

  leave() {
    if (!this.#cancel.hidden) this.retry();
    this.player.pause();
    this.player.isHeld = false;
    this.#run.cancel();
  }

  retry() {
    this.#shown = null;
  }

  #begin(state, model) {
    this.#frames = this.#total = 0;
    this.player.begin(state);
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!isCalm && !this.player.isHeld) this.player.play();
    this.#draw(state, model);
  }

  /** Draw what is still missing: all frames, or the rest of a walk that was cut off. */
  #draw(state, model) {
    this.#run(async (signal) => {
      const { api, status, problem } = this.#parts;
      const { path, body } = walkRequest(state);
      problem.clear();
      status.busy("Walking…");
      this.#showProgress("drawing");
      try {
        const start = this.#frames && { start: this.#frames };
        for await (const line of api.lines(path, { ...body, ...start, format: "ndjson" }, signal)) {
          signal.throwIfAborted();
          this.#frames = line.frame + 1;
          this.#total = line.frames;
          this.player.add(toImage(line), line.frames);
          this.#showProgress(this.#frames < this.#total ? "drawing" : "done");
        }
        if (this.#frames < this.#total) {
          throw new ApiError({ code: "cut_off", message: "The walk was cut off on its way here." });
        }
        model.loaded = true;
        status.say(`${this.#frames} frames`);
      } catch (error) {
        if (signal.aborted) return;
        this.#showProgress("stopped");
        status.say("");
        problem.show(error, {
          name: this.#frames ? "Resume" : "Try again",
          action: () => this.#draw(state, model),
        });
      }
    });
  }

  /** @param {"drawing"|"stopped"|"done"} phase */
  #showProgress(phase) {
    this.#progress.max = this.#total || 1;
    this.#progress.value = this.#frames;
    this.#progress.hidden = phase === "done";
    this.#cancel.hidden = phase !== "drawing";
    this.#resume.hidden = phase !== "stopped";
    this.#progressText.textContent =
      phase === "done" ? duration(this.#frames) : `${this.#frames} of ${this.#total || "…"} frames`;
  }

  #offer({ url, receipt }) {
    this.#receipt.href = url;
    this.#receipt.download = `${receipt.model}-walk-${receipt.walk.seeds.join("-")}-frame-${receipt.walk.frame}.png`;
  }

  #stage() {
    const { screen, transport } = this.player;
    const progress = h(
      "div",
      { class: "progress" },
      this.#progress,
      this.#progressText,
      this.#cancel,
      this.#resume,
    );
    return h("div", { class: "walk-stage" }, screen, transport, progress);
  }

  #settings() {
    const methods = this.#methods.map((input) => [input, h("label", { for: input.id }, input.value)]);
    return h(
      "div",
      { class: "walk-settings" },
      h("h2", {}, "Key images"),
      this.#picks,
      this.#note,
      h("button", { type: "button", id: "add-random" }, "Add a random seed"),
      h(
        "div",
        { class: "field" },
        h("div", { class: "spread" }, h("label", { for: "steps" }, "Frames between keys"), this.#stepsValue),
        this.#steps,
      ),
      h(
        "div",
        { class: "field check-line" },
        this.#loop,
        h("label", { for: "loop" }, "Loop back to the first"),
      ),
      h("fieldset", { class: "field" }, h("legend", {}, "Path"), h("div", { class: "chips" }, methods)),
      this.#receipt,
    );
  }

  #fillEmpty() {
    const { store } = this.#parts;
    this.#empty.append(
      h("h2", {}, "A walk needs two images"),
      h(
        "p",
        {},
        "Pick two or more in the grid, by their corner or with the Space key, and see how one becomes the other.",
      ),
      h(
        "div",
        { class: "row centre" },
        h("button", { type: "button", onclick: () => store.set({ view: "grid" }) }, "To the grid"),
        h(
          "button",
          { type: "button", class: "primary", onclick: () => this.#pickRandom(3) },
          "Take three at random",
        ),
      ),
    );
  }

  #pickRandom(count) {
    const { store } = this.#parts;
    const random = [...crypto.getRandomValues(new Uint32Array(count))].map((number) => number % 100_000);
    store.set({ picks: [...new Set([...store.get().picks, ...random])] });
  }

  #wire() {
    const { store } = this.#parts;
    const setSteps = debounce((steps) => store.set({ steps }, { replace: true }), 250);
    this.#steps.addEventListener("input", () => {
      this.#stepsValue.textContent = this.#steps.value;
      setSteps(Number(this.#steps.value));
    });
    this.#loop.addEventListener("change", () => store.set({ loop: this.#loop.checked }));
    for (const input of this.#methods)
      input.addEventListener("change", () => store.set({ method: input.value }));
    this.#picks.addEventListener("click", ({ target }) => {
      const seed = target.closest("button")?.dataset.seed;
      if (seed !== undefined) store.togglePick(Number(seed));
    });
    this.#body.querySelector("#add-random").addEventListener("click", () => this.#pickRandom(1));
    this.#cancel.addEventListener("click", () => {
      this.#run.cancel();
      this.#showProgress("stopped");
      this.#parts.status.say("Cancelled");
      this.#resume.focus();
    });
    this.#resume.addEventListener("click", () => this.#draw(store.get(), this.#parts.model()));
  }

  #showSettings({ picks, steps, loop, method, label }, model) {
    this.#steps.max = String(Math.max(STEPS_MAX, steps)); // a link may ask for more
    this.#steps.value = String(steps);
    this.#stepsValue.textContent = String(steps);
    this.#loop.checked = loop;
    for (const input of this.#methods) input.checked = input.value === method;
    keepFocus(this.#picks, () => this.#picks.replaceChildren(...picks.map(pickItem)));
    const isBySeed = Boolean(model.c_dim) && label === null;
    this.#note.textContent = isBySeed
      ? "A walk holds one label: without a choice, that of its first seed."
      : "";
  }
}

function duration(frames) {
  return `${frames} frames, ${(frames / FRAMES_PER_SECOND).toFixed(1)} s at ${FRAMES_PER_SECOND} a second`;
}

function pickItem(seed) {
  const name = `Take seed ${seed} out of the walk`;
  return h(
    "li",
    {},
    h("span", {}, String(seed)),
    h(
      "button",
      { type: "button", class: "quiet icon-only tiny", "data-seed": seed, "aria-label": name },
      icon(ICONS.close),
    ),
  );
}
