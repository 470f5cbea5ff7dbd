/** Files to download, and the same request in code. Stands under the page, and beside an image that is open. */

import { copyButton, h, saveFile } from "./dom.js";
import { Problem, Status } from "./notices.js";
import { LANGUAGES, fileName } from "./requests.js";
import { wireTabs } from "./tabs.js";

const NAMES = { png: "PNG", npz: "NPZ", zip: "ZIP of PNGs", gif: "GIF", webp: "WebP" };
const NOTES = {
  Python: "Draws on this server.",
  curl: "Draws on this server.",
  CLI: "Draws on your own machine. A model that is not in the package goes by its directory.",
};

// The server's own hint is for programs.
const TOO_MANY = {
  sample: "Show fewer seeds.",
  condition: "Show fewer seeds.",
  interpolate: "Take fewer key images, or fewer frames between them.",
};

export class Takeaway {
  #api;
  #request;
  #server;
  #language = "Python";
  #downloads = h("div", { class: "row downloads" });
  #code = h("code");
  #note = h("span", { class: "hint" });
  #alert = h("div", { "aria-live": "assertive" });
  #status;
  #problem;
  #mark;

  /**
   * @param {HTMLElement} root
   * @param {import("./api.js").Api} api
   */
  constructor(root, api) {
    this.#api = api;
    // Beside the buttons: the page's own may be out of sight, or behind a dialog.
    const status = h("span", { class: "status", "aria-live": "polite" });
    this.#status = new Status(status);
    this.#problem = new Problem(this.#alert);
    const panel = h("pre", { role: "tabpanel", tabindex: "0", "aria-label": "Code" }, this.#code);
    const tabs = Object.keys(LANGUAGES).map((name) =>
      h("button", { type: "button", role: "tab", "data-language": name }, name),
    );
    const list = h("div", { role: "tablist", class: "tabs small", "aria-label": "Languages" }, tabs);
    const mark = wireTabs(list, (tab) => {
      this.#language = tab.dataset.language;
      this.#render();
    });
    this.#mark = () => mark(tabs.find((tab) => tab.dataset.language === this.#language));
    root.append(
      h("div", { class: "row" }, this.#downloads, status),
      this.#alert,
      h(
        "div",
        { class: "code" },
        h(
          "div",
          { class: "code-bar" },
          list,
          copyButton("Copy", () => this.#code.textContent, { class: "quiet" }),
        ),
        panel,
        this.#note,
      ),
    );
  }

  /**
   * @param {import("./requests.js").Request} request what is on the screen
   * @param {?string} precision in which the server draws
   * @param {?{url: string}} image where it is one that is already here
   */
  update(request, precision, image = null) {
    if (JSON.stringify(request) !== JSON.stringify(this.#request)) this.#problem.clear();
    this.#request = request;
    this.#server = {
      origin: document.baseURI.replace(/[?#].*/, "").replace(/\/$/, ""),
      hasKey: this.#api.hasKey,
      precision,
    };
    this.#downloads.replaceChildren(
      h("span", { class: "row-title" }, "Download"),
      ...request.formats.map((format) => this.#downloadButton(format, image)),
    );
    this.#render();
  }

  #downloadButton(format, image) {
    const name = fileName(this.#request, format);
    if (format === "png" && image) {
      return h("a", { class: "button", href: image.url, download: name }, NAMES.png);
    }
    return h(
      "button",
      {
        type: "button",
        "data-format": format,
        onclick: (event) => this.#download(event.target, format, name),
      },
      NAMES[format],
    );
  }

  async #download(button, format, name) {
    const { path, body } = this.#request;
    if (button.ariaDisabled) return;
    button.ariaDisabled = "true"; // "disabled" would take the focus away
    this.#problem.clear();
    this.#status.busy("Preparing the file…");
    try {
      saveFile(await this.#api.file(path, { ...body, format }, (text) => this.#status.busy(text)), name);
    } catch (error) {
      const hint = error.code === "too_many_images" ? TOO_MANY[path] : error.hint;
      this.#problem.show({ message: error.message, hint, code: error.code });
      this.#alert.scrollIntoView({ block: "nearest" });
    }
    this.#status.say("");
    button.ariaDisabled = null;
  }

  #render() {
    this.#mark();
    this.#code.textContent = LANGUAGES[this.#language](this.#request, this.#server);
    this.#note.textContent = NOTES[this.#language];
  }
}
