/** Files to download, the request in code, the receipt of the picture, and the facts of the model. */

import { $, ICONS, copyButton, h, icon, saveFile } from "./dom.js";
import { Problem, Status } from "./notices.js";
import { parseSeeds } from "./seeds.js";
import { pointAt, pointOf } from "./state.js";
import { FILES } from "./wipe.js";

const LEAST = 512; // pixels that a picture to show has at least
const NAMES = { png: "PNG", npz: "NPZ", zip: "ZIP of PNGs", gif: "GIF", webp: "WebP" };

export class Drawer {
  #explorer;
  #body = h("div", { class: "drawer-body" });
  #status;
  #problem;
  #language = null;

  constructor(explorer) {
    this.#explorer = explorer;
    const status = h("p", { class: "status", "aria-live": "polite" });
    const alert = h("div", { "aria-live": "assertive" });
    this.#status = new Status(status);
    this.#problem = new Problem(alert);
    const close = h(
      "button",
      { type: "button", class: "quiet icon-only", "aria-label": "Close", onclick: () => this.toggle(false) },
      icon(ICONS.close),
    );
    const head = h("div", { class: "spread" }, h("h2", {}, "Files and code"), close);
    $("drawer").append(head, status, alert, this.#body);
    $("drawer-toggle").addEventListener("click", () => this.toggle());
    addEventListener("keydown", (event) => event.key === "Escape" && this.isOpen && this.toggle(false));
  }

  get isOpen() {
    return !$("drawer").hidden;
  }

  toggle(isOpen = !this.isOpen) {
    $("drawer").hidden = !isOpen;
    $("drawer-toggle").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) {
      this.refresh();
      $("drawer").querySelector("button").focus();
    } else $("drawer-toggle").focus();
  }

  update() {
    if (!this.isOpen) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), 200);
  }

  refresh() {
    if (!this.isOpen) return;
    this.#problem.clear();
    const { stage, backend } = this.#explorer;
    const point = pointOf(this.#explorer.store.get());
    const shown = stage.walk.isPlaying ? this.#explorer.requestOf(point) : stage.request;
    const code = backend.code(shown.latents ? this.#explorer.requestOf(point) : shown);
    this.#body.replaceChildren(
      ...this.#files(shown),
      h("h3", {}, "Code"),
      code.length ? this.#code(code) : h("p", { class: "hint" }, "A latent is too long to be shown as code; the receipt in its PNG has it."),
      h("h3", {}, "Receipt"),
      h("button", { type: "button", onclick: (event) => this.#receipt(event.target, shown) }, "Show the receipt"),
      h("h3", {}, "About this model"),
      facts(this.#explorer.details, this.#explorer.model),
    );
  }

  /** Rows of buttons: the picture, the walk, the sheet, the labels. */
  #files(shown) {
    const { model, stage, store, backend } = this.#explorer;
    const { page, label, truncation } = store.get();
    const name = shown.seeds ? `${model.name}-seed-${shown.seeds[0]}` : `${model.name}-frame`;
    const scale = Math.max(1, Math.ceil(LEAST / model.img_resolution));
    const { path } = stage.walk;
    const rows = [["This picture", shown, ["png", "npz"], name, { scale }]];
    if (path) {
      const indices = Array.from({ length: path.total }, (_, index) => index).filter((index) => index % 2 === 0);
      const walk = path.request(indices, { model: model.name, truncation });
      rows.push(["The walk", walk, ["gif", "webp"], `${model.name}-walk`, { scale }]);
    }
    try {
      const seeds = parseSeeds(page, this.#explorer.limits.max_images);
      const sheet = { ...this.#explorer.requestOf(pointAt(0, label)), seeds };
      rows.push(["The sheet", sheet, ["png", "zip", "npz"], `${model.name}-seeds-${page.slice(0, 40)}`, { scale: 2 }]);
    } catch {
      // The sheet itself says that these are no seeds.
    }
    const offered = rows.filter(([, , formats]) => formats.some((format) => backend.formats.includes(format)));
    return offered.map(([title, request, formats, file, options]) =>
      h(
        "div",
        { class: "row files" },
        h("span", { class: "row-title" }, title),
        formats
          .filter((format) => backend.formats.includes(format))
          .map((format) =>
            h(
              "button",
              {
                type: "button",
                "data-format": format,
                onclick: (event) => this.#save(event.target, request, format, safe(file), format === "npz" ? {} : options),
              },
              NAMES[format],
            ),
          ),
      ),
    );
  }

  async #save(button, request, format, name, options) {
    if (button.ariaDisabled) return;
    button.ariaDisabled = "true"; // "disabled" would take the focus away
    this.#problem.clear();
    this.#status.busy("Preparing the file…");
    try {
      saveFile(await this.#explorer.backend.file(request, format, options), `${name}.${format}`);
    } catch (error) {
      const hint = error.code === "too_many_images" ? "Choose fewer keys, a faster walk, or fewer seeds." : error.hint;
      this.#problem.show({ message: error.message, hint, code: error.code });
    }
    this.#status.say("");
    button.ariaDisabled = null;
  }

  async #receipt(button, request) {
    try {
      const receipt = await this.#explorer.backend.receipt(request);
      const rows = Object.entries(receipt).flatMap(([name, value]) => [
        h("dt", {}, name),
        h("dd", { title: String(value) }, shorten(String(value))),
      ]);
      const list = h("dl", { class: "facts", id: "receipt", tabindex: "-1" }, rows);
      button.replaceWith(list);
      list.focus(); // it was on the button
    } catch (error) {
      this.#problem.show(error);
    }
  }

  #code(code) {
    const text = h("code");
    const note = h("span", { class: "hint" });
    const choose = (language) => {
      const chosen = code.find((each) => each.language === language) ?? code[0];
      this.#language = chosen.language;
      text.textContent = chosen.text;
      note.textContent = chosen.note;
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.textContent === chosen.language));
    };
    const buttons = code.map(({ language }) =>
      h("button", { type: "button", class: "quiet", onclick: () => choose(language) }, language),
    );
    const copy = copyButton("Copy", () => text.textContent, { class: "quiet" });
    const box = h(
      "div",
      { class: "code" },
      h("div", { class: "code-bar" }, buttons, copy),
      h("pre", { tabindex: "0", "aria-label": "Code" }, text),
      note,
    );
    choose(this.#language);
    return box;
  }
}

/** Six facts that people ask for; the rest is folded away. */
function facts(details, model) {
  if (!details) return h("p", { class: "hint" }, "Not loaded yet.");
  const size = details.files[FILES[details.precision]]?.size;
  const [metric, value] = Object.entries(details.metrics ?? {}).find(([name]) => /^(fd|fid)/.test(name)) ?? [];
  const curated = {
    Images: `${model.img_resolution}×${model.img_resolution} ${model.img_channels === 1 ? "gray" : "RGB"}`,
    Labels: model.c_dim ? String(model.c_dim) : "none",
    Licence: details.license,
    Network: size && `${(size / 1e6).toFixed(1)} MB, ${details.precision}`,
    Quality: metric && `${metric.replaceAll("_", " ")}: ${Number(value.toPrecision(3))}`,
    Digest: details.digest && shorten(details.digest.replace("sha256:", "")),
  };
  const rest = {
    architecture: details.architecture,
    "latent numbers": details.z_dim,
    precisions: details.precisions?.join(", "),
    directions: details.latent_space?.directions.map(({ change }) => change.toFixed(0)).join(", "),
    ...details.metrics,
  };
  return h(
    "div",
    {},
    list(curated),
    h("details", {}, h("summary", {}, "All measurements"), list(rest)),
  );
}

function list(rows) {
  const known = Object.entries(rows).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h(
    "dl",
    { class: "facts" },
    known.flatMap(([name, value]) => [
      h("dt", {}, name.replaceAll("_", " ")),
      h("dd", {}, typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value)),
    ]),
  );
}

function shorten(text) {
  return text.length > 24 ? `${text.slice(0, 20)}…` : text;
}

function safe(name) {
  return name.replace(/[^\p{L}\p{N}._-]+/gu, "_");
}
