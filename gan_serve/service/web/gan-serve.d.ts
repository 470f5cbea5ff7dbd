/** Types of gan-serve.js: checkpoints of gan-serve, computed by onnxruntime-web. docs/web.md explains them. */

export type Precision = "fp32" | "int8" | "fp16";
/** A class name, or its index. */
export type Label = string | number;
/** A seed, several, or text such as "0-3,10"; each a whole number from 0 to 2**32-1. */
export type Seeds = number | number[] | string;

export interface LoadOptions {
  /** One that the checkpoint has, or "auto" (the default): the faster one of fp32 and int8, timed here. */
  precision?: Precision | "auto";
  /** The module onnxruntime-web/wasm, or its promise; found where left out. */
  ort?: object;
}

export interface GenerateOptions {
  /** How many images from `seed` on; 1 if left out. */
  n?: number;
  /** The first seed; random if left out. */
  seed?: number;
  /** The seeds, instead of `n` and `seed`. */
  seeds?: Seeds;
  /** Latents instead of seeds: rows of `zDim` finite numbers. */
  latents?: ArrayLike<ArrayLike<number>>;
  /** -20 to 20 standard deviations along each of `directions`, for all images, or a list for each. */
  offsets?: number[] | number[][];
  /** For all images, or one for each. null: the seed modulo the number of classes; of latents, their index. */
  label?: Label | Label[] | null;
  /** 0 to 1; 1 (the default) leaves the latents unchanged. */
  truncation?: number;
}

export interface InterpolateOptions {
  /** Frames from one key seed to the next; 16 if left out. */
  steps?: number;
  /** Spherical (the default) or linear. */
  method?: "slerp" | "lerp";
  /** Return to the first key seed. */
  loop?: boolean;
  /** Of all frames; null: that of the first seed. */
  label?: Label | null;
  truncation?: number;
}

export interface Receipt {
  model: string;
  digest: string;
  precision: Precision;
  truncation: number;
  version: string;
  runtime: string;
  sha256: string;
  seed?: number;
  seeds?: number[];
  /** Base64 of float32. */
  latents?: string;
  label?: string;
  labels?: string[];
  columns?: number;
  scale?: number;
}

/** What generators and translators have in common. */
export class Checkpoint {
  protected constructor();
  readonly name: string;
  readonly imgResolution: number;
  /** 1 (gray) or 3 (RGB). */
  readonly imgChannels: number;
  readonly license: string;
  /** That is used. */
  readonly precision: Precision;
  /** Of the network that is used: "sha256:...". */
  readonly digest: string;
  /** Grey levels between its golden sample and that of the checkpoint; 0: bit-equal. */
  readonly goldenDifference: number;
  /** Milliseconds an image by precision; 0 where only one was loaded. */
  readonly milliseconds: Record<string, number>;
  /** Free the memory of its network. */
  release(): Promise<void>;
}

export class Generator extends Checkpoint {
  private constructor();
  /**
   * Load a checkpoint: check the digest of its network, compute its golden sample and compare.
   * @param source its folder: an address, in Node also a path; or the content of its files by name
   * @throws {GanServeError} `invalid_checkpoint`, `digest_mismatch`, `golden_sample_mismatch`, `format_too_new`,
   *   `invalid_option`
   */
  static load(source: string | URL | Record<string, Uint8Array>, options?: LoadOptions): Promise<Generator>;
  readonly zDim: number;
  /** The number of classes; 0: it is not conditional. */
  readonly cDim: number;
  readonly classNames: string[];
  /** In z, of norm 1, those that change the images most first. */
  readonly directions: Float32Array[];
  readonly truncationFloor: number;
  /**
   * Sample images. That of a seed does not depend on the others.
   * @throws {GanServeError} `invalid_seeds`, `invalid_latents`, `invalid_truncation`, `unknown_label`, `invalid_option`,
   *   `too_many_images`
   */
  generate(options?: GenerateOptions): Promise<Images>;
  /** Sample the frames of a walk through two or more key seeds: (k-1)·steps + 1, or k·steps in a loop. */
  interpolate(seeds: Seeds, options?: InterpolateOptions): Promise<Images>;
}

/** Rows of pixels of 1 (gray), 3 (RGB) or 4 (RGBA) bytes. */
export interface Pixels {
  data: ArrayLike<number>;
  width: number;
  height: number;
  /** By the length of the data where left out. */
  channels?: number;
}

export class Translator extends Checkpoint {
  private constructor();
  /** Load a translator, as `Generator.load` loads a generator. */
  static load(source: string | URL | Record<string, Uint8Array>, options?: LoadOptions): Promise<Translator>;
  /** An output is so many times as wide and high as its input. */
  readonly scale: number;
  /** Pictures of any size are translated as they are; otherwise they are fitted to `inResolution`. */
  readonly anySize: boolean;
  readonly inResolution: number;
  /** 1 (gray) or 3 (RGB). */
  readonly inChannels: number;
  /**
   * Translate a picture. Transparency becomes white; of an animation, the first frame is taken.
   * @param picture a file, where the platform decodes files (browsers and their workers), or pixels
   * @param options `fit`: "crop" (the default) cuts the largest square from the middle and resizes it with Lanczos,
   *   "exact" refuses other sizes; without effect where `anySize`
   * @throws {GanServeError} `invalid_image`, `invalid_option`, `too_many_images`
   */
  translate(picture: Blob | ImageBitmap | ImageData | Pixels, options?: { fit?: "crop" | "exact" }): Promise<Translation>;
}

export class Translation {
  private constructor();
  /** uint8 [height, width, channels], row by row. */
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  /** What determines the output, with the digest of the picture as it was read. */
  receipt(): Promise<TranslationReceipt>;
  /** A PNG with its receipt; without one on pages from plain http://, where browsers compute no digests. */
  png(): Promise<Uint8Array>;
}

export interface TranslationReceipt {
  model: string;
  digest: string;
  precision: Precision;
  fit: string;
  input: string;
  version: string;
  runtime: string;
  sha256: string;
}

export class Images {
  private constructor();
  /** uint8 [n, size, size, channels], row by row. */
  readonly data: Uint8Array;
  readonly n: number;
  readonly size: number;
  readonly channels: number;
  /** null where `latents` is set. */
  readonly seeds: number[] | null;
  readonly latents: Float32Array[] | null;
  /** null for a model without classes. */
  readonly labels: string[] | null;
  readonly truncation: number;
  /** The pixels of one image: uint8 [size, size, channels]. */
  pixels(index: number): Uint8Array;
  /** What determines one image, sealed with its pixels. */
  receipt(index?: number, scale?: number): Promise<Receipt>;
  /** One image as PNG with its receipt; each pixel becomes a square of `scale`, 1 to 64. */
  png(index?: number, options?: { scale?: number }): Promise<Uint8Array>;
  /** All images as one PNG with its receipt; as square as possible where `columns` is left out. */
  gridPng(options?: { columns?: number; scale?: number }): Promise<Uint8Array>;
  /** All images as PNGs in a ZIP archive. */
  zip(options?: { scale?: number }): Promise<Uint8Array>;
  /** images, seeds or latents, and labels, as `numpy.load` reads them. */
  npz(): Promise<Uint8Array>;
}

export class GanServeError extends Error {
  /** For programs: `invalid_seeds`, `unknown_label`, ... */
  readonly code: string;
  /** What would be right. */
  readonly hint: string;
}

/** The version of gan-serve that wrote this module. */
export const VERSION: string;
