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

STRIP = 256  # rows that are blended with white at a time, because that takes several copies
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


def on_white(image: Image.Image) -> UInt8Array:
    """Return an image with transparency on white, uint8 [H, W, C], gray if the result is gray."""
    flat = np.empty((image.height, image.width, 3), np.uint8)
    gray = True
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height))).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        rows = flat[top : top + STRIP]
        rows[:] = from_pil(Image.alpha_composite(white, strip).convert("RGB"))
        gray = gray and bool((rows[..., :1] == rows).all())
    return np.ascontiguousarray(flat[..., :1]) if gray else flat


def crop_and_resize(image: Image.Image, side: int) -> Image.Image:
    """Cut the largest square from the middle and resize it to ``side`` with Lanczos."""
    square = min(image.size)
    left, top = (image.width - square) // 2, (image.height - square) // 2
    # Not resize's own box: its filter would see beyond the cut.
    return image.crop((left, top, left + square, top + square)).resize((side, side), Image.Resampling.LANCZOS)


def enlarge(pixels: UInt8Array, scale: int) -> UInt8Array:
    """Return uint8 [H, W, C] with each pixel as a square of ``scale`` x ``scale``: uint8 [H·scale, W·scale, C].

    >>> enlarge(np.arange(2, dtype=np.uint8).reshape(1, 2, 1), 2)[..., 0].tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    return pixels if scale == 1 else pixels.repeat(scale, axis=0).repeat(scale, axis=1)
