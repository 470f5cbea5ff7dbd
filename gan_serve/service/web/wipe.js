/** A wipe between two precisions of the picture, with what each costs and how far they are apart. */

import { $ } from "./dom.js";
import { paint } from "./paint.js";

export const FILES = { fp32: "generator.onnx", int8: "generator.int8.onnx", fp16: "generator.fp16.onnx" };

export class Wipe {
  #explorer;
  #isOn = false;

  constructor(explorer) {
    this.#explorer = explorer;
    $("compare").addEventListener("click", () => this.toggle(!this.#isOn));
    $("wipe").addEventListener("input", () => this.#cut());
  }

  /** The precision to compare with; none where the model has one only. @returns {?string} */
  get other() {
    const { details } = this.#explorer;
    return details?.precisions?.find((each) => each !== details.precision) ?? null;
  }

  /** Of another model: off, and offered where there is something to compare. */
  begin() {
    this.toggle(false);
    $("compare").hidden = !this.other;
    $("compare").classList.remove("pending");
    $("compare").textContent = `Compare ${this.other}`;
  }

  toggle(isOn) {
    this.#isOn = isOn;
    $("compare").setAttribute("aria-pressed", String(isOn));
    for (const id of ["other", "wipe", "wiped"]) $(id).hidden = !isOn;
    if (!isOn) return;
    this.#explorer.stage.pause();
    this.refresh();
  }

  /** Sample what is on the screen in both precisions; the stage calls it whenever another picture is there. */
  async refresh() {
    if (!this.#isOn) return;
    const { request } = this.#explorer.stage;
    const { details } = this.#explorer;
    const isStale = () => !this.#isOn || request !== this.#explorer.stage.request;
    // One after the other: side by side they would slow each other down. The first request also loads the network.
    await this.#explorer.sample({ ...request, precision: this.other }, isStale);
    const theirs = await this.#explorer.sample({ ...request, precision: this.other }, isStale);
    const ours = theirs && (await this.#explorer.sample({ ...request, precision: details.precision }, isStale));
    if (!ours) return;
    paint($("other"), theirs);
    $("other").style.width = $("other").style.height = $("picture").style.width;
    $("wipe").style.width = $("picture").style.width;
    const say = (precision, { milliseconds }) => {
      const size = details.files[FILES[precision]]?.size;
      return `${precision} ${milliseconds.toFixed(1)} ms, ${Math.round(size / 1000).toLocaleString("en")} KB`;
    };
    $("wiped").textContent = [say(details.precision, ours), say(this.other, theirs), psnr(ours.data, theirs.data)].join(" · ");
    this.#cut();
  }

  #cut() {
    $("other").style.clipPath = `inset(0 0 0 ${$("wipe").value}%)`;
  }
}

/** Peak signal-to-noise ratio of two pictures, in words. */
function psnr(a, b) {
  const error = a.reduce((sum, value, index) => sum + (value - b[index]) ** 2, 0) / a.length;
  return error ? `PSNR ${(10 * Math.log10(255 ** 2 / error)).toFixed(1)} dB` : "equal";
}
