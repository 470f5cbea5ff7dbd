/** What the page says of itself: the status line and what went wrong. */

import { h } from "./dom.js";

/** The line that says what is there or what is awaited; screen readers hear it. */
export class Status {
  #element;

  constructor(element) {
    this.#element = element;
  }

  say(text) {
    this.#show(text, false);
  }

  busy(text) {
    this.#show(text, true);
  }

  #show(text, busy) {
    this.#element.classList.toggle("busy", busy);
    if (this.#element.textContent !== text) this.#element.textContent = text;
  }
}

/** A box for an error: its sentence, what would be right, and a way to try again. */
export class Problem {
  #element;

  constructor(element) {
    this.#element = element;
  }

  /**
   * @param {{message: string, hint?: string, code?: string}} error
   * @param {{name: string, action: () => void}} remedy
   */
  show(error, { name = "Try again", action } = {}) {
    this.#element.replaceChildren(
      h(
        "div",
        { class: "problem" },
        h("p", { class: "problem-message" }, error.message),
        error.hint ? h("p", {}, error.hint) : null,
        h(
          "div",
          { class: "row" },
          action ? h("button", { type: "button", onclick: action }, name) : null,
          error.code ? h("code", { class: "problem-code" }, error.code) : null,
        ),
      ),
    );
  }

  clear() {
    this.#element.replaceChildren();
  }
}
