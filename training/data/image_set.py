"""The result of every reader: images of one size in one array, with labels where the source has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from gan_serve.errors import DataError
from gan_serve.images.pixels import UInt8Array, crop_and_resize, from_pil, to_pil

Int64Array = npt.NDArray[np.int64]

MAX_CLASSES = 65536  # as a checkpoint's config allows
MAX_LEFT_OUT = 0.10  # share of the images that may be broken, or without a label, before the set is refused
MAX_SIDE = 1024  # pixels; the largest resolution that a network is built for
MAX_RATIO, ALWAYS_ALLOWED = 200, 2**26  # packed data may claim 200 times their bytes, or 64 MB
OWN_IMAGES = "the trainer's own images"  # the credit of images of which nothing is known
MODES: Final[dict[int, Literal["L", "RGB"]]] = {1: "L", 3: "RGB"}


class LeftOut(NamedTuple):
    """A file that was not taken, and the reason. ``broken``: it is an image that cannot be read."""

    file: str
    reason: str
    broken: bool = False


class Wanted(NamedTuple):
    """The images to read from a source.

    split: ``train`` or ``test``.
    resolution, channels: of the result; None: as the source has them, and at most ``largest`` pixels wide.
    labels: False where the source's own labels are not asked for.
    """

    split: str = "train"
    resolution: int | None = None
    channels: int | None = None
    largest: int = MAX_SIDE
    labels: bool = True

    def side_for(self, size: tuple[int, int]) -> int:
        """Return the width and height in the result for an image of ``size``."""
        return self.resolution or min(*size, self.largest)


@dataclass(frozen=True)
class ImageSet:
    """Images of one size, with labels where the source has them.

    images: uint8 [N, H, W, C], H = W, C 1 (gray) or 3 (RGB).
    labels: int64 [N] from 0 to len(class_names)-1, or None.
    license, credit: of the data, where they are known; a checkpoint's card states them.
    names: of the N images, where the source names them (paths with ``/``, as seen from the source).
    split: which split of the source was read. has_test: the source has a test split as well.
    holdout: the share of the source's images that was held out from these.
    size: width and height in the source, of most of the images; None: as in ``images``.
    extremes: the smallest and the largest size in the source, where they are known.
    left_out: the files of the source that are in none of the arrays, with reasons.
    notes: sentences about choices that the intake made.
    """

    name: str
    images: UInt8Array
    labels: Int64Array | None = None
    class_names: tuple[str, ...] = ()
    license: str = "other"
    credit: str = OWN_IMAGES
    names: tuple[str, ...] = ()
    split: str = "train"
    has_test: bool = False
    holdout: float = 0.0
    size: tuple[int, int] | None = None
    extremes: tuple[tuple[int, int], tuple[int, int]] | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def only(self, rows: npt.NDArray[np.bool_] | Int64Array) -> ImageSet:
        """Return the images of ``rows``: a mask, or row numbers in any order. Class names stay as they are."""
        chosen = np.arange(len(self))[rows]
        return replace(
            self,
            images=self.images[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            names=tuple(self.names[row] for row in chosen) if self.names else (),
        )

    def with_(self, **changes: Any) -> ImageSet:
        """Return a copy with other fields."""
        return replace(self, **changes)

    def noting(self, *notes: str) -> ImageSet:
        """Return a copy with further notes."""
        return replace(self, notes=self.notes + notes)

    def name_of(self, row: int) -> str:
        """Return the name of an image, or its row where the source has no names."""
        return self.names[row] if self.names else f"row {row}"

    @property
    def skipped(self) -> tuple[str, ...]:
        """The images that could not be read, each as ``name: why``."""
        return tuple(f"{file}: {reason}" for file, reason, broken in self.left_out if broken)

    @property
    def sizes(self) -> str:
        """The sizes of the images in the source: ``64x64``, or ``65x68 to 199x199``."""
        of_one = self.size or (self.img_resolution, self.img_resolution)
        return " to ".join(dict.fromkeys(f"{width}x{height}" for width, height in self.extremes or (of_one,)))

    @property
    def img_resolution(self) -> int:
        """Width and height in pixels."""
        return int(self.images.shape[1])

    @property
    def img_channels(self) -> int:
        """1 for gray, 3 for RGB."""
        return int(self.images.shape[3])

    @property
    def digest(self) -> str:
        """``sha256:...`` of the images in their order: two runs with the same digest saw the same pixels."""
        shape = "x".join(map(str, self.images.shape))
        sha256 = hashlib.sha256(f"{shape}\n".encode())
        sha256.update(np.ascontiguousarray(self.images).data)
        return "sha256:" + sha256.hexdigest()

    @property
    def labels_digest(self) -> str | None:
        """``sha256:...`` of the class names and the labels in their order; None where there are no labels."""
        if self.labels is None:
            return None
        names = "\n".join([str(len(self.class_names)), *self.class_names])
        return "sha256:" + hashlib.sha256(names.encode() + b"\n" + self.labels.astype("<i8").tobytes()).hexdigest()


def fit(data: ImageSet, resolution: int | None, channels: int | None) -> ImageSet:
    """Return images of the wanted size and channels: cut square from the middle, Lanczos, ITU-R 601 luma.

    Raises:
        DataError: there are no images.
    """
    if 0 in data.images.shape:
        raise DataError(f"{data.name} holds no images.", "Give a set with at least one image.")
    height, width = data.images.shape[1:3]
    side = resolution or min(height, width)
    channels = channels or data.img_channels
    if (height, width, data.img_channels) == (side, side, channels):
        return data
    size = data.size or (width, height)
    fitted = new_images(len(data), side, channels)
    for row, image in zip(fitted, data.images, strict=True):
        row[:] = from_pil(crop_and_resize(to_pil(image).convert(MODES[channels]), side))
    return replace(data, images=fitted, size=size)


def new_images(count: int, side: int, channels: int) -> UInt8Array:
    """Allocate uint8 [count, side, side, channels].

    Raises:
        DataError: it does not fit in memory.
    """
    check_memory(count * side * side * channels, f"{count} images of {side}x{side}")
    return np.empty((count, side, side, channels), np.uint8)


def check_memory(size: int, subject: str) -> None:
    """Raise DataError where ``size`` bytes for ``subject`` are more than the free memory."""
    try:
        import psutil
    except ImportError:  # psutil is optional for training
        return
    if size > psutil.virtual_memory().available:
        raise DataError(
            f"{subject} need {size / 1e9:.0f} GB of memory, more than there is.",
            "Choose a lower resolution, or fewer images.",
        )


def check_claim(claimed: int, packed: int, where: str) -> None:
    """Raise DataError where a file of ``packed`` bytes claims far more content than images compress to."""
    if claimed > ALWAYS_ALLOWED and claimed > MAX_RATIO * packed:
        raise DataError(
            f"{where} claims {claimed / 1e6:.0f} MB in {packed / 1e6:.3g} MB.",
            f"Images compress to a few times less; more than {MAX_RATIO} times is not read. Fetch the file again.",
        )
    check_memory(claimed, f"The contents of {where}")


def list_names(items: Iterable[str]) -> str:
    """Return the names that something has, for a message: ``a, b, c and 7 more``."""
    return examples(items, shown=45, longest=20, between=", ")


def examples(items: Iterable[str], shown: int = 5, longest: int = 160, between: str = "; ") -> str:
    """Return a few of many for a message, each on one line and not too long: ``a; b; c and 7 more``.

    >>> examples(["a", "b", "c"], shown=2)
    'a; b and 1 more'
    """
    items = list(items)
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    lines = [repr(item)[1:-1] if "\n" in item or "\r" in item else item for item in items[:shown]]
    return between.join(line if len(line) <= longest else f"{line[: longest - 3]}..." for line in lines) + more
