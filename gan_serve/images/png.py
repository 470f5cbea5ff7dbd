"""Encode PNG and gzip, several times faster than Pillow and zlib (benchmarks/sampling.md)."""

from __future__ import annotations

import struct

import numpy as np

from gan_serve.images.cancellation import check_wanted
from gan_serve.images.pixels import UInt8Array

try:
    from isal import isal_zlib as zlib  # the functions of zlib, several times faster
except ImportError:  # no wheel for this platform, see pyproject.toml
    import zlib  # type: ignore[no-redef]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOUR_TYPES = {1: 0, 3: 2}  # channels -> colour type: gray, RGB
PNG_FILTER_UP = 2
GZIP = 31  # window bits that make zlib write the format of gzip
# Of isal. At levels 1 and 2 the bytes sometimes depend on what the memory held before; 3 takes up to a quarter longer.
LEVEL = 3
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_ZEROS = np.zeros(256, np.uint8)


def encode_png(pixels: UInt8Array, text: dict[str, str] | None = None) -> bytes:
    """Return uint8 [H, W, C] as a PNG with ``text`` in text chunks (iTXt); equal inputs give equal bytes on a machine.

    All rows use the filter Up, the difference from the row above, which NumPy computes for the whole image; the
    compression is that of isal.

    >>> encode_png(np.zeros((28, 28, 1), np.uint8))[1:4]
    b'PNG'
    """
    check_wanted()
    height, width, channels = pixels.shape
    levels = pixels.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = PNG_FILTER_UP
    rows[0, 1:] = levels[0]
    np.subtract(levels[1:], levels[:-1], out=rows[1:, 1:])
    texts = [
        part
        for key, value in (text or {}).items()
        # Not compressed and without a language, as Pillow's add_itxt writes it.
        for part in _png_chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + value.encode())
    ]
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_COLOUR_TYPES[channels], 0, 0, 0)
    data = _png_chunk(b"IDAT", zlib.compress(rows, LEVEL))
    png = b"".join([PNG_SIGNATURE, *_png_chunk(b"IHDR", header), *texts, *data, PNG_END])
    _clear_registers()
    return png


def gzip_pixels(pixels: bytes) -> bytes:
    """Return bytes compressed as gzip; equal inputs give equal bytes on a machine."""
    compressed = zlib.compress(pixels, LEVEL, GZIP)
    _clear_registers()
    return compressed


def _clear_registers() -> None:
    """Clear the upper halves of the AVX registers, which isal 1.9 leaves set.

    Until they are cleared, as NumPy's vectorised functions do when they return, scalar code runs several times slower
    on Intel: 128 random numbers in 14 µs instead of 3.
    """
    np.add(_ZEROS, _ZEROS)


def _png_chunk(kind: bytes, content: bytes) -> tuple[bytes, ...]:
    """Return the parts of a chunk; joined only once, since a large one would be copied each time."""
    return struct.pack(">I", len(content)), kind, content, struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
