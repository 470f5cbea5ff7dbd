"""Verify an image: make it again from its receipt and compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from gan_serve.checkpoint.bundled import is_in_package
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
from gan_serve.sampling.latents import FloatArray, decode_latents
from gan_serve.sampling.receipt import RECEIPT_KEY, Receipt, SealedReceipt, read_receipt, read_receipt_of
from gan_serve.sampling.seeds import format_seeds
from gan_serve.sampling.session import runtime_version
from gan_serve.sampling.walks import walk_latents
from gan_serve.translation.inputs import read_pictures
from gan_serve.translation.result import TranslationReceipt
from gan_serve.translation.translator import Translator

LARGE = 2**22  # pixels, 12 MB in RGB
MAX_SHEET = 2**26  # pixels of a translated image, or of a sheet of them
Loaded = TypeVar("Loaded", Generator, Translator)
# Pillow's names for content of a PNG that changes how it looks; a text chunk of the same name must not hide it.
AFFECTS_APPEARANCE = {"transparency", "icc_profile", "gamma", "srgb", "chromaticity", "exif", "default_image", "loop"}


@dataclass(frozen=True)
class Verification:
    """The result for an image that matches its receipt.

    Args:
        receipt: the receipt of the image.
        max_difference: grey levels between the image and the one made here; 0 if bit-equal.
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
        model: the checkpoint; by default the one in the package that the receipt names. A path in a receipt is never
            loaded.
        inputs: of a translated image, the pictures that it was made from, in their order.

    Raises:
        ReceiptError: there is no receipt, the pixels or the receipt were altered, another checkpoint made the image, an
            input is missing or is another picture, or the image made here differs by more than rounding; the hint names
            a difference in ONNX Runtime versions.
        InvalidImage: an input cannot be read. InvalidOption: an image that was sampled has no inputs.
        UnknownModel: the checkpoint is not in the package and ``model`` was not given.
    """
    if receipt := _read_translation(path)[0]:
        return _verify_translation(path, receipt, model, inputs)
    if inputs:
        raise InvalidOption(f"{path} was sampled and has no input.", "Leave --input out.")
    return _verify_samples(path, model)


def _verify_samples(path: str | Path, model: str | Path | None) -> Verification:
    receipt, pixels = _read(path, model)
    _check_digest(path, receipt, pixels)
    generator = _load(Generator, path, receipt, model)
    _check_size(path, receipt, generator.config, (pixels.shape[1], pixels.shape[0]))
    if pixels.shape[2] != generator.img_channels:
        raise _other_size(path)
    if receipt.scale is not None:
        small = pixels[:: receipt.scale, :: receipt.scale]
        if not np.array_equal(enlarge(small, receipt.scale), pixels):
            raise ReceiptError(f"{path} was altered: the squares that its pixels were enlarged to are not even.")
        pixels = small
    again = _sample_again(generator, receipt)
    columns = receipt.columns
    images = pixels[None] if columns is None else cut_grid(pixels, len(again), columns)
    if columns is not None and not np.array_equal(grid(images, columns), pixels):
        raise ReceiptError(f"{path} was altered: the space between the images of its grid is not empty.")
    return _compare(path, receipt, images, again)


def _verify_translation(
    path: str | Path,
    receipt: TranslationReceipt,
    model: str | Path | None,
    inputs: Sequence[str | Path],
) -> Verification:
    digests = [receipt.input] if receipt.inputs is None else receipt.inputs
    if len(inputs) != len(digests):
        raise ReceiptError(
            f"{path} was made from {len(digests)} picture(s), and {len(inputs)} were given.",
            "Give each with --input, in their order.",
        )
    pictures = read_pictures(list(inputs))
    for place, (picture, digest) in enumerate(zip(pictures, digests, strict=True)):
        if picture.digest != digest:
            raise ReceiptError(
                f"Input {place} is not the picture that {path} was made from (pixels {picture.digest[:19]}..., "
                f"not {str(digest)[:19]}...).",
                "Give the original file; a smaller or recompressed one has other pixels.",
            )
    translator = _load(Translator, path, receipt, model)
    request = translator.request(pictures, fit=receipt.fit)
    again = request.samples(translator.run(request))
    expected = again.outputs[0] if receipt.inputs is None else again.sheet()
    _, pixels = _read_translation(path, (expected.shape[1], expected.shape[0]))
    if pixels is None:
        raise _other_size(path)
    return _compare(path, receipt, pixels[None], expected[None])


def _check_digest(path: str | Path, receipt: SealedReceipt, pixels: UInt8Array) -> None:
    if not receipt.matches(pixels):
        raise ReceiptError(f"{path} was altered: the digest in its receipt does not fit its pixels and receipt.")


def _load(kind: type[Loaded], path: str | Path, receipt: SealedReceipt, model: str | Path | None) -> Loaded:
    """Return the checkpoint of a receipt: the one in the package, or the ``model`` that the caller gave."""
    loaded = kind.from_pretrained(model or _bundled(receipt.model), precision=receipt.precision)
    if (loaded.name, loaded.digest) != (receipt.model, receipt.digest):
        raise ReceiptError(
            f"{path} was made by another checkpoint named {receipt.model} ({receipt.digest[:19]}..., "
            f"not {loaded.digest[:19]}...).",
            "Give the directory of that checkpoint (--model).",
        )
    return loaded


def _compare(
    path: str | Path, receipt: Receipt | TranslationReceipt, images: UInt8Array, again: UInt8Array
) -> Verification:
    """Return the verification of images, uint8 [N, H, W, C], that were made again from their receipt."""
    other_runtime = _compare_runtimes(receipt)
    if error := describe_mismatch(images, again, receipt.precision):
        raise ReceiptError(f"{path} is not the image that its receipt describes: {error}.", other_runtime)
    return Verification(receipt, int(np.abs(again.astype(np.int16) - images).max()), other_runtime)


def _compare_runtimes(receipt: SealedReceipt) -> str:
    """Return how the ONNX Runtime of a receipt differs from this one; empty if it does not."""
    if receipt.runtime in (None, runtime_version()):
        return ""
    return (
        f"It was sampled with ONNX Runtime {receipt.runtime}, and this is {runtime_version()}: "
        "another version may round otherwise, and int8 may then differ visibly."
    )


def _bundled(name: str) -> str:
    if not is_in_package(name):
        raise UnknownModel(
            f"The model {name!r} of the receipt is not in the package.",
            "Give the directory of its checkpoint (--model).",
        )
    return name


def _check_size(path: str | Path, receipt: Receipt, config: CheckpointConfig, size: tuple[int, int]) -> None:
    """Raise ``ReceiptError`` if an image of this width and height is not what its receipt describes.

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


def _read_translation(
    path: str | Path, size: tuple[int, int] | None = None
) -> tuple[TranslationReceipt | None, UInt8Array | None]:
    """Return the receipt and the pixels of a translated image.

    The receipt is None for any other file, which ``_read`` explains. The pixels are read of a small image, and of one
    that has the width and height ``size``.
    """
    try:
        with open_regular(path) as file, Image.open(file, formats=["PNG"]) as image:
            content = image.info.get(RECEIPT_KEY)
            if image.width * image.height > MAX_SHEET or not isinstance(content, str):
                return None, None
            if not {"input", "inputs"} & set(parse_json(content.encode())):
                return None, None
            receipt = read_receipt_of(image, TranslationReceipt)
            if image.width * image.height > LARGE and image.size != size:
                return receipt, None
            _check_unaltered(path, image)
            pixels = from_pil(image)
            _check_digest(path, receipt, pixels)
            return receipt, pixels
    except BROKEN:
        return None, None


def _check_unaltered(path: str | Path, image: Image.Image) -> None:
    """Raise ``ReceiptError`` if a PNG has content that changes how it looks, such as a palette or a second frame."""
    image.load()
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
    if receipt.walk is None and receipt.latents is None:
        seeds = receipt.seed if receipt.seeds is None else receipt.seeds
        request = generator.sample_request(seeds=seeds, label=label, truncation=receipt.truncation)
        return generator.run(request if receipt.mix is None else generator.with_mix(request, receipt.mix))
    latents = _latents(receipt, generator.z_dim)
    return generator.sample(latents=latents, label=label, truncation=receipt.truncation).pixels


def _latents(receipt: Receipt, z_dim: int) -> FloatArray:
    """Return the latents of a receipt that has a walk or given latents."""
    try:
        if receipt.walk is not None:
            return walk_latents(receipt.walk, z_dim)
        return decode_latents(receipt.latents or "").reshape(-1, receipt.latent_dim or z_dim)
    except (InvalidOption, InvalidLatents, ValueError) as error:
        reason = error.message if isinstance(error, InvalidOption | InvalidLatents) else "their number is wrong."
        raise ReceiptError(f"The latents of the receipt are invalid: {reason}", "Use the original file.") from error
