/** One request at a time, the newest value next: what a slider or a drag asks for while the last is still coming. */

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
