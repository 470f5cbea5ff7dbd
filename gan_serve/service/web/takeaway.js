/** Files to download, and the same request in code. Stands under the page, and beside an image that is open. */

import { copyButton, h, saveFile } from "./dom.js";
import { LANGUAGES, fileName } from "./requests.js";
import { wireTabs } from "./tabs.js";

const NAMES = { png: "PNG", npz: "NPZ", zip: "ZIP of PNGs", gif: "GIF", webp: "WebP" };
const NOTES = {
  Python: "Draws on this server.",
  curl: "Draws on this server.",
  CLI: "Draws on your own machine. A model that is not in the package goes by its directory.",
};

export class Takeaway {
  #api;
  #problem;
  #request;
  #server;
  #language = "Python";
  #downloads = h("div", { class: "row downloads" });
  #code = h("code");
  #note = h("span", { class: "hint" });
  #mark;

  /**
   * @param {HTMLElement} root
   * @param {{api: import("./api.js").Api, problem: import("./notices.js").Problem}} parts
   */
  constructor(root, { api, problem }) {
    this.#api = api;
    this.#problem = problem;
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
      this.#downloads,
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
    button.disabled = true;
    try {
      saveFile(await this.#api.file(path, { ...body, format }), name);
    } catch (error) {
      this.#problem.show(error);
    }
    button.disabled = false;
  }

  #render() {
    this.#mark();
    this.#code.textContent = LANGUAGES[this.#language](this.#request, this.#server);
    this.#note.textContent = NOTES[this.#language];
  }
}
