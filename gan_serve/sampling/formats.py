"""Encode samples as files: PNG, JPEG, GIF, WebP, MP4, WebM, npz, zip, JSON, and the bytes of their pixels."""

from __future__ import annotations

import base64
import functools
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
from gan_serve.images.pixels import enlarge, to_pil
from gan_serve.images.video import check_codec, encode_video
from gan_serve.sampling.receipt import SealedReceipt
from gan_serve.sampling.result import Samples

MAX_SCALE = 64


class Layout(NamedTuple):
    """The columns of a grid, the frames per second of an animation, and the enlargement of pictures."""

    columns: int | None = None
    fps: float = 12.0
    scale: int = 1


class Format(NamedTuple):
    """A file format.

    Args:
        media_type: of an HTTP response.
        encode: the function that returns the bytes of the file.
        is_picture: its pixels can be enlarged.
        is_animation: it can show several images one after another.
        is_served: HTTP responses may have it. JPEG is not served: it has no receipt, and its size has no bound that is
            known before it is encoded.
        check: a function that raises ``InvalidOption`` if this machine cannot write it.
    """

    media_type: str
    encode: Callable[[Samples, Layout], bytes]
    is_picture: bool = False
    is_animation: bool = False
    is_served: bool = True
    check: Callable[[], None] = lambda: None


def encode(samples: Samples, format: str, *, columns: int | None = None, fps: float = 12.0, scale: int = 1) -> bytes:
    """Return samples as the bytes of a file in one of ``FORMATS``; see ``check_encoding`` for the errors."""
    check_encoding(len(samples), format, columns=columns, fps=fps, scale=scale)
    return FORMATS[format].encode(samples, Layout(columns, fps, scale))


def check_encoding(
    n: int, format: str, *, columns: int | None = None, fps: float = 12.0, scale: int = 1, served: bool = False
) -> None:
    """Raise ``InvalidOption`` for an unknown format (or one that is not ``served``), columns, fps or scale."""
    known = served_formats() if served else FORMATS
    if format not in known:
        raise InvalidOption.unknown("format", format, known)
    known[format].check()
    if not 1 <= scale <= MAX_SCALE:
        raise InvalidOption(f"scale must be a whole number from 1 to {MAX_SCALE}, not {scale}.", "The default is 1.")
    if scale > 1 and not FORMATS[format].is_picture:
        pictures = ", ".join(name for name, each in known.items() if each.is_picture)
        raise InvalidOption(f"The pixels of {format} are not enlarged.", f"scale is for {pictures}.")
    if not 0.1 <= fps <= 100:
        raise InvalidOption(f"fps must be from 0.1 to 100, not {fps}.", "The default is 12.")
    grid_columns(n, columns)  # checked also for formats that are not grids


def _png(samples: Samples, layout: Layout) -> bytes:
    return samples.png(0, layout.scale) if len(samples) == 1 else samples.grid_png(layout.columns, layout.scale)


def _jpeg(samples: Samples, layout: Layout) -> bytes:
    pixels = samples.pixels[0] if len(samples) == 1 else samples.sheet(layout.columns)[0]
    file = io.BytesIO()
    to_pil(enlarge(pixels, layout.scale)).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _gif(samples: Samples, layout: Layout) -> bytes:
    return encode_animation(samples.pixels, "gif", fps=layout.fps, scale=layout.scale)


def _webp(samples: Samples, layout: Layout) -> bytes:
    return encode_animation(samples.pixels, "webp", fps=layout.fps, scale=layout.scale)


def _mp4(samples: Samples, layout: Layout) -> bytes:
    return encode_video(samples.pixels, "mp4", fps=layout.fps, scale=layout.scale)


def _webm(samples: Samples, layout: Layout) -> bytes:
    return encode_video(samples.pixels, "webm", fps=layout.fps, scale=layout.scale)


def _raw(samples: Samples, _layout: Layout) -> bytes:
    return samples.pixels.tobytes()


def _npz(samples: Samples, _layout: Layout) -> bytes:
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


def _zip(samples: Samples, layout: Layout) -> bytes:
    return zip_files((name, samples.png(index, layout.scale)) for index, name in enumerate(image_names(samples)))


def _json(samples: Samples, _layout: Layout) -> bytes:
    return images_as_json(
        samples.model, ((samples.png(index), samples.receipt(index)) for index in range(len(samples)))
    )


FORMATS = {
    "png": Format("image/png", _png, is_picture=True),
    "gif": Format("image/gif", _gif, is_picture=True, is_animation=True),
    "webp": Format("image/webp", _webp, is_picture=True, is_animation=True),
    "mp4": Format("video/mp4", _mp4, is_picture=True, is_animation=True, check=lambda: check_codec("mp4")),
    "webm": Format("video/webm", _webm, is_picture=True, is_animation=True, check=lambda: check_codec("webm")),
    "npz": Format("application/x-npz", _npz),
    "zip": Format("application/zip", _zip, is_picture=True),
    "json": Format("application/json", _json),
    "raw": Format("application/octet-stream", _raw),  # uint8 [N, H, W, C] without a header
    "jpg": Format("image/jpeg", _jpeg, is_picture=True, is_served=False),
    "jpeg": Format("image/jpeg", _jpeg, is_picture=True, is_served=False),
}


@functools.cache
def served_formats() -> dict[str, Format]:
    """Return the formats of HTTP responses."""
    return {name: format for name, format in FORMATS.items() if format.is_served}


def zip_files(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return files, each a name and its content, as a zip archive; equal files give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content)  # with the fixed date that is the default of ZipInfo
    return out.getvalue()


def images_as_json(model: str, images: Iterable[tuple[bytes, SealedReceipt]]) -> bytes:
    """Return the PNG and the receipt of each image as JSON."""
    items = [{"png": base64.b64encode(png).decode(), "receipt": receipt.as_dict()} for png, receipt in images]
    return json.dumps({"model": model, "images": items}).encode()


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
