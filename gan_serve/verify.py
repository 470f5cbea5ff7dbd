"""Make an image again from its receipt and compare."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_serve.errors import ReceiptError, UnknownModel
from gan_serve.generator import Generator
from gan_serve.hub import list_models
from gan_serve.images import from_pil, grid
from gan_serve.receipt import Receipt, read_receipt
from gan_serve.runtime import GREY_LEVELS
from gan_serve.samples import Samples


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
    try:
        with Image.open(path) as image:
            image.load()
            receipt, pixels = read_receipt(image), from_pil(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ReceiptError(f"{path} cannot be read as an image: {error}", "Give a PNG that gan-serve wrote.") from error
    if not receipt.matches(pixels):
        raise ReceiptError(f"{path} was altered: its pixels or its receipt are not as they were written.")
    generator = Generator.from_pretrained(model or _bundled(receipt.model), precision=receipt.precision)
    if generator.digest != receipt.digest:
        raise ReceiptError(
            f"{path} was made by another checkpoint called {receipt.model} ({receipt.digest[:19]}..., "
            f"not {generator.digest[:19]}...).",
            "Give the directory of that checkpoint with --model.",
        )
    again = _draw_again(generator, receipt)
    if again.shape != pixels.shape:
        raise ReceiptError(f"{path} has another size than the image that its receipt describes.")
    difference = int(np.abs(again.astype(np.int16) - pixels).max())
    if difference > GREY_LEVELS:
        raise ReceiptError(f"{path} is not the image that its receipt describes: off by {difference} grey levels.")
    return Verification(receipt, difference)


def _bundled(name: str) -> str:
    if name not in list_models():
        raise UnknownModel(
            f"The receipt's model {name!r} is not in the package.", "Give the directory of its checkpoint with --model."
        )
    return name


def _draw_again(generator: Generator, receipt: Receipt) -> Any:
    samples = _samples(generator, receipt)
    if receipt.columns is not None:
        return grid(samples.pixels, receipt.columns)
    return samples.pixels[receipt.walk.frame or 0 if receipt.walk else 0]


def _samples(generator: Generator, receipt: Receipt) -> Samples:
    if receipt.walk:
        path = receipt.walk
        samples = generator.sample_walk(
            path.seeds, steps=path.steps, method=path.method, loop=path.loop, truncation=receipt.truncation,
            label=receipt.label or (receipt.labels[0] if receipt.labels else None),
        )  # fmt: skip
        if path.frame is not None and not 0 <= path.frame < len(samples):
            raise ReceiptError("The receipt names a frame that its walk does not have.")
        return samples
    label = receipt.label if receipt.labels is None else receipt.labels
    if receipt.latents is not None:
        latents = np.frombuffer(base64.b64decode(receipt.latents), "<f4").reshape(-1, generator.z_dim)
        return generator.sample(latents=latents, label=label, truncation=receipt.truncation)
    seeds = receipt.seeds if receipt.seeds is not None else receipt.seed
    if seeds is None:
        raise ReceiptError("The receipt names no seed, no latents and no walk.")
    return generator.sample(seeds=seeds, label=label, truncation=receipt.truncation)
