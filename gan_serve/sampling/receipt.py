"""The receipt of an image: everything that is needed to sample it again and compare.

A PNG has it as JSON in the text chunk ``gan_serve``, an image from ``generate`` in ``image.info["gan_serve"]``. Its
``sha256`` covers the pixels and all other fields, so a change of either is detected.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gan_serve.checkpoint.config import Digest
from gan_serve.checkpoint.json_files import parse_json
from gan_serve.errors import ReceiptError
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.mixing import Mix
from gan_serve.sampling.seeds import Seed
from gan_serve.sampling.walks import Walk

RECEIPT_KEY = "gan_serve"
Kind = TypeVar("Kind", bound="SealedReceipt")
Word = Annotated[str, Field(max_length=200)]  # errors show it
SHOWN_SIDE = 128  # the largest side of an enlarged image in a notebook, in pixels
# json.dumps would construct an encoder for each receipt. ``default`` is called for the parts that are models.
_SORTED = json.JSONEncoder(sort_keys=True, default=lambda part: part.model_dump(exclude_none=True))


class SealedReceipt(BaseModel):
    """The part of a receipt that all kinds have. Its ``sha256`` covers the pixels and all other fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Word
    digest: Digest
    precision: Word
    version: Word
    runtime: Word | None = None
    sha256: str = ""

    def seal(self, pixels: UInt8Array) -> Self:
        """Return this receipt with the digest of its fields and of ``pixels``, uint8 [H, W, C]."""
        return self.model_copy(update={"sha256": self._digest(pixels)})

    def matches(self, pixels: UInt8Array) -> bool:
        """Return True if neither the pixels nor the receipt were changed since ``seal``."""
        return self.sha256 == self._digest(pixels)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that are set."""
        return self.model_dump(exclude_none=True)

    def as_json(self) -> str:
        """Return the fields that are set, as one line of JSON."""
        return self.model_dump_json(exclude_none=True)

    def _digest(self, pixels: UInt8Array) -> str:
        fields = _SORTED.encode({name: value for name, value in self if name != "sha256" and value is not None})
        shape = "x".join(map(str, pixels.shape))
        digest = hashlib.sha256(f"{fields}\n{shape}\n".encode())
        digest.update(np.ascontiguousarray(pixels).data)
        return digest.hexdigest()


class Receipt(SealedReceipt):
    """Everything that determines an image.

    Exactly one of ``seed``, ``seeds``, ``latents`` (base64 of float32) and ``walk`` is set; ``latent_dim``, the numbers
    of one latent, if it is not z_dim; ``columns`` if the image is a grid, ``scale`` if each pixel was enlarged to a
    square, and ``mix`` if styles were mixed. ``version`` is that of gan-serve and ``runtime`` that of ONNX Runtime; old
    receipts have no ``runtime``.
    """

    seed: Seed | None = None
    seeds: list[Seed] | None = None
    latents: str | None = None
    latent_dim: Annotated[int, Field(ge=1, le=2**20)] | None = None
    walk: Walk | None = None
    label: str | None = None
    labels: list[str] | None = None
    mix: Mix | None = None
    truncation: Annotated[float, Field(ge=0, le=1)]
    columns: Annotated[int, Field(ge=1)] | None = None
    scale: Annotated[int, Field(ge=2, le=64)] | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        sources = [self.seed, self.seeds, self.latents, self.walk]
        if sum(source is not None for source in sources) != 1:
            raise ValueError("exactly one of seed, seeds, latents and walk must be set")
        if self.latent_dim is not None and self.latents is None:
            raise ValueError("latent_dim is set without latents")
        if self.label is not None and self.labels is not None:
            raise ValueError("label and labels are both set")
        if self.mix is not None and len(self.mix.seeds) != (1 if self.seeds is None else len(self.seeds)):
            raise ValueError("mix must have a seed for each image")
        if self.mix is not None and self.seed is None and self.seeds is None:
            raise ValueError("only images of seeds are mixed")
        is_grid = self.seeds is not None or (self.walk is not None and self.walk.frame is None)
        if self.latents is None and (self.columns is not None) != is_grid:
            raise ValueError("columns must be set for a grid, and only for a grid")
        return self


def read_receipt(image: Image.Image) -> Receipt:
    """Return the receipt of an image, from ``generate`` or opened from a PNG.

    Raises:
        ReceiptError: it has none, or an invalid one.
    """
    return read_receipt_of(image, Receipt)


def read_receipt_of(image: Image.Image, kind: type[Kind]) -> Kind:
    """Return the receipt of an image, of a kind; see ``read_receipt`` for the errors."""
    content = image.info.get(RECEIPT_KEY)
    if content is None:
        raise ReceiptError("The image has no receipt.", "Only PNGs of gan-serve have one.")
    try:
        return kind.model_validate(parse_json(content.encode()) if isinstance(content, str) else content)
    except (ValueError, TypeError, ValidationError) as error:
        raise ReceiptError("The receipt of the image is invalid; it was altered.", "Use the original file.") from error


class GeneratedImage(Image.Image):
    """A Pillow image that keeps its receipt when it is saved as PNG."""

    @classmethod
    def of(cls, image: Image.Image, receipt: SealedReceipt) -> GeneratedImage:
        """Return ``image`` as a ``GeneratedImage`` with this receipt."""
        image.info[RECEIPT_KEY] = receipt.as_dict()
        image.__class__ = cls  # Pillow has no public way to make a subclass from pixels.
        return image  # type: ignore[return-value]

    def copy(self) -> GeneratedImage:
        """Copy the image with its receipt."""
        image = super().copy()
        image.__class__ = type(self)
        return image  # type: ignore[return-value]

    def _repr_png_(self) -> bytes | None:
        """Return the PNG that a notebook shows: small images are enlarged."""
        factor = max(1, SHOWN_SIDE // max(self.size))
        file = io.BytesIO()
        self.resize((self.width * factor, self.height * factor), Image.Resampling.NEAREST).save(file, "PNG")
        return file.getvalue()

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Save the image as Pillow does; a PNG also gets the receipt as a text chunk, beside those in ``pnginfo``."""
        if RECEIPT_KEY in self.info:
            info, given = PngImagePlugin.PngInfo(), params.get("pnginfo")
            info.chunks.extend(given.chunks if given else ())
            info.add_itxt(RECEIPT_KEY, json.dumps(self.info[RECEIPT_KEY], ensure_ascii=False))
            params["pnginfo"] = info  # writers of other formats ignore it
        super().save(fp, format, **params)
