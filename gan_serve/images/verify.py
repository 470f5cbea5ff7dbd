"""Make an image again from its receipt and compare."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gan_serve.checkpoint.bundled import list_models
from gan_serve.errors import InvalidOption, ReceiptError, UnknownModel
from gan_serve.generator import Generator
from gan_serve.images.compare import describe_mismatch
from gan_serve.images.grid import cut_grid, grid
from gan_serve.images.pixels import UInt8Array, from_pil
from gan_serve.images.receipt import Receipt, read_receipt
from gan_serve.sampling.latents import FloatArray
from gan_serve.sampling.walks import Walk, walk_latents

# Pillow's names for what a PNG may hold beside pixels and text; a text of the same name may not hide one.
CHANGES_WHAT_IS_SEEN = {"transparency", "icc_profile", "gamma", "srgb", "chromaticity", "exif", "default_image", "loop"}


@dataclass(frozen=True)
class Verification:
    """An image that is what its receipt says: bit-equal, or off by the rounding of another machine."""

    receipt: Receipt
    max_difference: int


def verify_image(path: str | Path, model: str | Path | None = None) -> Verification:
    """Check a PNG against its receipt: nothing in it was altered, and the model draws it again.

    Args:
        path: a PNG that gan-serve wrote: one image, a grid or a frame.
        model: where the checkpoint lies; by default the receipt's model is taken from the package. A receipt never
            names a path to load from.

    Raises:
        ReceiptError: no receipt; pixels or receipt were altered; another checkpoint made it, or draws another image.
        UnknownModel: the checkpoint is not in the package and ``model`` was not given.
    """
    receipt, pixels = _read(path)
    if not receipt.matches(pixels):
        raise ReceiptError(f"{path} was altered: its pixels or its receipt are not as they were written.")
    generator = Generator.from_pretrained(model or _bundled(receipt.model), precision=receipt.precision)
    if (generator.name, generator.digest) != (receipt.model, receipt.digest):
        raise ReceiptError(
            f"{path} was made by another checkpoint called {receipt.model} ({receipt.digest[:19]}..., "
            f"not {generator.digest[:19]}...).",
            "Give the directory of that checkpoint with --model.",
        )
    again = _draw_again(generator, receipt)
    columns = receipt.columns
    if (again[0] if columns is None else grid(again, columns)).shape != pixels.shape:
        raise ReceiptError(f"{path} has another size than the image that its receipt describes.")
    images = pixels[None] if columns is None else cut_grid(pixels, len(again), columns)
    if columns is not None and not np.array_equal(grid(images, columns), pixels):
        raise ReceiptError(f"{path} was altered: there is something between the images of its grid.")
    if error := describe_mismatch(images, again, receipt.precision):
        raise ReceiptError(f"{path} is not what its receipt describes: {error}.")
    difference = int(np.abs(again.astype(np.int16) - images).max())
    return Verification(receipt, difference)


def _bundled(name: str) -> str:
    if name not in list_models():
        raise UnknownModel(
            f"The receipt's model {name!r} is not in the package.", "Give the directory of its checkpoint with --model."
        )
    return name


def _read(path: str | Path) -> tuple[Receipt, UInt8Array]:
    try:
        with Image.open(path) as image:
            image.load()
            receipt = read_receipt(image)
            # A palette, transparency, a colour profile or a second frame would change what is seen.
            harmless = {"dpi"} | set(getattr(image, "text", ())) - CHANGES_WHAT_IS_SEEN
            beside = set(image.info) - harmless
            if image.format != "PNG" or image.mode not in ("L", "RGB") or beside or getattr(image, "n_frames", 1) != 1:
                raise ReceiptError(f"{path} was altered: gan-serve writes plain gray or RGB PNGs.")
            return receipt, from_pil(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ReceiptError(f"{path} cannot be read as an image: {error}", "Give a PNG that gan-serve wrote.") from error


def _draw_again(generator: Generator, receipt: Receipt) -> UInt8Array:
    """What the receipt describes, uint8 [N, H, W, C]."""
    label = receipt.label if receipt.labels is None else receipt.labels
    if receipt.walk is not None:
        latents = _walk_latents(generator, receipt.walk)
        samples = generator.sample(latents=latents, label=label, truncation=receipt.truncation)
    elif receipt.latents is not None:
        latents = _given_latents(generator, receipt.latents)
        samples = generator.sample(latents=latents, label=label, truncation=receipt.truncation)
    else:
        seeds = receipt.seed if receipt.seeds is None else receipt.seeds
        samples = generator.sample(seeds=seeds, label=label, truncation=receipt.truncation)
    return samples.pixels


def _walk_latents(generator: Generator, path: Walk) -> FloatArray:
    """The latents of the frame that a receipt names, or of the frames of a grid."""
    try:
        return walk_latents(path, generator.z_dim)
    except InvalidOption as error:
        raise ReceiptError(f"The receipt describes no walk: {error.message}") from error


def _given_latents(generator: Generator, encoded: str) -> FloatArray:
    try:
        return np.frombuffer(base64.b64decode(encoded, validate=True), "<f4").reshape(-1, generator.z_dim)
    except ValueError as error:
        raise ReceiptError("The receipt's latents cannot be read.", "Take the original file.") from error
