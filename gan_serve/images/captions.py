"""Write text beside and above images, and enlarge small ones, for people who look at them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gan_serve.images.pixels import UInt8Array, enlarge, from_pil, to_pil

FONT_SIZE = 12
LINE = 18  # pixels of a line of text
SMALL = 32  # pixels of an image up to which sheets of it are enlarged


def enlarge_small(sheet: UInt8Array, side: int) -> UInt8Array:
    """Return a sheet of images of ``side`` pixels, twice as large if these are small."""
    return enlarge(sheet, 2) if side <= SMALL else sheet


def with_caption(image: UInt8Array, text: str) -> UInt8Array:
    """Return an image uint8 [H, W, C] with a line of black text on white above it, uint8 [H + 18, W, C]."""
    return np.concatenate([_text(image.shape[1], LINE, image.shape[2], [(4, LINE / 2, text)]), image])


def with_row_names(image: UInt8Array, names: Sequence[str]) -> UInt8Array:
    """Return an image uint8 [H, W, C] with a name at the left of each of ``len(names)`` rows of equal height."""
    font = ImageFont.load_default(FONT_SIZE)
    width = 8 + round(max(font.getlength(name) for name in names))
    height = image.shape[0] / len(names)
    rows = [(4, (number + 0.5) * height, name) for number, name in enumerate(names)]
    return np.concatenate([_text(width, image.shape[0], image.shape[2], rows), image], axis=1)


def _text(width: int, height: int, channels: int, lines: Sequence[tuple[float, float, str]]) -> UInt8Array:
    """Return lines of text on white, each given by its left edge and the middle of its height."""
    picture = to_pil(np.full((height, width, channels), 255, np.uint8))
    canvas, font = ImageDraw.Draw(picture), ImageFont.load_default(FONT_SIZE)
    for left, middle, text in lines:
        canvas.text((left, middle), text, fill=0 if channels == 1 else (0, 0, 0), font=font, anchor="lm")
    return from_pil(picture)


def resized(image: UInt8Array, width: int) -> UInt8Array:
    """Return an image uint8 [H, W, C] with ``width`` pixels in a row, its height in proportion."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return from_pil(to_pil(image).resize((width, height), Image.Resampling.LANCZOS))
