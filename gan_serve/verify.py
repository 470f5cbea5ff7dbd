"""Verify an image: sample it again from its receipt and compare."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from gan_serve.checkpoint.bundled import list_models
from gan_serve.checkpoint.config import CheckpointConfig
from gan_serve.checkpoint.files import read_config
from gan_serve.checkpoint.json_files import parse_json
from gan_serve.errors import InvalidLatents, InvalidOption, ReceiptError, UnknownModel
from gan_serve.generator import Generator
from gan_serve.hub.resolve import resolve
from gan_serve.images.compare import describe_mismatch
from gan_serve.images.grid import cut_grid, grid, grid_size
from gan_serve.images.pixels import BROKEN, UInt8Array, enlarge, from_pil
from gan_serve.regular_files import open_regular
from gan_serve.sampling.latents import FloatArray
from gan_serve.sampling.receipt import RECEIPT_KEY, Receipt, SealedReceipt, read_receipt, read_receipt_of
from gan_serve.sampling.seeds import format_seeds
from gan_serve.sampling.session import runtime_version
from gan_serve.sampling.walks import Walk, walk_latents
from gan_serve.translation.result import TranslationReceipt
from gan_serve.translation.verify import verify_translation

LARGE = 2**22  # pixels, 12 MB in RGB
MAX_SHEET = 2**26  # pixels of a translated image, or of a sheet of them
# Pillow's names for content of a PNG that changes how it looks; a text chunk of the same name must not hide it.
AFFECTS_APPEARANCE = {"transparency", "icc_profile", "gamma", "srgb", "chromaticity", "exif", "default_image", "loop"}


@dataclass(frozen=True)
class Verification:
    """The result for an image that matches its receipt.

    Args:
        receipt: the receipt of the image.
        max_difference: grey levels between the image and the one sampled here; 0 if bit-equal.
        other_runtime: how the versions of ONNX Runtime differ; empty if they do not, or the receipt does not have one.
    """

    receipt: Receipt | TranslationReceipt
    max_difference: int
    other_runtime: str = ""


def describe_receipt(receipt: Receipt | TranslationReceipt) -> str:
    """Return what an image shows: its seeds, its frames or its latents.

    >>> from gan_serve import generate
    >>> describe_receipt(Receipt.model_validate(generate("fashion-dcgan", seed=7)[0].info["gan_serve"]))
    'seed 7'
    """
    if isinstance(receipt, TranslationReceipt):
        return "a translation" if receipt.inputs is None else f"{len(receipt.inputs)} translations"
    if receipt.walk is not None:
        n = len(receipt.walk.frames)
        return "a frame of a walk" if n == 1 else f"{n} frames of a walk"
    if receipt.latents is not None:
        return "given latents"
    if receipt.seeds is None:
        return f"seed {receipt.seed}"
    return f"seed{'s' * (len(receipt.seeds) != 1)} {format_seeds(receipt.seeds)}"


def verify_image(path: str | Path, model: str | Path | None = None, inputs: Sequence[str | Path] = ()) -> Verification:
    """Check that a PNG was not altered, and that its model makes the same image from its receipt.

    Args:
        path: a PNG of gan-serve: one image, a grid or a frame, a translated picture or a sheet of them.
        inputs: of a translated image, the pictures that it was made from, in their order.
        model: the checkpoint; by default the one in the package that the receipt names. A path in a receipt is never
            loaded.

    Raises:
        ReceiptError: there is no receipt, the pixels or the receipt were altered, another checkpoint sampled it, or the
            sampled image differs by more than rounding; the hint names a difference in ONNX Runtime versions.
        UnknownModel: the checkpoint is not in the package and ``model`` was not given.
    """
    if translated := _read_translation(path):
        receipt, pixels = translated
        made = verify_translation(path, pixels, receipt, model or _bundled(receipt.model), inputs)
        return Verification(made.receipt, made.max_difference, _compare_runtimes(made.receipt))
    if inputs:
        raise InvalidOption(f"{path} was sampled and has no input.", "Leave --input out.")
    return _verify_samples(path, model)


def _verify_samples(path: str | Path, model: str | Path | None) -> Verification:
    receipt, pixels = _read(path, model)
    if not receipt.matches(pixels):
        raise ReceiptError(f"{path} was altered: the digest in its receipt does not fit its pixels and receipt.")
    generator = Generator.from_pretrained(model or _bundled(receipt.model), precision=receipt.precision)
    if (generator.name, generator.digest) != (receipt.model, receipt.digest):
        raise ReceiptError(
            f"{path} was sampled from another checkpoint named {receipt.model} ({receipt.digest[:19]}..., "
            f"not {generator.digest[:19]}...).",
            "Give the directory of that checkpoint (--model).",
        )
    columns = receipt.columns
    _check_size(path, receipt, generator.config, (pixels.shape[1], pixels.shape[0]))
    if pixels.shape[2] != generator.img_channels:
        raise _other_size(path)
    if receipt.scale is not None:
        small = pixels[:: receipt.scale, :: receipt.scale]
        if not np.array_equal(enlarge(small, receipt.scale), pixels):
            raise ReceiptError(f"{path} was altered: the squares that its pixels were enlarged to are not even.")
        pixels = small
    again = _sample_again(generator, receipt)
    images = pixels[None] if columns is None else cut_grid(pixels, len(again), columns)
    if columns is not None and not np.array_equal(grid(images, columns), pixels):
        raise ReceiptError(f"{path} was altered: the space between the images of its grid is not empty.")
    other_runtime = _compare_runtimes(receipt)
    if error := describe_mismatch(images, again, receipt.precision):
        raise ReceiptError(f"{path} is not the image that its receipt describes: {error}.", other_runtime)
    difference = int(np.abs(again.astype(np.int16) - images).max())
    return Verification(receipt, difference, other_runtime)


def _compare_runtimes(receipt: SealedReceipt) -> str:
    """Return how the ONNX Runtime of a receipt differs from this one; empty if it does not."""
    if receipt.runtime in (None, runtime_version()):
        return ""
    return (
        f"It was sampled with ONNX Runtime {receipt.runtime}, and this is {runtime_version()}: "
        "pixels are bit-equal only with the same version, and int8 may differ visibly."
    )


def _bundled(name: str) -> str:
    if name not in list_models():
        raise UnknownModel(
            f"The model {name!r} of the receipt is not in the package.",
            "Give the directory of its checkpoint (--model).",
        )
    return name


def _check_size(path: str | Path, receipt: Receipt, config: CheckpointConfig, size: tuple[int, int]) -> None:
    """Raise ``ReceiptError`` where an image of this width and height is not what its receipt describes.

    Nothing is sampled: a receipt of some bytes can ask for 100,000 images.
    """
    side = config.img_resolution
    if receipt.walk is not None:
        n = receipt.walk.frames.stop - receipt.walk.frames.start  # len() has a limit
    elif receipt.latents is not None:
        n = len(receipt.latents) * 3 // 4 // (4 * (receipt.latent_dim or config.z_dim))
    else:
        n = 1 if receipt.seeds is None else len(receipt.seeds)
    if n < 1 or (receipt.columns is None and n != 1):
        raise _other_size(path)
    width, height = (side, side) if receipt.columns is None else grid_size(n, side, receipt.columns)
    scale = receipt.scale or 1
    if size != (width * scale, height * scale):
        raise _other_size(path)


def _other_size(path: str | Path) -> ReceiptError:
    return ReceiptError(f"{path} does not have the size of the image in its receipt.")


def _read_translation(path: str | Path) -> tuple[TranslationReceipt, UInt8Array] | None:
    """Return the receipt and the pixels of a translated image; None for any other file, which ``_read`` explains."""
    try:
        with open_regular(path) as file, Image.open(file, formats=["PNG"]) as image:
            content = image.info.get(RECEIPT_KEY)
            if image.width * image.height > MAX_SHEET or not isinstance(content, str):
                return None
            if not {"input", "inputs"} & set(parse_json(content.encode())):
                return None
            receipt = read_receipt_of(image, TranslationReceipt)
            _check_unaltered(path, image)
            return receipt, from_pil(image)
    except BROKEN:
        return None


def _check_unaltered(path: str | Path, image: Image.Image) -> None:
    """Raise ``ReceiptError`` where a PNG has content beside its pixels that would change how it looks."""
    image.load()
    # A palette, transparency, a colour profile or a second frame would change how it looks.
    harmless = {"dpi"} | set(getattr(image, "text", ())) - AFFECTS_APPEARANCE
    beside = set(image.info) - harmless
    if image.format != "PNG" or image.mode not in ("L", "RGB") or beside or getattr(image, "n_frames", 1) != 1:
        raise ReceiptError(f"{path} was altered: a PNG of gan-serve is gray or RGB and has no other content.")


def _read(path: str | Path, model: str | Path | None) -> tuple[Receipt, UInt8Array]:
    try:
        with open_regular(path) as file, Image.open(file, formats=["PNG"]) as image:
            if image.width * image.height > LARGE:  # its pixels are read only if a model samples so many
                receipt = read_receipt(image)
                _check_size(path, receipt, read_config(resolve(model or _bundled(receipt.model))), image.size)
            image.load()
            receipt = read_receipt(image)
            _check_unaltered(path, image)
            return receipt, from_pil(image)
    except UnidentifiedImageError as error:
        raise ReceiptError(f"{path} is not a PNG.", "Give a PNG of gan-serve.") from error
    except BROKEN as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise ReceiptError(f"{path} cannot be read as an image: {reason}", "Give a PNG of gan-serve.") from error


def _sample_again(generator: Generator, receipt: Receipt) -> UInt8Array:
    """Return the images that a receipt describes, uint8 [N, H, W, C]."""
    label = receipt.label if receipt.labels is None else receipt.labels
    if receipt.walk is not None:
        latents = _walk_latents(generator, receipt.walk)
        samples = generator.sample(latents=latents, label=label, truncation=receipt.truncation)
    elif receipt.latents is not None:
        latents = _given_latents(receipt.latents, receipt.latent_dim or generator.z_dim)
        samples = generator.sample(latents=latents, label=label, truncation=receipt.truncation)
    else:
        seeds = receipt.seed if receipt.seeds is None else receipt.seeds
        request = generator.sample_request(seeds=seeds, label=label, truncation=receipt.truncation)
        return generator.run(request if receipt.mix is None else generator.with_mix(request, receipt.mix))
    return samples.pixels


def _walk_latents(generator: Generator, path: Walk) -> FloatArray:
    """Return the latents of the frames in a receipt."""
    try:
        return walk_latents(path, generator.z_dim)
    except (InvalidOption, InvalidLatents) as error:
        raise ReceiptError(f"The walk of the receipt is invalid: {error.message}") from error


def _given_latents(encoded: str, latent_dim: int) -> FloatArray:
    try:
        return np.frombuffer(base64.b64decode(encoded, validate=True), "<f4").reshape(-1, latent_dim)
    except ValueError as error:
        raise ReceiptError("The latents of the receipt cannot be read.", "Use the original file.") from error
