/** The part of the page for a translator: a picture that is dropped, and its translation beside it, with a slider. */

import { $ } from "./dom.js";

const LEAST = 512; // pixels of a side on the screen, as far as there is room

export class Translator {
  #explorer;
  #addresses = [];

  constructor(explorer) {
    this.#explorer = explorer;
    const part = $("translate-part");
    $("translate-file").addEventListener("change", ({ target }) => this.#translate(target.files[0]));
    part.addEventListener("dragover", (event) => event.preventDefault());
    part.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#translate(event.dataTransfer.files[0]);
    });
    $("between").addEventListener("input", () => this.#cut());
  }

  /** Show the part for a translator, or hide it. */
  begin(model) {
    const isOn = model.task === "translate";
    document.body.classList.toggle("translates", isOn);
    $("translate-part").hidden = !isOn;
    $("translated").hidden = true;
    $("translate-file").value = "";
    if (!isOn) return;
    const { in_resolution: side, img_resolution: size, scale, any_size: anySize } = model;
    $("translate-hint").textContent = anySize
      ? scale > 1
        ? `The picture may have any size, and becomes ${scale} times as wide and high.`
        : "The picture may have any size."
      : `The largest square in its middle is resized to ${side}×${side} pixels and becomes ${size}×${size}.`;
  }

  async #translate(file) {
    if (!file) return;
    const { model, backend, status, problem } = this.#explorer;
    problem.clear();
    status.busy("Translating…");
    try {
      const result = await backend.translate(model.name, file);
      if (model.name === this.#explorer.model.name) await this.#show(file, result, model);
      status.say("");
    } catch (error) {
      status.say("");
      problem.show(error);
    }
  }

  async #show(file, result, model) {
    for (const address of this.#addresses) URL.revokeObjectURL(address);
    const [before, after] = (this.#addresses = [file, result].map((each) => URL.createObjectURL(each)));
    $("after").src = after;
    await $("after").decode();
    const { naturalWidth: width, naturalHeight: height } = $("after");
    $("comparison").style.width = `${Math.max(width, LEAST * Math.min(1, width / height))}px`;
    $("comparison").style.aspectRatio = `${width} / ${height}`;
    $("before").src = before;
    $("translate-save").href = after;
    $("translate-save").download = `${file.name.replace(/\.[^.]*$/, "")}-${model.name}.png`;
    $("translate-size").textContent = `${width}×${height} pixels`;
    $("translated").hidden = false;
    this.#cut();
  }

  #cut() {
    $("after").style.clipPath = `inset(0 0 0 ${$("between").value}%)`;
  }
}
