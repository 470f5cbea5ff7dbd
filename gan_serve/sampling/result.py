"""Images that were drawn, with all that made them; and their files: one PNG, a grid, an animation, npz, zip, JSON."""

from __future__ import annotations

import base64
import functools
import io
import itertools
import json
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gan_serve._version import __version__
from gan_serve.checkpoint.config import DEVICE_NAMES
from gan_serve.errors import InvalidOption
from gan_serve.images.encoding import UInt8Array, encode_animation, encode_png, grid, grid_columns, to_pil
from gan_serve.images.receipt import RECEIPT_KEY, GeneratedImage, Receipt, Walk
from gan_serve.sampling.latents import FloatArray


@dataclass(frozen=True, eq=False)
class Samples:
    """N images and what made them.

    pixels: uint8 [N, H, W, C]. One is set of ``seeds``, ``latents`` (float32 [N, z_dim], where they were given) and
    ``walk``. labels: the class name of each image, or None where the model has no classes. columns: images in a row of
    their PNG where nobody asks for another number; as square as it gets if None. by_label: whether they are the same
    latents under each label, all of the first label first.
    """

    pixels: UInt8Array
    model: str
    digest: str
    precision: str
    truncation: float
    seeds: list[int] | None = None
    latents: FloatArray | None = None
    walk: Walk | None = None
    labels: list[str] | None = None
    columns: int | None = None
    by_label: bool = False

    def __len__(self) -> int:
        return len(self.pixels)

    def receipt(self, index: int) -> Receipt:
        """The sealed receipt of one image."""
        index = range(len(self))[index]
        if index not in self._receipts:
            self._receipts[index] = self._receipt(
                seed=self.seeds[index] if self.seeds is not None else None,
                latents=self._latents(slice(index, index + 1)),
                walk=self.walk.frame_at(index) if self.walk else None,
                label=self.labels[index] if self.labels else None,
            ).seal(self.pixels[index])
        return self._receipts[index]

    def images(self) -> list[GeneratedImage]:
        """Pillow images, each with its receipt in ``info["gan_serve"]``."""
        return [GeneratedImage.of(to_pil(self.pixels[index]), self.receipt(index)) for index in range(len(self))]

    def png(self, index: int) -> bytes:
        """One image as PNG with its receipt."""
        return encode_png(self.pixels[index], {RECEIPT_KEY: self.receipt(index).as_json()})

    def grid_png(self, columns: int | None = None) -> bytes:
        """All images as one PNG grid with its receipt, ``columns`` in a row; by default ``self.columns``."""
        pixels, receipt = self.sheet(columns)
        return encode_png(pixels, {RECEIPT_KEY: receipt.as_json()})

    def sheet(self, columns: int | None = None) -> tuple[UInt8Array, Receipt]:
        """All images as one grid, uint8 [H, W, C], and its sealed receipt; see ``grid_png``."""
        columns = grid_columns(len(self), self.columns if columns is None else columns)
        pixels = grid(self.pixels, columns)
        receipt = self._receipt(
            seeds=self.seeds,
            latents=self._latents(slice(None)),
            walk=self.walk.trimmed() if self.walk else None,
            labels=self.labels,
            columns=columns,
        )
        return pixels, receipt.seal(pixels)

    @functools.cached_property
    def _receipts(self) -> dict[int, Receipt]:
        """Those that were made: an answer names a receipt in its header and in its picture."""
        return {}

    def _receipt(self, **what: object) -> Receipt:
        return Receipt.model_validate(
            {
                "model": self.model,
                "digest": self.digest,
                "precision": self.precision,
                "truncation": self.truncation,
                "version": __version__,
            }
            | what
        )

    def _latents(self, which: slice) -> str | None:
        if self.latents is None:
            return None
        return base64.b64encode(self.latents[which].astype("<f4").tobytes()).decode()


class Format(NamedTuple):
    """A file format: ``encode`` takes samples, the columns of a grid and the frames per second of an animation."""

    media_type: str
    encode: Callable[[Samples, int | None, float], bytes]


def encode(samples: Samples, format: str, *, columns: int | None = None, fps: float = 12.0) -> bytes:
    """Samples as the bytes of a file in one of ``FORMATS``; see ``check_encoding`` for the errors."""
    check_encoding(len(samples), format, columns=columns, fps=fps)
    return FORMATS[format].encode(samples, columns, fps)


def check_encoding(n: int, format: str, *, columns: int | None = None, fps: float = 12.0) -> None:
    """Raise ``InvalidOption`` where n images cannot be encoded so: no such format, or a value out of range."""
    if format not in FORMATS:
        raise InvalidOption.unknown("format", format, FORMATS)
    if not 0.1 <= fps <= 100:
        raise InvalidOption(f"fps must be from 0.1 to 100, not {fps}.", "12 is a good walk.")
    grid_columns(n, columns)  # refused also where the format draws no grid


def _png(samples: Samples, columns: int | None, _fps: float) -> bytes:
    return samples.png(0) if len(samples) == 1 else samples.grid_png(columns)


def _gif(samples: Samples, _columns: int | None, fps: float) -> bytes:
    return encode_animation(samples.pixels, "gif", fps=fps)


def _webp(samples: Samples, _columns: int | None, fps: float) -> bytes:
    return encode_animation(samples.pixels, "webp", fps=fps)


def _npz(samples: Samples, _columns: int | None, _fps: float) -> bytes:
    arrays: dict[str, np.ndarray] = {"images": samples.pixels}
    if samples.seeds is not None:
        arrays["seeds"] = np.array(samples.seeds, np.int64)
    if samples.latents is not None:
        arrays["latents"] = samples.latents
    if samples.labels is not None:
        arrays["labels"] = np.array(samples.labels)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def _zip(samples: Samples, _columns: int | None, _fps: float) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for index, name in enumerate(image_names(samples)):
            # A fixed date (the default of ZipInfo), so that the same request gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name), samples.png(index))
    return out.getvalue()


def _json(samples: Samples, _columns: int | None, _fps: float) -> bytes:
    images = [
        {"png": base64.b64encode(samples.png(index)).decode(), "receipt": samples.receipt(index).as_dict()}
        for index in range(len(samples))
    ]
    return json.dumps({"model": samples.model, "images": images}).encode()


FORMATS = {
    "png": Format("image/png", _png),
    "gif": Format("image/gif", _gif),
    "webp": Format("image/webp", _webp),
    "npz": Format("application/x-npz", _npz),
    "zip": Format("application/zip", _zip),
    "json": Format("application/json", _json),
}


def image_names(samples: Samples) -> list[str]:
    """The file name of each image: by its place, and its seed where it has one; in a folder where ``by_label``."""
    seeds = [""] * len(samples) if samples.seeds is None else [f"-seed{seed}" for seed in samples.seeds]
    if not (samples.by_label and samples.labels):
        return [f"{place:05d}{seed}.png" for place, seed in enumerate(seeds)]
    folders = folder_names(samples.labels)
    per_label = len(samples) // len(folders)
    return [
        f"{folders[label]}/{place % per_label:05d}{seed}.png"
        for place, (label, seed) in enumerate(zip(samples.labels, seeds, strict=True))
    ]


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """A name for the folder of each label that every file system takes, no two alike.

    >>> folder_names(["T-shirt/top", "Ankle boot", "T-shirt top", ".."])
    {'T-shirt/top': 'T-shirt_top', 'Ankle boot': 'Ankle_boot', 'T-shirt top': 'T-shirt_top-2', '..': '_'}
    """
    folders: dict[str, str] = {}
    for label in dict.fromkeys(labels):
        # 48 characters are at most 192 bytes, and names may have 255.
        plain = re.sub(r"[^\w.-]+", "_", label)[:48].strip(".") or "_"
        plain = f"_{plain}" if DEVICE_NAMES.fullmatch(plain) else plain
        taken = {folder.casefold() for folder in folders.values()}  # Windows and macOS take "bag" for "Bag"
        choices = itertools.chain([plain], (f"{plain}-{number}" for number in itertools.count(2)))
        folders[label] = next(choice for choice in choices if choice.casefold() not in taken)
    return folders
