"""Pixels to bytes: grids, PNG, animations. Pixels are uint8, [H, W, C] or [N, H, W, C], C 1 (gray) or 3 (RGB)."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from gan_serve.errors import InvalidOption

UInt8Array = npt.NDArray[np.uint8]
GRID_GAP = 2


def grid(images: UInt8Array, columns: int | None = None) -> UInt8Array:
    """Lay images out in rows on white, two pixels apart.

    Args:
        images: uint8 [N, H, W, C].
        columns: images in a row; as square as it gets if None.

    Returns:
        uint8 [rows·(H+2)+2, columns·(W+2)+2, C].

    Raises:
        InvalidOption: columns below 1.
    """
    n, height, width, channels = images.shape
    columns = grid_columns(n, columns)
    rows = math.ceil(n / columns)
    cells = np.full((rows * columns, height + GRID_GAP, width + GRID_GAP, channels), 255, np.uint8)
    cells[:n, GRID_GAP:, GRID_GAP:] = images
    sheet = cells.reshape(rows, columns, height + GRID_GAP, width + GRID_GAP, channels).transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(rows * (height + GRID_GAP), columns * (width + GRID_GAP), channels)
    return np.pad(sheet, ((0, GRID_GAP), (0, GRID_GAP), (0, 0)), constant_values=255)


def grid_columns(n: int, columns: int | None = None) -> int:
    """How many of n images a row of ``grid`` holds; see there."""
    if columns is None:
        return math.ceil(math.sqrt(n))
    if columns < 1:
        raise InvalidOption(f"A grid needs at least one column, not {columns}.", "Ask for 1 column or more.")
    return min(columns, n)


def to_pil(pixels: UInt8Array) -> Image.Image:
    """A Pillow image of uint8 [H, W, C], mode L or RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def from_pil(image: Image.Image) -> UInt8Array:
    """The pixels of a gray or RGB Pillow image, uint8 [H, W, C].

    Raises:
        ValueError: the image is of another mode, whose numbers are not what is seen (a palette, say).
    """
    if image.mode not in ("L", "RGB"):
        raise ValueError(f"the image is of mode {image.mode}, not L or RGB")
    return np.asarray(image).reshape(image.height, image.width, -1)


def encode_png(pixels: UInt8Array, text: dict[str, str] | None = None) -> bytes:
    """A PNG of uint8 [H, W, C] with ``text`` as text chunks. The same input gives the same bytes."""
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    out = io.BytesIO()
    to_pil(pixels).save(out, "PNG", compress_level=1, pnginfo=info)
    return out.getvalue()


def encode_animation(frames: UInt8Array, format: str, *, fps: float) -> bytes:
    """An endless animation of uint8 [N, H, W, C]: ``gif`` (gray exact, colour in 256 shades) or ``webp`` (lossless)."""
    options: dict[str, Any] = {"lossless": True} if format == "webp" else {}
    first, *rest = (to_pil(frame) for frame in frames)
    out = io.BytesIO()
    first.save(out, format, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, **options)
    return out.getvalue()
