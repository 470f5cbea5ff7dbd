"""Arrays of pixels, uint8 [H, W, C] or [N, H, W, C] with C 1 (gray) or 3 (RGB), and Pillow images."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
from PIL import Image

# Raised by Pillow for damaged files: its decoders trust lengths and indices that they find in them.
BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, LookupError, TypeError, OverflowError,
    Image.DecompressionBombError,
)  # fmt: skip

UInt8Array = npt.NDArray[np.uint8]


def to_pil(pixels: UInt8Array) -> Image.Image:
    """Return uint8 [H, W, C] as a Pillow image, mode L or RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def from_pil(image: Image.Image) -> UInt8Array:
    """Return the pixels of a gray or RGB Pillow image, uint8 [H, W, C].

    Raises:
        ValueError: the image has another mode, such as a palette, whose values are not gray or RGB.
    """
    if image.mode not in ("L", "RGB"):
        raise ValueError(f"the image is of mode {image.mode}, not L or RGB")
    return np.asarray(image).reshape(image.height, image.width, -1)


def enlarge(pixels: UInt8Array, scale: int) -> UInt8Array:
    """Return uint8 [H, W, C] with each pixel as a square of ``scale`` x ``scale``: uint8 [H·scale, W·scale, C].

    >>> enlarge(np.arange(2, dtype=np.uint8).reshape(1, 2, 1), 2)[..., 0].tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    return pixels if scale == 1 else pixels.repeat(scale, axis=0).repeat(scale, axis=1)
