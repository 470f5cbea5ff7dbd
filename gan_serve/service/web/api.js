/** Speaks to the server: keys, errors in words, patience where it is busy. */

const KEY = "gan-serve-key";
const MOST_WAITS = 6;

/** What went wrong, as the server's envelope has it: a code, a sentence, and what would be right. */
export class ApiError extends Error {
  constructor({ code, message, hint = "" }, { status = 0, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { code, hint, status, retryAfter });
  }
}

export class Api {
  #askForKey;
  #onWait;
  #key = rememberedKey();

  /**
   * @param {(refused: boolean) => Promise<string>} askForKey asks a person; `refused`: the last one was not accepted
   * @param {(text: string) => void} onWait tells a person, once a second, that it waits
   */
  constructor({ askForKey, onWait }) {
    this.#askForKey = askForKey;
    this.#onWait = onWait;
  }

  /** Whether the server wanted a key. */
  get hasKey() {
    return this.#key !== null;
  }

  /** GET a path and read its JSON. */
  async get(path) {
    return (await this.#send(path)).json();
  }

  /** POST a body as JSON. @returns {Promise<Response>} */
  send(path, body) {
    const headers = { "Content-Type": "application/json" };
    return this.#send(path, { method: "POST", headers, body: JSON.stringify(body) });
  }

  /** Send until there is a response: asks for a key where one is wanted, waits where the server says how long. */
  async #send(path, options = {}) {
    let waits = 0;
    for (;;) {
      const key = this.#key;
      const headers = key === null ? options.headers : { ...options.headers, Authorization: `Bearer ${key}` };
      // Relative, so that the page also works behind a proxy that puts it under a path.
      const response = await fetch(path, { ...options, headers }).catch(throwUnreachable);
      if (response.ok) return response;
      const error = await readError(response);
      if (error.status === 401) {
        await this.#renewKey(key);
      } else if (error.retryAfter !== null && waits < MOST_WAITS) {
        waits += 1;
        await wait(error, this.#onWait);
      } else {
        throw error;
      }
    }
  }

  /** Ask once, however many requests were refused with the same key. */
  async #renewKey(refused) {
    if (this.#key !== refused) return;
    this.asking ??= this.#ask(refused !== null).finally(() => (this.asking = null));
    this.#key = await this.asking;
    rememberKey(this.#key);
  }

  /** A key that can stand in a header; any other is none that a server has. */
  async #ask(refused) {
    const key = await this.#askForKey(refused);
    return /^[\x21-\x7e]+( +[\x21-\x7e]+)*$/.test(key) ? key : this.#ask(true);
  }
}

async function wait(error, onWait) {
  for (let seconds = Math.max(1, error.retryAfter); seconds > 0; seconds -= 1) {
    onWait(`${error.message} Trying again in ${seconds} s…`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

/** Storage can be forbidden; a key is then asked for again after a reload. */
function rememberedKey() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function rememberKey(key) {
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // As above.
  }
}

function throwUnreachable() {
  throw new ApiError({
    code: "server_unreachable",
    message: "The server does not respond.",
    hint: `Is gan-serve still running at ${location.origin}?`,
  });
}

async function readError(response) {
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const about = { status: response.status, retryAfter: Number.isNaN(seconds) ? null : seconds };
  try {
    return new ApiError((await response.json()).error, about);
  } catch {
    // Not from gan-serve: a proxy in between.
    return new ApiError(
      { code: "http_error", message: `The response was ${response.status} ${response.statusText}.` },
      about,
    );
  }
}
