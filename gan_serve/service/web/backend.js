/**
 * What the page needs of whatever samples images. Nothing here runs: it is the contract of `HttpBackend`, and of any
 * other engine. The page knows nothing of HTTP.
 *
 * @typedef {object} Model an entry of `GET /models`
 * @property {string} name
 * @property {boolean} ready whether it can be sampled; otherwise `error` says why
 * @property {{code: string, message: string, hint: string}} [error]
 * @property {string} [task] "translate": it maps pictures to pictures, and has none of the properties of latents
 * @property {number} [in_resolution] of a translator: width and height of its inputs
 * @property {number} [scale] of a translator: its outputs are so many times as wide and high
 * @property {boolean} [any_size] of a translator: its inputs may have any size
 * @property {number} z_dim length of a latent
 * @property {number} c_dim number of classes; 0: not conditional
 * @property {string[]} class_names
 * @property {number} img_resolution
 * @property {number} img_channels 1 (gray) or 3 (RGB)
 * @property {string} license
 * @property {string} digest
 * @property {?string} precision
 * @property {?string} device
 *
 * @typedef {object} Details a `Model`, and what `GET /models/NAME` has beyond it
 * @property {{truncation_floor: number, directions: {vector: number[], change: number}[]}} [latent_space]
 * @property {Record<string, {sha256: string, size: number}>} files
 * @property {?Record<string, number>} metrics
 * @property {?object} parity
 * @property {string[]} precisions
 *
 * @typedef {object} SampleRequest exactly one of `seeds` and `latents`
 * @property {string} model
 * @property {number[]} [seeds]
 * @property {Float32Array[]} [latents] each of z_dim numbers, before truncation
 * @property {number[] | number[][]} [offsets] along the directions, in standard deviations: for all images, or a list
 *   for each
 * @property {?string | string[]} [label] a class name for all images, or one for each; null: the seed decides (seed
 *   modulo c_dim; of latents, their place in the request)
 * @property {number} [truncation] 1 if left out
 * @property {?string} [precision] of `Details.precisions`; that of the model if left out
 *
 * @typedef {object} Pixels
 * @property {Uint8Array} data uint8 [n, size, size, channels], row by row
 * @property {number} n
 * @property {number} size
 * @property {number} channels
 * @property {number} milliseconds from the request to the pixels
 *
 * @typedef {object} Backend
 * @property {() => Promise<{models: Model[], limits: {max_images: number, project: number}}>} models
 *   the models in their order; the page opens on the first that is ready
 * @property {(name: string) => Promise<Details>} details
 * @property {(request: SampleRequest) => Promise<Pixels>} sample
 *   pixels without receipts, as fast as it goes. Rejects with an object that has `code`, `message` and `hint`;
 *   code `server_unreachable`: `ready` is polled, then the page goes on
 * @property {(request: SampleRequest, format: string, options?: {scale?: number}) => Promise<Blob>} file
 *   the images as a file of `formats`; PNGs carry their receipts
 * @property {(model: string, file: Blob) => Promise<Blob>} translate a picture by a translator, as PNG with its receipt
 * @property {(model: string, file: Blob) => Promise<{latents: number[][], label: ?string, psnr: number,
 *   real_psnr: ?number}>} [project] the latent whose image is nearest to a picture, its PSNR, and that of real images;
 *   only where `limits.project`, the seconds that it may take, is not 0
 * @property {(request: SampleRequest) => Promise<object>} receipt of the first image
 * @property {() => Promise<boolean>} ready whether requests would succeed now
 * @property {string[]} formats the formats of `file`: of png, zip, npz, gif, webp
 * @property {(request: SampleRequest) => {language: string, text: string, note: string}[]} code
 *   the request in other languages; empty where there are none
 */

export {};
