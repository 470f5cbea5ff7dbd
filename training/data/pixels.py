"""Decode many image files into one array."""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gan_serve.errors import DataError
from gan_serve.images.pixels import BROKEN, UInt8Array, crop_and_resize
from gan_serve.training.data.image_files import SIXTEEN_BITS, read_image
from gan_serve.training.data.image_set import MAX_LEFT_OUT, MODES, LeftOut, Wanted, examples, new_images

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, OSError, OverflowError, EOFError, zlib.error, lzma.LZMAError)
# A zip member may be encrypted, or compressed by a method that Python does not know.
UNREADABLE = (*BROKEN, *DAMAGED, RuntimeError, NotImplementedError)


class Entry(NamedTuple):
    """An image file: its path with ``/`` as seen from the source, and a function that reads its bytes."""

    name: str
    read: Callable[[], bytes]


class Pixels(NamedTuple):
    """The images that could be read.

    images: uint8 [n, side, side, C]. readable: their positions in ``rows``. broken: the others.
    size: width and height in the files, of most of them. extremes: the smallest and the largest.
    notes: about sizes and 16-bit values.
    """

    images: UInt8Array
    readable: list[int]
    broken: tuple[LeftOut, ...]
    size: tuple[int, int]
    extremes: tuple[tuple[int, int], tuple[int, int]]
    notes: tuple[str, ...]


def read_pixels(entries: Callable[[], Iterable[Entry]], rows: Sequence[int], wanted: Wanted, where: str) -> Pixels:
    """Decode the entries at the positions ``rows``, in that order, into one array that is allocated once.

    Without a resolution the first image that can be read gives it; without channels they are 1 as long as all images
    are gray. Where 16-bit images use 15 bits or fewer, all are read again with white at the largest value of those
    bits. Peak memory: the array, a third of it where gray turns to RGB, and the image that is being decoded.

    Raises:
        DataError: more than ``MAX_LEFT_OUT`` of them cannot be read.
    """
    reader = _Reader(rows, wanted)
    reader.read(entries())
    if 0 < reader.maximum < 2**15:
        bits = reader.maximum.bit_length()
        reader = _Reader(rows, wanted, white=2**bits - 1)
        reader.read(entries())
        reader.notes.append(f"16-bit images use {bits} bits: white is {2**bits - 1}.")
    broken = tuple(reader.broken[row] for row in sorted(reader.broken))
    images = reader.images
    if images is None or len(broken) > MAX_LEFT_OUT * len(rows):
        shown = examples([f"{file}: {reason}" for file, reason, _ in broken])
        raise DataError(
            f"{len(broken)} of {len(rows)} images in {where} cannot be read ({shown}).",
            f"Up to {MAX_LEFT_OUT:.0%} are left out; beyond that, repair or remove them.",
        )
    readable = [row for row in range(len(rows)) if row not in reader.broken]
    if broken:
        for target, row in enumerate(readable):  # in place: the set may fill the memory
            images[target] = images[row]
    [(size, count)] = reader.sizes.most_common(1)
    if len(reader.sizes) > 1 and 2 * count > len(readable):
        reader.notes.append(f"sizes differ; {count:,} of {len(readable):,} images have {size[0]}x{size[1]}.")
    by_area = sorted(reader.sizes, key=lambda each: each[0] * each[1])
    extremes = (by_area[0], by_area[-1])
    return Pixels(images[: len(readable)], readable, broken, size, extremes, tuple(reader.notes))


class _Reader:
    """Decodes entries into an array."""

    def __init__(self, rows: Sequence[int], wanted: Wanted, white: int = SIXTEEN_BITS) -> None:
        self._row_of = {position: row for row, position in enumerate(rows)}
        self._wanted, self._white = wanted, white
        self._resolution = wanted.resolution
        self.images: UInt8Array | None = None
        self.broken: dict[int, LeftOut] = {}
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.maximum = 0  # of 16-bit values
        self.notes: list[str] = []

    def read(self, entries: Iterable[Entry]) -> None:
        for position, entry in enumerate(entries):
            row = self._row_of.get(position)
            if row is None:
                continue
            try:
                decoded = read_image(io.BytesIO(entry.read()), self._resolution, white=self._white)
            except UNREADABLE as error:
                self.broken[row] = LeftOut(entry.name, str(error).replace("\n", " "), broken=True)
                continue
            image = decoded.image
            self.sizes[decoded.size] += 1
            self.maximum = max(self.maximum, decoded.maximum)
            if not self._resolution:
                self._resolution = self._wanted.side_for(image.size)
            side = self._resolution
            image = image if image.size == (side, side) else crop_and_resize(image, side)
            images = self._array(side, len(image.getbands()))
            count = images.shape[3]
            images[row] = np.asarray(image.convert(MODES[count])).reshape(side, side, count)

    def _array(self, side: int, bands: int) -> UInt8Array:
        """Return the array for images of so many bands: gray becomes RGB at the first image with colour."""
        channels = self._wanted.channels
        if self.images is None:
            self.images = new_images(len(self._row_of), side, channels or bands)
        elif channels is None and bands == 3 and self.images.shape[3] == 1:
            gray, self.images = self.images, new_images(len(self._row_of), side, 3)
            self.images[:] = gray  # the same value in all three
        return self.images
