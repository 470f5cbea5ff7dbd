/** What went wrong: a code for programs, a sentence, and what would be right; as in Python and over HTTP. */
export class GanServeError extends Error {
  constructor(code, message, hint = "") {
    super(message);
    Object.assign(this, { name: "GanServeError", code, hint });
  }
}
