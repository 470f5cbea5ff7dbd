/** The settings at the side: model, seeds, label, truncation. They show the state and change it. */

import { $, debounce, h } from "./dom.js";
import { isRun, pageFrom, parseSeeds, randomPage } from "./seeds.js";

const PAGE_SIZES = [16, 32, 64, 128];

export class Controls {
  #store;
  #api;
  #limits;
  #labelsOf = null;
  #aboutOf = null;

  /** @param {{store: import("./state.js").Store, api: import("./api.js").Api, limits: () => {max_images: number}}} parts */
  constructor({ store, api, limits }) {
    this.#store = store;
    this.#api = api;
    this.#limits = limits;
    this.#wireSeeds();
    $("labels").addEventListener("change", ({ target }) => {
      store.set({ label: target.dataset.bySeed === undefined ? target.value : null });
    });
    const setTruncation = debounce((truncation) => store.set({ truncation }, { replace: true }), 150);
    $("truncation").addEventListener("input", ({ target }) => {
      $("truncation-value").textContent = Number(target.value).toFixed(2);
      setTruncation(Number(target.value));
    });
    $("about").addEventListener("toggle", () => this.#showAbout());
  }

  /** @param {(name: string) => void} onChoose */
  setModels(models, onChoose) {
    $("model").replaceChildren(
      ...models.map(({ name, ready }) => h("option", { value: name }, ready ? name : `${name} (not ready)`)),
    );
    $("model").disabled = false;
    $("model").onchange = ({ target }) => onChoose(target.value);
  }

  update(state, model) {
    const select = $("model");
    if (![...select.options].some((option) => option.value === state.model)) {
      select.append(h("option", { value: state.model }, `${state.model} (not here)`));
    }
    select.value = state.model;
    $("model-summary").textContent = model.img_resolution ? summary(model) : "\u00a0";
    this.#showSeeds(state.seeds);
    this.#showLabels(state, model);
    $("truncation").value = String(state.truncation);
    $("truncation-value").textContent = state.truncation.toFixed(2);
    this.#showAbout();
  }

  #wireSeeds() {
    const store = this.#store;
    const count = () => Number($("count").value);
    const turn = (by) =>
      store.set({ seeds: pageFrom(this.#page()[0] + by * this.#page().length, this.#page().length) });
    $("seeds-form").addEventListener("submit", (event) => {
      event.preventDefault();
      try {
        const seeds = parseSeeds($("seeds").value, this.#limits().max_images);
        store.set({
          seeds: seeds.length === 1 ? pageFrom(seeds[0], count()) : $("seeds").value.replace(/\s/g, ""),
        });
        this.#complain("");
      } catch (error) {
        this.#complain(error.message);
      }
    });
    $("reroll").addEventListener("click", () => store.set({ seeds: randomPage(count()) }));
    $("previous").addEventListener("click", () => turn(-1));
    $("next").addEventListener("click", () => turn(1));
    $("count").addEventListener("change", () =>
      store.set({ seeds: pageFrom(this.#page()[0] ?? 0, count()) }),
    );
  }

  /** The seeds of the page; none where the address holds what is no seeds. */
  #page() {
    try {
      return parseSeeds(this.#store.get().seeds, this.#limits().max_images);
    } catch {
      return [];
    }
  }

  #complain(message) {
    $("seeds").setAttribute("aria-invalid", String(Boolean(message)));
    $("seeds-hint").textContent = message || "A seed to start from, or a set: 0-3,10";
    $("seeds-hint").classList.toggle("wrong", Boolean(message));
    if (message) $("seeds").focus();
  }

  #showSeeds(text) {
    $("seeds").value = text;
    this.#complain("");
    const page = this.#page();
    const turnable = page.length > 0 && isRun(page);
    $("previous").disabled = !turnable || page[0] === 0;
    $("next").disabled = !turnable || page.at(-1) === 2 ** 32 - 1;
    const most = this.#limits().max_images;
    const sizes = most < PAGE_SIZES[0] ? [most] : PAGE_SIZES.filter((size) => size <= most);
    $("count").replaceChildren(...sizes.map((size) => h("option", { value: size }, size)));
    $("count").value = String(sizes.find((size) => size >= page.length) ?? sizes.at(-1));
  }

  #showLabels({ label }, model) {
    const names = model.c_dim ? model.class_names : [];
    $("labels-field").hidden = names.length === 0;
    if (this.#labelsOf !== model) {
      this.#labelsOf = model;
      $("labels").replaceChildren(
        ...chip("By seed", 0, { "data-by-seed": true }),
        ...names.flatMap((name, index) => chip(name, index + 1, { value: name })),
      );
    }
    for (const input of $("labels").querySelectorAll("input")) {
      input.checked = label === null ? input.dataset.bySeed !== undefined : input.value === label;
      if (input.checked) showWithin($("labels"), input.nextSibling);
    }
  }

  /** Facts that GET /models/NAME has, asked for when somebody wants to see them. */
  async #showAbout() {
    const { model } = this.#store.get();
    if (!$("about").open || this.#aboutOf === model) return;
    this.#aboutOf = model;
    $("about-body").replaceChildren(h("p", { class: "hint" }, "…"));
    try {
      const about = await this.#api.get(`models/${encodeURIComponent(model)}`, (text) =>
        $("about-body").replaceChildren(h("p", { class: "hint" }, text)),
      );
      if (this.#aboutOf === model) $("about-body").replaceChildren(facts(about));
    } catch (error) {
      this.#aboutOf = null;
      $("about-body").replaceChildren(h("p", { class: "hint" }, `${error.message} ${error.hint ?? ""}`));
    }
  }
}

function chip(name, index, attributes) {
  const id = `label-${index}`;
  return [h("input", { type: "radio", name: "label", id, ...attributes }), h("label", { for: id }, name)];
}

/** Scroll a row of chips, as phones have it, to one of them; not the page. */
function showWithin(row, chip) {
  const [from, to] = [chip.offsetLeft - row.offsetLeft, chip.offsetLeft - row.offsetLeft + chip.offsetWidth];
  if (from < row.scrollLeft || to > row.scrollLeft + row.clientWidth) row.scrollLeft = from - 40;
}

function summary({ img_resolution: side, img_channels: channels, c_dim: classes, precision, device }) {
  return [
    `${side}×${side} ${channels === 1 ? "gray" : "RGB"}`,
    classes && `${classes} labels`,
    device ? `${precision} on ${device}` : precision,
  ]
    .filter(Boolean)
    .join(" · ");
}

function facts({ license, z_dim: zDim, truncation_space: space, precisions, digest, metrics, parity }) {
  const rows = {
    licence: license,
    "latent numbers": zDim,
    "truncation in": space,
    precisions: precisions?.join(", "),
    ...plainValues(metrics),
    "off torch by": parity && `${parity.max_difference} of 255 at most`,
    digest: digest && `${digest.replace("sha256:", "").slice(0, 12)}…`,
  };
  const known = Object.entries(rows).filter(([, value]) => value !== undefined && value !== null);
  return h(
    "dl",
    { class: "facts" },
    known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]),
  );
}

/** The numbers and words of an object; what is nested is for programs. */
function plainValues(object) {
  const plain = Object.entries(object ?? {}).filter(([, value]) =>
    ["number", "string"].includes(typeof value),
  );
  return Object.fromEntries(
    plain.map(([name, value]) => [
      name.replaceAll("_", " "),
      typeof value === "number" ? Number(value.toPrecision(4)) : value,
    ]),
  );
}
