"""The result of a request: samples, their receipts, and their form as Pillow images, arrays and PNGs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gan_serve._version import __version__
from gan_serve.errors import InvalidOption
from gan_serve.images.grid import grid, grid_columns
from gan_serve.images.pixels import UInt8Array, enlarge, to_pil
from gan_serve.images.png import encode_png
from gan_serve.sampling.display import GeneratedImages, GeneratedRows
from gan_serve.sampling.latents import FloatArray, encode_latents
from gan_serve.sampling.mixing import Mix
from gan_serve.sampling.receipt import RECEIPT_KEY, GeneratedImage, Receipt
from gan_serve.sampling.walks import Walk

Output = Literal["pil", "numpy"]


@dataclass(frozen=True, eq=False)
class Samples:
    """N images with everything that determines them.

    Args:
        pixels: uint8 [N, H, W, C].
        model, digest, precision: the name of the checkpoint, the digest of its network, and the precision of that.
        runtime: the version of ONNX Runtime.
        seeds, latents, walk: exactly one is set; ``latents`` (float32 [N, z_dim], or longer with offsets in w) if the
            caller gave latents.
        latent_dim: the numbers of one latent, if they are more than z_dim.
        labels: the class name of each image, or None for a model without classes.
        mix: the second seed of each image, where styles were mixed.
        columns: the default number of images in a row of a grid; as square as possible if None.
        by_label: they are the same latents under each label, first all images of the first label, and so on.
    """

    pixels: UInt8Array
    model: str
    digest: str
    precision: str
    truncation: float
    runtime: str
    seeds: list[int] | None = None
    latents: FloatArray | None = None
    latent_dim: int | None = None
    walk: Walk | None = None
    labels: list[str] | None = None
    mix: Mix | None = None
    columns: int | None = None
    by_label: bool = False

    def __len__(self) -> int:
        return len(self.pixels)

    def receipt(self, index: int) -> Receipt:
        """Return the sealed receipt of one image."""
        index = range(len(self))[index]
        if index not in self._receipts:
            self._receipts[index] = self._receipt(
                seed=self.seeds[index] if self.seeds is not None else None,
                latents=self._latents(slice(index, index + 1)),
                latent_dim=self.latent_dim,
                walk=self.walk.frame_at(index) if self.walk else None,
                label=self.labels[index] if self.labels else None,
                mix=self.mix.part(index, index + 1) if self.mix else None,
            ).seal(self.pixels[index])
        return self._receipts[index]

    def images(self) -> GeneratedImages:
        """Return Pillow images, each with its receipt in ``info["gan_serve"]``; a notebook shows the list."""
        images = (GeneratedImage.of(to_pil(self.pixels[index]), self.receipt(index)) for index in range(len(self)))
        return GeneratedImages(images, animated=self.walk is not None)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return what a notebook shows: a grid, or the animation of a walk."""
        return self.images()._repr_mimebundle_() | {"text/plain": f"<{len(self)} images of {self.model}>"}

    def to_output(self, output: Output) -> list[GeneratedImage] | UInt8Array:
        """Return the images in the form that ``output`` names."""
        return self.images() if output == "pil" else self.pixels

    def to_output_by_label(self, output: Output) -> dict[str, list[GeneratedImage]] | dict[str, UInt8Array]:
        """Return the images of each label, where ``by_label``, in the form that ``output`` names."""
        names = list(dict.fromkeys(self.labels or []))
        if output == "pil":
            images, per_label = self.images(), len(self) // len(names)
            rows = {name: slice(row * per_label, (row + 1) * per_label) for row, name in enumerate(names)}
            return GeneratedRows({name: GeneratedImages(images[row]) for name, row in rows.items()})
        return dict(zip(names, np.split(self.pixels, len(names)), strict=True))

    def png(self, index: int, scale: int = 1) -> bytes:
        """Return one image as PNG with its receipt, each pixel as a square of ``scale`` x ``scale``."""
        pixels, receipt = self._enlarged(self.pixels[index], self.receipt(index), scale)
        return encode_png(pixels, {RECEIPT_KEY: receipt.as_json()})

    def grid_png(self, columns: int | None = None, scale: int = 1) -> bytes:
        """Return all images as one PNG, a grid with its receipt, ``columns`` in a row; by default ``self.columns``."""
        pixels, receipt = self._enlarged(*self.sheet(columns), scale)
        return encode_png(pixels, {RECEIPT_KEY: receipt.as_json()})

    @staticmethod
    def _enlarged(pixels: UInt8Array, receipt: Receipt, scale: int) -> tuple[UInt8Array, Receipt]:
        if scale == 1:
            return pixels, receipt
        pixels = enlarge(pixels, scale)
        return pixels, receipt.model_copy(update={"scale": scale}).seal(pixels)

    def sheet(self, columns: int | None = None) -> tuple[UInt8Array, Receipt]:
        """Return the grid of ``grid_png``, uint8 [H, W, C], and its sealed receipt."""
        columns = grid_columns(len(self), self.columns if columns is None else columns)
        pixels = grid(self.pixels, columns)
        receipt = self._receipt(
            seeds=self.seeds,
            latents=self._latents(slice(None)),
            latent_dim=self.latent_dim,
            walk=self.walk.trimmed() if self.walk else None,
            labels=self.labels,
            mix=self.mix,
            columns=columns,
        )
        return pixels, receipt.seal(pixels)

    @functools.cached_property
    def _receipts(self) -> dict[int, Receipt]:
        """The receipts made so far, by index: a response has a receipt in its header and in its image."""
        return {}

    def _receipt(self, **what: object) -> Receipt:
        return Receipt.model_validate(
            {
                "model": self.model,
                "digest": self.digest,
                "precision": self.precision,
                "truncation": self.truncation,
                "version": __version__,
                "runtime": self.runtime,
            }
            | what
        )

    def _latents(self, which: slice) -> str | None:
        return None if self.latents is None else encode_latents(self.latents[which])


def check_output(output: str) -> None:
    """Raise ``InvalidOption`` unless ``output`` is ``pil`` or ``numpy``."""
    if output not in ("pil", "numpy"):
        raise InvalidOption.unknown("output", output, ("pil", "numpy"))
