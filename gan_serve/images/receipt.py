"""The receipt in every image: what made it, so that it can be made again and compared.

In a PNG it is JSON in the text chunk ``gan_serve``; on an image from ``generate`` it is ``image.info["gan_serve"]``.
Its ``sha256`` covers the pixels and all its other fields, so that a change of either shows.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Self

import numpy as np
from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gan_serve.errors import ReceiptError
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.seeds import Seed
from gan_serve.sampling.walks import Walk

RECEIPT_KEY = "gan_serve"
_SORTED = json.JSONEncoder(sort_keys=True)  # json.dumps would make one a receipt


class Receipt(BaseModel):
    """What made an image. One is set of ``seed``, ``seeds``, ``latents`` (base64 of float32) and ``walk``.

    ``columns`` is set where the image is a grid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    precision: str
    seed: Seed | None = None
    seeds: list[Seed] | None = None
    latents: str | None = None
    walk: Walk | None = None
    label: str | None = None
    labels: list[str] | None = None
    truncation: Annotated[float, Field(ge=0, le=1)]
    columns: Annotated[int, Field(ge=1)] | None = None
    version: str
    sha256: str = ""

    @model_validator(mode="after")
    def _tells_one_story(self) -> Self:
        told = [self.seed, self.seeds, self.latents, self.walk]
        if sum(part is not None for part in told) != 1:
            raise ValueError("exactly one of seed, seeds, latents and walk makes an image")
        if self.label is not None and self.labels is not None:
            raise ValueError("there is a label and there are labels")
        is_grid = self.seeds is not None or (self.walk is not None and self.walk.frame is None)
        if self.latents is None and (self.columns is not None) != is_grid:
            raise ValueError("columns belong to a grid, and a grid has columns")
        return self

    def seal(self, pixels: UInt8Array) -> Self:
        """This receipt with the digest of itself and of ``pixels`` uint8 [H, W, C]."""
        return self.model_copy(update={"sha256": self._digest(pixels)})

    def matches(self, pixels: UInt8Array) -> bool:
        """Whether neither the pixels nor the receipt were changed since it was sealed."""
        return self.sha256 == self._digest(pixels)

    def as_dict(self) -> dict[str, Any]:
        """The fields that are set."""
        return self.model_dump(exclude_none=True)

    def as_json(self) -> str:
        """The fields that are set, as one line of JSON."""
        return self.model_dump_json(exclude_none=True)

    def _digest(self, pixels: UInt8Array) -> str:
        fields = _SORTED.encode(self.model_dump(exclude={"sha256"}, exclude_none=True))
        shape = "x".join(map(str, pixels.shape))
        digest = hashlib.sha256(f"{fields}\n{shape}\n".encode())
        digest.update(np.ascontiguousarray(pixels).data)
        return digest.hexdigest()


def read_receipt(image: Image.Image) -> Receipt:
    """The receipt of an image, from ``generate`` or opened from a PNG.

    Raises:
        ReceiptError: there is none, or it is not whole.
    """
    held = image.info.get(RECEIPT_KEY)
    if held is None:
        raise ReceiptError("The image has no receipt.", "Only PNGs that gan-serve wrote carry one.")
    try:
        return Receipt.model_validate(json.loads(held) if isinstance(held, str) else held)
    except (ValueError, TypeError, ValidationError, RecursionError) as error:
        raise ReceiptError("The image's receipt cannot be read; it was altered.", "Take the original file.") from error


class GeneratedImage(Image.Image):
    """A Pillow image that keeps its receipt when it is saved as PNG."""

    @classmethod
    def of(cls, image: Image.Image, receipt: Receipt) -> GeneratedImage:
        """Give ``image`` its receipt."""
        image.info[RECEIPT_KEY] = receipt.as_dict()
        image.__class__ = cls  # Pillow has no public way to make a subclass from pixels.
        return image  # type: ignore[return-value]

    def copy(self) -> GeneratedImage:
        """As Pillow's ``copy``; the receipt stays with it."""
        image = super().copy()
        image.__class__ = type(self)
        return image  # type: ignore[return-value]

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """As Pillow's ``save``; a PNG also gets the receipt as a text chunk, beside those in ``pnginfo``."""
        if RECEIPT_KEY in self.info:
            info, given = PngImagePlugin.PngInfo(), params.get("pnginfo")
            info.chunks.extend(given.chunks if given else ())
            info.add_itxt(RECEIPT_KEY, json.dumps(self.info[RECEIPT_KEY], ensure_ascii=False))
            params["pnginfo"] = info  # writers of other formats pass it by
        super().save(fp, format, **params)
