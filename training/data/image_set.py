"""What every source gives: images of one size in one array, with labels where the source has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from gan_serve.errors import DataError
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.image_files import resize

Int64Array = npt.NDArray[np.int64]

MAX_CLASSES = 65536  # as a checkpoint's config allows
MODES: Final[dict[int, Literal["L", "RGB"]]] = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class ImageSet:
    """Images of one size, with labels where the source has them.

    images: uint8 [N, H, W, C], H = W, C 1 (gray) or 3 (RGB).
    labels: int64 [N] from 0 to len(class_names)-1, or None.
    license, credit: of the data, where they are known; a checkpoint's card states them.
    names: of the N images, where the source names them (paths with ``/``, as seen from the source).
    skipped: the images that could not be read, each as ``name: why``; they are in none of the arrays.
    """

    name: str
    images: UInt8Array
    labels: Int64Array | None = None
    class_names: tuple[str, ...] = ()
    license: str = "other"
    credit: str = "the trainer's own images"
    names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def only(self, rows: npt.NDArray[np.bool_] | Int64Array) -> ImageSet:
        """The images of those rows: a mask, or numbers in the order that is wanted. Class names stay as they are."""
        chosen = np.arange(len(self))[rows]
        return replace(
            self,
            images=self.images[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            names=tuple(self.names[row] for row in chosen) if self.names else (),
        )

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
    """Bring images to the size and the channels that are wanted: cut square from the middle, Lanczos, ITU-R 601 luma.

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
    fitted = new_images(len(data), side, channels)
    for row, image in zip(fitted, data.images, strict=True):
        opened = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        row[:] = np.asarray(resize(opened.convert(MODES[channels]), side)).reshape(side, side, channels)
    return replace(data, images=fitted)


def new_images(count: int, side: int, channels: int) -> UInt8Array:
    """Room for uint8 [count, side, side, channels].

    Raises:
        DataError: it does not fit in memory.
    """
    try:
        return np.empty((count, side, side, channels), np.uint8)
    except (MemoryError, ValueError) as error:
        gigabytes = count * side * side * channels / 1e9
        raise DataError(
            f"{count} images of {side}x{side} need {gigabytes:.0f} GB of memory, more than there is.",
            "Choose a lower resolution, or fewer images.",
        ) from error


def examples(items: Iterable[str], shown: int = 5) -> str:
    """A few of many, for a message: ``a; b; c and 7 more``.

    >>> examples(["a", "b", "c"], shown=2)
    'a; b and 1 more'
    """
    items = list(items)
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return "; ".join(items[:shown]) + more
