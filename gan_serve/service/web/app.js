/** Starts the page: asks the backend for its models, then shows what the address names and follows its changes. */

import { $, wireCopy } from "./dom.js";
import { Drawer } from "./drawer.js";
import { Drop } from "./drop.js";
import { Labels } from "./labels.js";
import { fromBase64 } from "./latents.js";
import { Problem, Status } from "./notices.js";
import { Pad } from "./pad.js";
import { randomSeed, pageFrom } from "./seeds.js";
import { Sheet } from "./sheet.js";
import { Sliders } from "./sliders.js";
import { Stage } from "./stage.js";
import { Store, pointAt } from "./state.js";
import { Strip } from "./strip.js";
import { Translator } from "./translator.js";
import { Wipe } from "./wipe.js";

const FIRST_PAGE = 32; // images of a contact sheet that nobody asked for
const POLL = 1000; // milliseconds between two looks whether the server is back

/** What each part of the page gets. */
export class Explorer {
  /** @type {import("./backend.js").Backend} */
  backend;
  store = new Store();
  status = new Status($("status"));
  problem = new Problem($("problem"));
  models = [];
  limits = { max_images: 1024, project: 0 };
  /** Of the model that is shown, once they are known. @type {import("./backend.js").Details} */
  details = null;

  /** @param {(onWait: (text: string) => void) => import("./backend.js").Backend} makeBackend */
  constructor(makeBackend) {
    this.backend = makeBackend((text) => (text ? this.status.busy(text) : this.status.say("")));
    this.stage = new Stage(this);
    this.strip = new Strip(this);
    this.pad = new Pad(this);
    this.sliders = new Sliders(this);
    this.labels = new Labels(this);
    this.sheet = new Sheet(this);
    this.drawer = new Drawer(this);
    this.wipe = new Wipe(this);
    this.translator = new Translator(this);
    this.drop = new Drop(this);
    this.store.subscribe((state, before) => this.#render(state, before));
    wireCopy($("copy-link"), $("copy-link").querySelector("span"), () => location.href);
    $("skip").addEventListener("click", () => $("contact").focus());
    $("reroll").addEventListener("click", () => this.reroll());
    $("model").addEventListener("change", ({ target }) => this.#choose(target.value));
    addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** The model of the state. One that the backend does not name is tried all the same: it says what is wrong. */
  get model() {
    const { model } = this.store.get();
    return this.models.find(({ name }) => name === model) ?? { name: model, ready: false, c_dim: 0, class_names: [] };
  }

  /** Whether a model, by default that of the state, maps pictures to pictures. */
  isTranslator(model = this.model) {
    return model.task === "translate";
  }

  /** The directions in the latent space of the model; none while they are not known. @returns {number[][]} */
  get directions() {
    return this.details?.latent_space?.directions.map(({ vector }) => vector) ?? [];
  }

  /** The label of a point in words: that of the seed where none was chosen. @returns {?string} */
  labelOf({ seed, label }) {
    const { c_dim: classes, class_names: names } = this.model;
    return classes ? (label ?? names[seed % classes]) : null;
  }

  /** The request for `count` images of one point. @returns {import("./backend.js").SampleRequest} */
  requestOf(point, count = 1) {
    const repeated = (value) => Array.from({ length: count }, () => value);
    return {
      model: this.model.name,
      ...(point.latent ? { latents: repeated(fromBase64(point.latent)) } : { seeds: repeated(point.seed) }),
      offsets: point.move.slice(0, this.directions.length), // a link may be of a model with more
      label: point.latent ? this.labelOf(point) : this.model.c_dim ? point.label : null,
      truncation: this.store.get().truncation,
    };
  }

  async start() {
    try {
      const { models, limits } = await this.backend.models();
      this.models = models;
      this.limits = { ...this.limits, ...limits };
    } catch (error) {
      this.report(error, () => this.start());
      return;
    }
    this.#showModels();
    const ready = this.models.filter((model) => model.ready);
    const first = ready.find((model) => !this.isTranslator(model)) ?? ready[0] ?? this.models[0];
    const { model, page, seed } = this.store.get();
    const changes = { model: model || first?.name || "" };
    if (!page) changes.page = pageFrom(seed, Math.min(FIRST_PAGE, this.limits.max_images));
    const before = this.store.get();
    this.store.set(changes, { replace: true });
    if (before === this.store.get()) this.#render(before, before);
    await this.refresh();
  }

  /** Ask for everything anew: another model, or a server that is back. */
  async refresh() {
    const { model } = this;
    this.details = null;
    if (!model.ready && this.models.includes(model)) {
      this.report(model.error ?? { message: `${model.name} is not ready.`, hint: "It may still be loading." }, () =>
        this.start(),
      );
      return;
    }
    this.problem.clear();
    this.translator.begin(model);
    if (this.isTranslator()) {
      this.stage.pause();
      return;
    }
    this.labels.begin(); // at once: what lies below them moves
    const isMoved = this.store.get().move.some(Boolean); // needs the directions
    if (this.models.includes(model) && !isMoved) await this.stage.begin();
    try {
      const details = await this.backend.details(model.name);
      if (this.model.name !== model.name) return;
      this.details = details;
    } catch (error) {
      if (this.model.name === model.name) this.report(error, () => this.refresh());
      return;
    }
    if (isMoved) await this.stage.begin();
    else this.stage.keysChanged();
    this.sliders.begin();
    this.wipe.begin();
    for (const part of [this.sheet, this.pad, this.sliders, this.labels, this.drawer]) await part.refresh();
  }

  /** Another seed, and the page of seeds from it on. */
  reroll() {
    const seed = randomSeed();
    const { count } = this.sheet;
    const { label } = this.store.get();
    this.store.set({ ...pointAt(seed, label), pins: [], page: pageFrom(seed, count) });
    this.stage.play();
  }

  /** Say what went wrong, and come back by itself where the server went away. Pictures stay. */
  report(error, retry = () => this.refresh()) {
    this.status.say("");
    clearTimeout(this.poll);
    this.problem.show(error, { action: retry });
    if (!["server_unreachable", "not_ready", "server_not_ready"].includes(error.code)) return;
    const look = async () => {
      if (await this.backend.ready()) {
        this.problem.clear();
        retry();
      } else {
        this.poll = setTimeout(look, POLL);
      }
    };
    this.poll = setTimeout(look, POLL);
  }

  /** The pixels of a request; null where they are stale, after an error, and where a translator is shown meanwhile. */
  async sample(request, isStale) {
    if (this.isTranslator()) return null;
    try {
      const pixels = await this.backend.sample(request);
      return isStale() ? null : pixels;
    } catch (error) {
      if (!isStale()) this.report(error);
      return null;
    }
  }

  #choose(name) {
    const model = this.models.find((other) => other.name === name);
    const { seed, label } = this.store.get();
    const point = pointAt(seed, model?.class_names?.includes(label) ? label : null);
    this.store.set({ model: name, ...point, pins: [] });
  }

  #showModels() {
    const { model } = this.store.get();
    const options = this.models.map(({ name, ready }) => new Option(ready ? name : `${name} (not ready)`, name));
    if (model && !this.models.some(({ name }) => name === model)) {
      options.push(new Option(`${model} (not here)`, model));
    }
    $("model").replaceChildren(...options);
    $("model").disabled = false;
  }

  #render(state, before) {
    if (![...$("model").options].some(({ value }) => value === state.model)) this.#showModels();
    $("model").value = state.model;
    if (state.model !== before.model) {
      this.refresh();
      return;
    }
    if (this.isTranslator()) return;
    for (const part of [this.stage, this.pad, this.sliders, this.labels, this.sheet, this.drawer]) {
      part.update(state, before);
    }
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("key").open || this.isTranslator()) return;
    if (event.target.closest("input:not([type=range]), select, textarea")) return;
    const onButton = event.target.closest("button, a, [role=option], [role=radio]");
    if (event.key === " " && !onButton) this.stage.toggle();
    else if (event.key === "r" || event.key === "R") this.reroll();
    else if ((event.key === "p" || event.key === "P") && !event.target.closest(".sheet")) this.stage.pin();
    else return;
    event.preventDefault();
  }
}

/** Start the page with a backend. `onWait(text)` says what it waits for; an empty text, that it no longer does. */
export function start(makeBackend) {
  const explorer = new Explorer(makeBackend);
  explorer.start();
  return explorer;
}
