"""The result of a translation: images of any sizes, their receipts, and their form as images and files."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from gan_serve._version import __version__
from gan_serve.checkpoint.config import Digest
from gan_serve.errors import InvalidOption
from gan_serve.images.animation import encode_animation
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, enlarge, to_pil
from gan_serve.images.png import encode_png
from gan_serve.sampling.formats import images_as_json, zip_files
from gan_serve.sampling.receipt import RECEIPT_KEY, GeneratedImage, SealedReceipt
from gan_serve.sampling.result import Output
from gan_serve.sampling.session import runtime_version


class TranslationReceipt(SealedReceipt):
    """Everything that determines a translated image: ``input``, the digest of the input's pixels, and its ``fit``.

    A sheet of several images has ``inputs``, in their order.
    """

    input: Digest | None = None
    inputs: list[Digest] | None = None
    fit: str

    @model_validator(mode="after")
    def _has_one_source(self) -> TranslationReceipt:
        if (self.input is None) == (self.inputs is None):
            raise ValueError("exactly one of input and inputs must be set")
        return self


@dataclass(frozen=True, eq=False)
class Translations:
    """N translated images with everything that determines them.

    Args:
        inputs: the fitted pictures, each uint8 [H, W, C]. outputs: their translations, each uint8 [H', W', C'].
        digests: ``sha256:...`` of the pictures as they were given, before fitting.
        model, digest, precision, runtime: as in ``Samples``. fit: how the pictures were fitted.
    """

    inputs: list[UInt8Array]
    outputs: list[UInt8Array]
    digests: list[str]
    model: str
    digest: str
    precision: str
    runtime: str
    fit: str

    def __len__(self) -> int:
        return len(self.outputs)

    @functools.cached_property
    def _receipts(self) -> dict[int, TranslationReceipt]:
        return {}

    def receipt(self, index: int) -> TranslationReceipt:
        """Return the sealed receipt of one image."""
        index = range(len(self))[index]
        if index not in self._receipts:
            receipt = TranslationReceipt(input=self.digests[index], **self._common())
            self._receipts[index] = receipt.seal(self.outputs[index])
        return self._receipts[index]

    def images(self) -> list[GeneratedImage]:
        """Return Pillow images, each with its receipt in ``info["gan_serve"]``."""
        return [GeneratedImage.of(to_pil(pixels), self.receipt(index)) for index, pixels in enumerate(self.outputs)]

    def to_output(self, output: Output) -> list[GeneratedImage] | UInt8Array:
        """Return the images in the form that ``output`` names.

        Raises:
            InvalidOption: ``numpy``, and the images differ in size.
        """
        return self.images() if output == "pil" else self.pixels()

    def pixels(self) -> UInt8Array:
        """Return the images as one array uint8 [N, H, W, C].

        Raises:
            InvalidOption: they differ in size.
        """
        if len({image.shape for image in self.outputs}) > 1:
            raise InvalidOption(
                "The images differ in size and cannot be one array.", "Take the output pil, png or zip."
            )
        return np.stack(self.outputs)

    def png(self, index: int) -> bytes:
        """Return one image as PNG with its receipt."""
        return encode_png(self.outputs[index], {RECEIPT_KEY: self.receipt(index).as_json()})

    def sheet(self) -> UInt8Array:
        """Return all inputs and below each its output, uint8 [H, W, C].

        Inputs are enlarged to the size of their outputs by repeating pixels; smaller pictures have white around them.
        """
        channels = max(image.shape[2] for image in (*self.inputs, *self.outputs))
        height, width = (max(image.shape[axis] for image in self.outputs) for axis in (0, 1))
        cells = np.full((2, len(self), height, width, channels), 255, np.uint8)
        for index, (source, image) in enumerate(zip(self.inputs, self.outputs, strict=True)):
            large = enlarge(source, image.shape[0] // source.shape[0])
            cells[0, index, : large.shape[0], : large.shape[1]] = large
            cells[1, index, : image.shape[0], : image.shape[1]] = image
        return grid(cells.reshape(-1, height, width, channels), len(self))

    def sheet_png(self) -> bytes:
        """Return the ``sheet`` as PNG with its receipt."""
        pixels = self.sheet()
        receipt = TranslationReceipt(inputs=self.digests, **self._common()).seal(pixels)
        return encode_png(pixels, {RECEIPT_KEY: receipt.as_json()})

    def _common(self) -> dict[str, Any]:
        return {
            "model": self.model, "digest": self.digest, "precision": self.precision, "fit": self.fit,
            "version": __version__, "runtime": self.runtime,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class TranslationRequest:
    """Fitted inputs for one translator, each uint8 [H, W, C], and what their receipts state."""

    inputs: tuple[UInt8Array, ...]
    digests: tuple[str, ...]
    fit: str
    model: str
    digest: str
    precision: str

    def __len__(self) -> int:
        return len(self.inputs)

    def part(self, start: int, stop: int) -> TranslationRequest:
        """Return the request for the inputs from ``start`` up to ``stop``."""
        return replace(self, inputs=self.inputs[start:stop], digests=self.digests[start:stop])

    def samples(self, outputs: npt.NDArray[np.object_]) -> Translations:
        """Return the result, given the outputs of ``Translator.run``."""
        return Translations(
            list(self.inputs), list(outputs), list(self.digests), self.model, self.digest, self.precision,
            runtime_version(), self.fit,
        )  # fmt: skip


class Format(NamedTuple):
    """A file format of translations."""

    media_type: str
    encode: Callable[[Translations], bytes]


def _png(translations: Translations) -> bytes:
    return translations.png(0) if len(translations) == 1 else translations.sheet_png()


def _npz(translations: Translations) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, images=translations.pixels(), inputs=np.array(translations.digests))
    return out.getvalue()


def _zip(translations: Translations) -> bytes:
    return zip_files((f"{index:05d}.png", translations.png(index)) for index in range(len(translations)))


def _json(translations: Translations) -> bytes:
    images = ((translations.png(index), translations.receipt(index)) for index in range(len(translations)))
    return images_as_json(translations.model, images)


FORMATS = {
    "png": Format("image/png", _png),
    "gif": Format("image/gif", lambda each: encode_animation(each.pixels(), "gif")),
    "webp": Format("image/webp", lambda each: encode_animation(each.pixels(), "webp")),
    "npz": Format("application/x-npz", _npz),
    "zip": Format("application/zip", _zip),
    "json": Format("application/json", _json),
}


def encode_translations(translations: Translations, format: str) -> bytes:
    """Return translations as the bytes of a file; a PNG of several is a sheet of inputs above outputs.

    Raises:
        InvalidOption: an unknown format, or images of several sizes for an array or animation.
    """
    check_format(format)
    return FORMATS[format].encode(translations)


def check_format(format: str) -> None:
    """Raise ``InvalidOption`` unless ``format`` is one of ``FORMATS``."""
    if format not in FORMATS:
        raise InvalidOption.unknown("format", format, FORMATS)
