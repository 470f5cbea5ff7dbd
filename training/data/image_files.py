"""Read one image file as pixels: upright, on white, 8 bits, gray where it is gray."""

from __future__ import annotations

import io
import math
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gan_serve.images.pixels import crop_and_resize, on_white, to_pil
from gan_serve.training.data.formats import FORMATS

MAX_PIXELS = 50_000_000  # of one image: at most 200 MB while it is decoded; larger JPEGs are decoded at a lower size
MAX_SCANNED = 8_000_000_000  # pixels of all scans of a JPEG, which take some five seconds: an image has up to ten scans
MAX_COMPOSITE = 12_000_000  # pixels that are blended with white at full size; larger images are shrunk before
STRIP = 64  # rows at a time where an image is shrunk
SIXTEEN_BITS = 65535


class Decoded(NamedTuple):
    """An image of mode L or RGB, its size in the file, and the largest value of 16-bit pixels (0 for 8 bits)."""

    image: Image.Image
    size: tuple[int, int]
    maximum: int


def read_image(file: io.BytesIO, resolution: int | None = None, *, white: int = SIXTEEN_BITS) -> Decoded:
    """Read an image as mode L or RGB, cut and resized to ``resolution`` where one is given.

    It is turned as its EXIF orientation says; transparency becomes white; 16 bits become 8 (``white``, the value of
    white in 16-bit pixels, becomes 255); gray stays gray also in a palette.

    Raises:
        One of ``BROKEN``: it cannot be read, has more than ``MAX_PIXELS``, or values of no known range (32 bits).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images, which MAX_PIXELS bounds, and of damaged metadata
        try:
            opened = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            raise ValueError(f"cannot identify image: it is none of {', '.join(FORMATS)}") from None
        with opened:
            size = opened.size
            if opened.format in ("JPEG", "MPO") and _scans(file) * math.prod(size) > MAX_SCANNED:
                raise ValueError(f"it is a JPEG of {_scans(file):,} scans")
            side = resolution or (1024 if math.prod(size) > MAX_PIXELS else None)
            if side:
                opened.draft(None, (2 * side, 2 * side))  # JPEG: decode no more than needed
            most = MAX_PIXELS // 2 if opened.format == "WEBP" else MAX_PIXELS  # its decoder keeps two copies as RGBA
            if math.prod(opened.size) > most:
                raise ValueError(f"it has {size[0]}x{size[1]} pixels; {most} are read at most")
            before = opened.width - opened.height
            ImageOps.exif_transpose(opened, in_place=True)  # in place, and no copy below: the image may be large
            if before * (opened.width - opened.height) < 0:
                size = size[::-1]
            opened.load()
            image, maximum = _eight_bits(opened, white)
    return Decoded(crop_and_resize(image, resolution) if resolution else image, size, maximum)


def _scans(file: io.BytesIO) -> int:
    """Return the number of scans of a JPEG, or a few more: the video that some cameras append may look like some."""
    return file.getvalue().count(b"\xff\xda")


def _eight_bits(image: Image.Image, white: int) -> tuple[Image.Image, int]:
    """Return ``image`` as mode L or RGB, and the largest value of 16-bit pixels."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # Pillow scales PGM to 65535
        values = np.asarray(image)
        scaled = np.empty(values.shape, np.uint8)
        for top in range(0, len(values), STRIP):
            strip = values[top : top + STRIP].astype(np.uint32)
            scaled[top : top + STRIP] = np.minimum(strip * 255 // white, 255)
        maximum = int(values.max(initial=0)) if image.mode != "I" else SIXTEEN_BITS
        return Image.fromarray(scaled), maximum
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits of no known range; save it with 8 or 16 bits")
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image, 0
    if image.mode == "1":
        return image.convert("L"), 0
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return image.convert("RGB"), 0
    return to_pil(on_white(_shrunk_rgba(image))), 0


def _shrunk_rgba(image: Image.Image) -> Image.Image:
    """Return ``image`` as RGBA of at most ``MAX_COMPOSITE`` pixels, by whole factors and a strip at a time."""
    factor = math.ceil(math.sqrt(math.prod(image.size) / MAX_COMPOSITE))
    if factor <= 1:
        return image.convert("RGBA")
    width, height = (math.ceil(length / factor) for length in image.size)
    shrunk = Image.new("RGBA", (width, height))
    for top in range(0, image.height, STRIP * factor):
        strip = image.crop((0, top, image.width, min(top + STRIP * factor, image.height)))
        strip.info = image.info  # the colour of a palette that is transparent
        shrunk.paste(strip.convert("RGBA").reduce(factor), (0, top // factor))
    return shrunk
