/** A checkpoint whose networks are loaded and verified: what generators and translators have in common. */

import { GanServeError } from "./errors.js";
import { openNetwork, PRECISIONS, readerOf } from "./network.js";

export const VERSION = "source"; // export-web writes the version of gan-serve here
const FORMAT_VERSION = 1;
const TIMED = ["fp32", "int8"]; // of "auto"
const GAIN = 0.9; // another precision is chosen where it takes less than this share of the time
const OTHER_TASK = {
  generate: (name) => [`${name} translates images and does not generate them.`, "Load it with Translator.load."],
  translate: (name) => [`${name} generates images and does not translate them.`, "Load it with Generator.load."],
};

export class Checkpoint {
  #config;

  constructor({ config, network, milliseconds }) {
    this.#config = config;
    /** The network that is used; for subclasses. */
    this.network = network;
    /** Milliseconds an image, by precision; 0 where only one was loaded. */
    this.milliseconds = milliseconds;
  }

  get name() {
    return this.#config.name;
  }
  get imgResolution() {
    return this.#config.img_resolution;
  }
  get imgChannels() {
    return this.#config.img_channels;
  }
  get license() {
    return this.#config.license;
  }
  /** The precision that is used. */
  get precision() {
    return this.network.precision;
  }
  /** The digest of the network that is used. */
  get digest() {
    return this.network.digest;
  }
  /** How far the golden sample was from that of the checkpoint, in grey levels; 0: bit-equal. */
  get goldenDifference() {
    return this.network.difference;
  }

  /** Free the memory of the network. */
  release() {
    return this.network.release();
  }
}

/** What the receipt of every image of a checkpoint has. */
export function originOf({ name: model, network: { digest, precision, runtime } }) {
  return { model, digest, precision, version: VERSION, runtime };
}

/**
 * Read a checkpoint of a task, and open its network in the chosen precision, or the faster one of those of "auto".
 * @returns {Promise<{config: object, network: import("./network.js").Network, milliseconds: Record<string, number>,
 *   read: (name: string) => Promise<Uint8Array>}>}
 */
export async function openCheckpoint(source, { precision = "auto", ort } = {}, task, Kind) {
  const read = readerOf(source);
  const config = JSON.parse(new TextDecoder().decode(await read("config.json")));
  if (!(config.format_version <= FORMAT_VERSION)) {
    throw new GanServeError("format_too_new", "A later gan-serve wrote this checkpoint.", "Use the gan-serve.js of that version.");
  }
  if ((config.task ?? "generate") !== task) throw new GanServeError("invalid_checkpoint", ...OTHER_TASK[task](config.name));
  const known = Object.keys(PRECISIONS).filter((each) => PRECISIONS[each] in config.files);
  const chosen = precision === "auto" ? known.filter((each) => TIMED.includes(each)) : [precision];
  if (!chosen.every((each) => known.includes(each))) {
    throw new GanServeError("invalid_option", `${config.name} has no ${precision}.`, `It has ${known.join(", ")}.`);
  }
  const networks = [];
  for (const each of chosen) networks.push(await openNetwork({ config, read, precision: each, ort }, Kind));
  for (const each of networks.length > 1 ? networks : []) await each.time();
  const network = networks.reduce((a, b) => (b.milliseconds < a.milliseconds * GAIN ? b : a));
  for (const other of networks) if (other !== network) await other.release();
  const milliseconds = Object.fromEntries(networks.map((each) => [each.precision, each.milliseconds]));
  return { config, network, milliseconds, read };
}
