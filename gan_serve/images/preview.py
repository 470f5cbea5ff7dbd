"""Show images in a terminal: two pixels a character, in 24-bit colour."""

from __future__ import annotations

import math

import numpy as np

from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, to_pil

WIDTH, HEIGHT = 78, 48  # pixels at most: 78 columns, 24 lines
MOST = 16  # images
UPPER_HALF = "\N{UPPER HALF BLOCK}"


def terminal_preview(images: UInt8Array) -> str:
    """Return the first images as lines of coloured half blocks.

    Args:
        images: uint8 [N, H, W, C]; at most 16 are shown, made smaller to fit 78 columns and 24 lines.

    >>> terminal_preview(np.zeros((1, 2, 2, 1), np.uint8)).count(UPPER_HALF)
    18
    """
    shown = images[:MOST]
    columns = max(1, min(len(shown), round(math.sqrt(len(shown) * WIDTH / HEIGHT))))
    picture = to_pil(grid(shown, columns)).convert("RGB")
    picture.thumbnail((WIDTH, HEIGHT))
    pixels = np.asarray(picture)
    if len(pixels) % 2:
        pixels = np.concatenate([pixels, pixels[-1:]])
    lines = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{r};{g};{b};48;2;{r2};{g2};{b2}m{UPPER_HALF}"
            for (r, g, b), (r2, g2, b2) in zip(upper, lower, strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)
