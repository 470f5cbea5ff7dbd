"""Image files to pixels: upright, on white, 8 bits, gray where they are gray."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# What Pillow raises for damaged files: its decoders trust lengths and indices that they find in them.
BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, TypeError, OverflowError,
    Image.DecompressionBombError,
)  # fmt: skip


def find_images(folder: Path) -> list[Path]:
    """All image files below ``folder`` that are not hidden, in the order of their names."""
    return sorted(
        path
        for path in folder.rglob("*")
        if is_image_name(path.name) and not is_junk(path.relative_to(folder).parts) and path.is_file()
    )


def is_image_name(name: str) -> bool:
    """Whether a file is an image, by its suffix."""
    return Path(name).suffix.lower() in SUFFIXES


def is_junk(parts: Sequence[str]) -> bool:
    """Whether a path (its parts, as seen from the source) is hidden or what macOS puts into archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def read_image(file: Path | BinaryIO, resolution: int | None = None) -> Image.Image:
    """Read an image as mode L or RGB, cut and resized to ``resolution`` where one is given.

    It is turned as its EXIF orientation says; what is transparent lies on white; 16 bits become 8; gray stays gray
    also in a palette.

    Raises:
        One of ``BROKEN``: it cannot be read, or has values whose range is not known (32 bits, floats).
    """
    with Image.open(file) as opened:
        if resolution:
            opened.draft(None, (2 * resolution, 2 * resolution))  # JPEG: decode no more than is needed
        image = _eight_bits(ImageOps.exif_transpose(opened))
    return resize(image, resolution) if resolution else image


def resize(image: Image.Image, resolution: int) -> Image.Image:
    """Cut the largest square from the middle and resize it to ``resolution`` with Lanczos."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Not resize's own box: its filter would see beyond the cut.
    square = image.crop((left, top, left + side, top + side))
    return square.resize((resolution, resolution), Image.Resampling.LANCZOS)


def _eight_bits(image: Image.Image) -> Image.Image:
    """``image`` as mode L or RGB."""
    if image.mode in ("L", "RGB"):
        return image.copy() if "transparency" not in image.info else _on_white(image.convert("RGBA"))
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image, np.uint32) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits of no known range; save it with 8 or 16 bits")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return image.convert("RGB")
    return _on_white(image.convert("RGBA"))


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    flat = Image.alpha_composite(white, image).convert("RGB")
    red, green, blue = (np.asarray(channel) for channel in flat.split())
    gray = np.array_equal(red, green) and np.array_equal(green, blue)
    return flat.getchannel(0) if gray else flat
