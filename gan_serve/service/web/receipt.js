/** Receipts: what determines an image, sealed with its pixels. `gan-serve verify` checks them. */

import { GanServeError } from "./errors.js";
import { joined } from "./png.js";

/** @returns {Promise<string>} the SHA-256 of bytes in hexadecimal */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) {
    throw new GanServeError(
      "insecure_context",
      "Browsers compute digests only on pages from HTTPS, from this machine or from a file.",
      "Open the page over https:// instead of http://.",
    );
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {object} fields of a receipt; those that are null are left out
 * @param {{data: Uint8Array, width: number, height: number, channels: number}} image
 * @returns {Promise<object>} the receipt, with the digest of its fields and of the pixels
 */
export async function sealed(fields, { data, width, height, channels }) {
  const known = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined));
  const text = `${asPython(known)}\n${height}x${width}x${channels}\n`;
  return { ...known, sha256: await sha256(joined([new TextEncoder().encode(text), data])) };
}

/** The fields as Python's `json.dumps(fields, sort_keys=True)` writes them. Of their numbers, truncation is a float. */
function asPython(fields) {
  const write = (name, value) => {
    if (Array.isArray(value)) return `[${value.map((each) => write("", each)).join(", ")}]`;
    if (typeof value === "number") return name === "truncation" ? float(value) : String(value);
    return JSON.stringify(value).replace(
      /[\u007f-\uffff]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
  };
  const rows = Object.keys(fields)
    .sort()
    .map((name) => `"${name}": ${write(name, fields[name])}`);
  return `{${rows.join(", ")}}`;
}

/** A float from 0 to 1 as Python's `repr` writes it. */
function float(value) {
  if (Number.isInteger(value)) return `${value}.0`;
  return value < 1e-4 ? value.toExponential().replace(/e-(\d)$/, "e-0$1") : String(value);
}
