"""Encode samples as files: PNG, GIF, WebP, npz, zip and JSON."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import zipfile
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from gan_serve.checkpoint.config import DEVICE_NAMES
from gan_serve.errors import InvalidOption
from gan_serve.images.animation import encode_animation
from gan_serve.images.grid import grid_columns
from gan_serve.sampling.result import Samples


class Format(NamedTuple):
    """A file format. ``encode`` takes samples, the columns of a grid and the frames per second of an animation."""

    media_type: str
    encode: Callable[[Samples, int | None, float], bytes]


def encode(samples: Samples, format: str, *, columns: int | None = None, fps: float = 12.0) -> bytes:
    """Return samples as the bytes of a file in one of ``FORMATS``; see ``check_encoding`` for the errors."""
    check_encoding(len(samples), format, columns=columns, fps=fps)
    return FORMATS[format].encode(samples, columns, fps)


def check_encoding(n: int, format: str, *, columns: int | None = None, fps: float = 12.0) -> None:
    """Raise ``InvalidOption`` for an unknown format, or columns or fps out of range."""
    if format not in FORMATS:
        raise InvalidOption.unknown("format", format, FORMATS)
    if not 0.1 <= fps <= 100:
        raise InvalidOption(f"fps must be from 0.1 to 100, not {fps}.", "The default is 12.")
    grid_columns(n, columns)  # checked also for formats that are not grids


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
    if samples.mix is not None:
        arrays["mix_seeds"] = np.array(samples.mix.seeds, np.int64)
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
    """Return the file name of each image: its index, its seed if it has one, and a folder by label if ``by_label``."""
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
    """Return a distinct folder name for each label that is valid in every file system.

    >>> folder_names(["T-shirt/top", "Ankle boot", "T-shirt top", ".."])
    {'T-shirt/top': 'T-shirt_top', 'Ankle boot': 'Ankle_boot', 'T-shirt top': 'T-shirt_top-2', '..': '_'}
    """
    folders: dict[str, str] = {}
    for label in dict.fromkeys(labels):
        # 48 characters are at most 192 bytes; file systems allow 255.
        plain = re.sub(r"[^\w.-]+", "_", label)[:48].strip(".") or "_"
        # A dash at the beginning would be an option of other programs.
        plain = f"_{plain}" if DEVICE_NAMES.fullmatch(plain) or plain.startswith("-") else plain
        taken = {folder.casefold() for folder in folders.values()}  # Windows and macOS ignore case
        choices = itertools.chain([plain], (f"{plain}-{number}" for number in itertools.count(2)))
        folders[label] = next(choice for choice in choices if choice.casefold() not in taken)
    return folders
