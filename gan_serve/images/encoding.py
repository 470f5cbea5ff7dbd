"""Pixels to bytes: grids, PNG, animations. Pixels are uint8, [H, W, C] or [N, H, W, C], C 1 (gray) or 3 (RGB)."""

from __future__ import annotations

import io
import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gan_serve.errors import InvalidOption
from gan_serve.sampling.latents import shorten

try:
    from isal import isal_zlib as zlib  # the same functions, several times faster
except ImportError:  # no wheel for this platform, see pyproject.toml
    import zlib  # type: ignore[no-redef]

UInt8Array = npt.NDArray[np.uint8]
GRID_GAP = 2
IDENTICAL = 100.0  # decibels: PSNR of an image that does not differ at all

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOURS = {1: 0, 3: 2}  # channels -> colour type: gray, RGB
PNG_FILTER_UP = 2
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_ANYTHING = np.zeros(256, np.uint8)


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


def cut_grid(sheet: UInt8Array, n: int, columns: int) -> UInt8Array:
    """The n images of a ``grid``, uint8 [N, H, W, C].

    >>> images = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5, 1)
    >>> np.array_equal(cut_grid(grid(images, 2), 3, 2), images)
    True
    """
    rows = math.ceil(n / columns)
    cells = sheet[:-GRID_GAP, :-GRID_GAP].reshape(
        rows, (sheet.shape[0] - GRID_GAP) // rows, columns, (sheet.shape[1] - GRID_GAP) // columns, -1
    )
    cells = cells.transpose(0, 2, 1, 3, 4)[:, :, GRID_GAP:, GRID_GAP:]
    return cells.reshape(rows * columns, *cells.shape[2:])[:n]


def grid_columns(n: int, columns: int | None = None) -> int:
    """How many of n images a row of ``grid`` holds; see there."""
    if columns is None:
        return math.ceil(math.sqrt(n))
    if columns < 1:
        raise InvalidOption(f"A grid needs at least one column, not {shorten(columns)}.", "Ask for 1 column or more.")
    return min(columns, n)


def psnr(images: UInt8Array, reference: UInt8Array) -> npt.NDArray[np.float64]:
    """Peak signal-to-noise ratio of each image, uint8 [N, H, W, C] -> float64 [N]: 10 log10(255² / MSE), at most 100.

    >>> psnr(np.full((1, 2, 2, 1), 10, np.uint8), np.full((1, 2, 2, 1), 11, np.uint8)).round(2).tolist()
    [48.13]
    """
    squares = (images.astype(np.float64) - reference) ** 2
    decibels: npt.NDArray[np.float64] = 10 * np.log10(255**2 / np.maximum(squares.mean(axis=(1, 2, 3)), 1e-9))
    return np.minimum(IDENTICAL, decibels)


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
    """A PNG of uint8 [H, W, C] with ``text`` as text chunks (iTXt). The same input gives the same bytes on one machine.

    Every row is stored as its difference from the row above (the filter Up), which NumPy takes of all rows at once, and
    compressed at level 1: several times faster than Pillow, at about its size (benchmarks/sampling.md).

    >>> encode_png(np.zeros((28, 28, 1), np.uint8))[1:4]
    b'PNG'
    """
    height, width, channels = pixels.shape
    levels = pixels.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = PNG_FILTER_UP
    rows[0, 1:] = levels[0]
    np.subtract(levels[1:], levels[:-1], out=rows[1:, 1:])
    texts = [
        # Neither compressed nor of any language: as Pillow's add_itxt writes it.
        _png_chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + value.encode())
        for key, value in (text or {}).items()
    ]
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_COLOURS[channels], 0, 0, 0)
    data = _png_chunk(b"IDAT", zlib.compress(rows, 1))
    png = b"".join([PNG_SIGNATURE, _png_chunk(b"IHDR", header), *texts, data, PNG_END])
    # isal 1.9 leaves the upper halves of AVX registers set. Until they are cleared, as NumPy's vectorised functions do
    # when they return, scalar code runs several times slower on Intel: 128 random numbers in 14 µs instead of 3.
    np.add(_ANYTHING, _ANYTHING)
    return png


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def encode_animation(frames: UInt8Array, format: str, *, fps: float) -> bytes:
    """An endless animation of uint8 [N, H, W, C]: ``gif`` (gray exact, colour in 256 shades) or ``webp`` (lossless)."""
    options: dict[str, Any] = {"lossless": True} if format == "webp" else {}
    first, *rest = (to_pil(frame) for frame in frames)
    out = io.BytesIO()
    first.save(out, format, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, **options)
    return out.getvalue()
