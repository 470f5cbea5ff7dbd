/** One image, large, with its receipt: what made it, and how to make it again. */

import { ICONS, copyButton, h, icon, latest } from "./dom.js";
import { Problem } from "./notices.js";
import { imageRequest } from "./requests.js";
import { parseSeeds } from "./seeds.js";
import { Takeaway } from "./takeaway.js";

const FIELDS = ["model", "digest", "precision", "seed", "label", "truncation", "version", "sha256"];

export class Detail {
  #dialog;
  #parts;
  #run = latest();

  #image = h("img", { class: "pixelated", alt: "" });
  #title = h("h2", { id: "detail-title", tabindex: "-1", autofocus: true });
  #subtitle = h("p", { class: "hint" });
  #receipt = h("dl", { class: "receipt" });
  #pick = h("button", { type: "button", class: "primary", id: "detail-pick" });
  #sheet = h("button", { type: "button", id: "detail-labels" }, "Under every label");
  #previous = stepButton("Previous image", ICONS.left);
  #next = stepButton("Next image", ICONS.right);
  #problem;
  #takeaway;

  constructor(dialog, parts) {
    this.#dialog = dialog;
    this.#parts = parts;
    const alert = h("div", { role: "alert" });
    this.#problem = new Problem(alert);
    const takeaway = h("section", { class: "takeaway", "aria-label": "Take it with you" });
    this.#takeaway = new Takeaway(takeaway, parts.api);
    const close = h(
      "button",
      { type: "button", class: "quiet icon-only close", "aria-label": "Close" },
      icon(ICONS.close),
    );
    dialog.append(
      close,
      h(
        "div",
        { class: "detail-picture" },
        this.#previous,
        h("div", { class: "screen" }, this.#image),
        this.#next,
      ),
      h(
        "div",
        { class: "detail-facts" },
        h("div", {}, this.#title, this.#subtitle),
        alert,
        h(
          "div",
          { class: "row" },
          this.#pick,
          this.#sheet,
          copyButton("Copy link", () => location.href),
        ),
        h("div", { class: "receipt-box" }, h("h3", {}, "Receipt"), this.#receipt),
        takeaway,
      ),
    );
    this.#wire(close);
  }

  update(state, model) {
    if (!state.open) {
      this.#run.cancel();
      if (this.#dialog.open) this.#dialog.close();
      return;
    }
    if (!this.#dialog.open) this.#dialog.showModal();
    const { seed, label } = state.open;
    this.#title.textContent = `Seed ${seed}`;
    this.#pick.textContent = state.picks.includes(seed) ? "Take out of the walk" : "Add to the walk";
    this.#sheet.hidden = !model.c_dim;
    this.#previous.disabled = this.#neighbour(-1) === undefined;
    this.#next.disabled = this.#neighbour(1) === undefined;
    this.#run((signal) => this.#draw(state, model, seed, label, signal));
  }

  async #draw(state, model, seed, label, signal) {
    this.#takeaway.update(imageRequest(state), model.precision);
    try {
      const [image] = await this.#parts.images.draw({ ...state, seeds: [seed], label }, signal);
      signal.throwIfAborted();
      this.#show(image, state, model);
    } catch (error) {
      if (signal.aborted) return;
      this.#image.removeAttribute("src");
      this.#receipt.replaceChildren();
      this.#problem.show(error, { action: () => this.update(this.#parts.store.get(), model) });
    }
  }

  #show(image, state, model) {
    const { receipt } = image;
    this.#problem.clear();
    this.#image.src = image.url;
    this.#image.alt = receipt.label ? `Seed ${receipt.seed} as ${receipt.label}` : `Seed ${receipt.seed}`;
    this.#subtitle.textContent = [receipt.label, sizeOf(model), `truncation ${receipt.truncation}`]
      .filter(Boolean)
      .join(" · ");
    const fields = FIELDS.filter((field) => receipt[field] !== undefined);
    this.#receipt.replaceChildren(
      ...fields.flatMap((field) => [
        h("dt", {}, field),
        h("dd", { title: String(receipt[field]) }, shorten(receipt[field])),
      ]),
    );
    this.#takeaway.update(imageRequest(state), model.precision, image);
  }

  #wire(close) {
    const { store } = this.#parts;
    const step = (by) => {
      const seed = this.#neighbour(by);
      if (seed !== undefined) store.open(seed, store.get().open.label);
    };
    close.addEventListener("click", () => store.close());
    // Escape: the state closes the dialog, as it opened it.
    this.#dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      store.close();
    });
    this.#dialog.addEventListener("close", () => store.get().open && store.close());
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && store.close());
    this.#dialog.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by && !event.target.closest('[role="tab"], pre')) step(by);
    });
    this.#previous.addEventListener("click", () => step(-1));
    this.#next.addEventListener("click", () => step(1));
    this.#pick.addEventListener("click", () => store.togglePick(store.get().open.seed));
    this.#sheet.addEventListener("click", () =>
      store.set({ view: "labels", seeds: String(store.get().open.seed), open: null }),
    );
  }

  /** The seed beside this one on the page, if there is one. */
  #neighbour(by) {
    const { store, limits } = this.#parts;
    const { seeds, open } = store.get();
    try {
      const page = parseSeeds(seeds, limits().max_images);
      return page.includes(open.seed) ? page[page.indexOf(open.seed) + by] : undefined;
    } catch {
      return undefined;
    }
  }
}

function sizeOf({ img_resolution: side }) {
  return side ? `${side}×${side} pixels` : "";
}

function stepButton(name, path) {
  return h("button", { type: "button", class: "quiet icon-only", "aria-label": name }, icon(path));
}

function shorten(value) {
  const text = String(value);
  return text.length > 30 ? `${text.slice(0, 20)}…${text.slice(-6)}` : text;
}
