/** The part of the page for a translator: a picture that is dropped, and its translation beside it, with a slider. */

import { $ } from "./dom.js";

const LEAST = 512; // pixels of a side on the screen, as far as there is room

export class Translator {
  #explorer;
  #addresses = [];
  #count = 0; // of the pictures so far

  constructor(explorer) {
    this.#explorer = explorer;
    $("translate-file").addEventListener("change", ({ target }) => this.translate(target.files[0]));
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

  /** Translate a picture and show both; of several, the newest. */
  async translate(file) {
    if (!file) return;
    this.#count += 1;
    const count = this.#count;
    const { model, backend, status, problem } = this.#explorer;
    const isStale = () => count !== this.#count || model.name !== this.#explorer.model.name;
    problem.clear();
    status.busy("Translating…");
    try {
      const result = await backend.translate(model.name, file);
      if (!isStale()) await this.#show(file, result, model);
    } catch (error) {
      if (!isStale()) problem.show(error);
    } finally {
      if (count === this.#count) status.say("");
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
