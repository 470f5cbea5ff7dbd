/** Requests for pixels of which only the newest counts, and those that are not repeated. */

export class Steady {
  #work;
  #running = false;
  #next = null;

  /** @param {(value: any) => Promise<void>} work must not reject */
  constructor(work) {
    this.#work = work;
  }

  /** Work on the value as soon as the one before is done; values in between are left out. */
  async ask(value) {
    this.#next = { value };
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#next) {
        const { value: newest } = this.#next;
        this.#next = null;
        await this.#work(newest);
      }
    } finally {
      this.#running = false;
    }
  }

  /** Forget what is waiting. */
  clear() {
    this.#next = null;
  }
}

/** The pictures of a part of the page, which are sampled once. */
export class Pictures {
  #explorer;
  #name = null; // of what is drawn, or being sampled

  constructor(explorer) {
    this.#explorer = explorer;
  }

  /**
   * @param {string} name all that determines the pictures
   * @param {import("./backend.js").SampleRequest} request
   * @returns {Promise<?import("./backend.js").Pixels>} null where they are drawn, after an error, and where others were
   *   asked for meanwhile
   */
  async sample(name, request) {
    if (name === this.#name) return null;
    this.#name = name;
    const pixels = await this.#explorer.sample(request, () => name !== this.#name);
    if (!pixels && name === this.#name) this.#name = null;
    return pixels;
  }

  /** The pictures are gone from the page. */
  forget() {
    this.#name = null;
  }
}
