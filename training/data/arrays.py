"""Arrays in npz and npy files: their headers are checked before anything is allocated, and images are read by parts."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from gan_serve.errors import DataError
from gan_serve.images.pixels import UInt8Array, on_white
from gan_serve.npy_header import read_npy_header
from gan_serve.training.data.class_names import texts, with_labels
from gan_serve.training.data.formats import suffix_of
from gan_serve.training.data.image_set import ImageSet, Wanted, check_claim, check_memory, list_names

ARRAY_ERRORS = (
    OSError, ValueError, TypeError, EOFError, SyntaxError, RuntimeError, NotImplementedError, zipfile.BadZipFile,
    OverflowError, zlib.error, tokenize.TokenError,
)  # fmt: skip
TRAIN = Wanted()
PART_BYTES = 16 * 2**20
MAX_ARRAYS = 1000
FORM = "Store uint8 [N, H, W] or [N, H, W, 1 or 3]."
# Names of the images and labels of a split: our own, Keras', MedMNIST's.
LABELS_OF = {
    "images": "labels", "x_{split}": "y_{split}", "X_{split}": "y_{split}", "{split}_images": "{split}_labels",
}  # fmt: skip


@dataclass(frozen=True)
class StoredArray:
    """An array in a file: its shape, dtype and order, and a function that opens the file at its header."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    open: Callable[[], AbstractContextManager[BinaryIO]]

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> npt.NDArray[Any]:
        """Return the whole array."""
        with self.open() as file:
            read_npy_header(file)
            raw = file.read(self.nbytes)
        if len(raw) != self.nbytes:
            raise ValueError(f"an array of {self.nbytes} bytes is cut short at {len(raw)}")
        return np.frombuffer(raw, self.dtype).reshape(self.shape, order="F" if self.fortran else "C")

    def parts(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield the array in parts of a few megabytes: the first row of each, and its rows."""
        if self.fortran:
            yield 0, self.read()
            return
        row_bytes = max(1, self.nbytes // max(1, self.shape[0]))
        step = max(1, PART_BYTES // row_bytes)
        with self.open() as file:
            read_npy_header(file)
            for start in range(0, self.shape[0], step):
                count = min(step, self.shape[0] - start)
                raw = file.read(count * row_bytes)
                if len(raw) != count * row_bytes:
                    raise ValueError("an array is cut short")
                yield start, np.frombuffer(raw, self.dtype).reshape(count, *self.shape[1:])


def stored_arrays(path: Path) -> dict[str, StoredArray]:
    """Return the arrays of an npz by their names, or that of an npy under the name ``images``; none is read yet.

    Raises:
        One of ``ARRAY_ERRORS``: it is no such file, or holds objects. DataError: it claims more than the file can hold.
    """
    if suffix_of(path.name) == ".npy":
        with open(path, "rb") as file:
            stored = _stored(lambda: open(path, "rb"), file)  # noqa: SIM115
            held = path.stat().st_size - file.tell()
        _check_held(stored.nbytes, held, str(path))
        return {"images": stored}
    arrays: dict[str, StoredArray] = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            if len(arrays) == MAX_ARRAYS:
                raise ValueError(f"it has more than {MAX_ARRAYS:,} arrays")
            with archive.open(info) as member:
                stored = _stored(_member_opener(path, info.filename), member)  # type: ignore[arg-type]
                held = info.file_size - member.tell()
            where = f"'{info.filename.removesuffix('.npy')}' in {path}"
            _check_held(stored.nbytes, held, where)
            check_claim(stored.nbytes, info.compress_size, where)
            arrays[info.filename.removesuffix(".npy")] = stored
    return arrays


def read_npz(path: Path, wanted: Wanted = TRAIN, key: str = "") -> ImageSet:
    """Read images of an npz or npy.

    Args:
        path: the file. An npz has ``images`` (with ``labels``, ``class_names``, ``filenames``), or for each split
            ``x_train`` and ``y_train`` as Keras has them, or ``train_images`` and ``train_labels`` as MedMNIST.
        wanted: the split, and whether labels are asked for.
        key: the array to take as images, if not one of these.

    Images are [N, H, W], [N, H, W, 1, 3 or 4] or [N, 1 or 3, H, W]; uint8, other integers, booleans or floats from 0
    to 1, -1 to 1 or 0 to 255.

    Raises:
        DataError: no such array, another shape or range, labels that do not fit.
    """
    try:
        arrays = stored_arrays(path)
        found = [name for name in LABELS_OF if name.format(split=wanted.split) in arrays]
        name = key or (found[0].format(split=wanted.split) if found else "")
        if name not in arrays:
            asked = repr(key) if key else "'images'"
            raise DataError(
                f"{path} has no array {asked}; it has: {list_names(arrays)}.",
                f"{FORM} Another name is given as {path.name}:NAME.",
            )
        images, notes = _read_images(arrays[name], f"'{name}' in {path}")
        label_key = LABELS_OF[found[0]].format(split=wanted.split) if found and not key else "labels"
        small = {
            name: _read_small(arrays[name], len(images), f"'{name}' in {path}")
            for name in (label_key, "class_names", "filenames") if name in arrays
        }  # fmt: skip
    except ARRAY_ERRORS as error:
        raise DataError(f"{path} is not a readable npz: {error}.", "Write it with numpy.savez_compressed.") from error
    filenames = small.get("filenames", np.array([]))
    names = tuple(texts(filenames)) if filenames.shape == (len(images),) else ()
    has_test = not key and any("{split}" in name and name.format(split="test") in arrays for name in LABELS_OF)
    data = ImageSet(path.stem, images, names=names, split=wanted.split, has_test=has_test, notes=notes)
    labels = small.get(label_key)
    if labels is None or not wanted.labels or (key and len(np.atleast_1d(labels)) != len(images)):
        return data
    if labels.ndim not in (1, 2) or len(labels) != len(images):
        raise DataError(
            f"'{label_key}' in {path} is {labels.dtype} {list(labels.shape)}.",
            f"It must be whole numbers or words [{len(images)}].",
        )
    return with_labels(
        data, labels, f"'{label_key}' in {path}", small.get("class_names", np.array([])).ravel().tolist()
    )


def _stored(opener: Callable[[], AbstractContextManager[BinaryIO]], file: BinaryIO) -> StoredArray:
    shape, fortran, dtype = read_npy_header(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return StoredArray(shape, dtype, fortran, opener)


def _member_opener(path: Path, name: str) -> Callable[[], AbstractContextManager[BinaryIO]]:
    @contextmanager
    def opener() -> Iterator[BinaryIO]:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            yield member  # type: ignore[misc]

    return opener


def _check_held(claimed: int, held: int, where: str) -> None:
    if claimed > held:
        raise DataError(f"{where} claims {claimed} bytes and has {held}.", "Write the file again.")


def _read_small(array: StoredArray, count: int, where: str) -> npt.NDArray[Any]:
    """Read labels or names, of which ``count`` images justify no more than a few kilobytes each."""
    if array.nbytes > 2**20 + 4096 * count:
        raise DataError(f"{where} has {array.nbytes} bytes for {count} images.", "Store one value for each image.")
    return array.read()


def _read_images(array: StoredArray, where: str) -> tuple[UInt8Array, tuple[str, ...]]:
    """Return images uint8 [N, H, W, 1 or 3] of an array in another layout or range, and notes about both."""
    shape = (*array.shape, 1) if len(array.shape) == 3 else array.shape
    channels_first = len(shape) == 4 and shape[3] not in (1, 3, 4) and shape[1] in (1, 3)
    height, width, bands = (*shape[2:], shape[1]) if channels_first else (*shape[1:], 0, 0, 0)[:3]
    if len(shape) != 4 or bands not in (1, 3, 4) or 0 in (height, width) or array.dtype.kind not in "buif":
        raise DataError(f"{where} is {array.dtype} {list(shape)}.", FORM)
    notes = []
    if channels_first:
        notes.append(f"{where} is [N, C, H, W]: channels are moved to the end.")
    channels = 1 if bands == 1 else 3
    check_memory(shape[0] * height * width * channels, f"{shape[0]} images of {width}x{height}")
    low, high = (0.0, 255.0) if array.dtype == np.uint8 else _range(array, where)
    if array.dtype != np.uint8:
        notes.append(f"{where} is {array.dtype}: {low:g} becomes 0 and {high:g} becomes 255.")
    if bands == 4:
        notes.append(f"{where} has four channels: transparency becomes white.")
    images = np.empty((shape[0], height, width, channels), np.uint8)
    for start, part in array.parts():
        values = part.reshape(len(part), *shape[1:])
        if channels_first:
            values = values.transpose(0, 2, 3, 1)
        if array.dtype != np.uint8:
            scaled = (values.astype(np.float32) - low) * (255 / (high - low))
            values = scaled.round().clip(0, 255).astype(np.uint8)
        rows = images[start : start + len(part)]
        if bands == 4:
            for row, image in zip(rows, values, strict=True):
                row[:] = on_white(Image.fromarray(image))
        else:
            rows[:] = values
    return images, tuple(notes)


def _range(array: StoredArray, where: str) -> tuple[float, float]:
    """Return the values that are black and white in an array that is not uint8."""
    lows, highs = zip(*((float(part.min()), float(part.max())) for _, part in array.parts() if part.size), strict=True)
    low, high = min(lows), max(highs)
    refused = DataError(
        f"{where} is {array.dtype} {list(array.shape)} with values from {low:g} to {high:g}.",
        "Store uint8, or floats from 0 to 1, -1 to 1 or 0 to 255.",
    )
    if array.dtype.kind == "b":
        return 0.0, 1.0
    if array.dtype.kind in "ui":
        if low < 0 or high > 65535:
            raise refused
        return (0.0, 255.0) if high <= 255 else (0.0, float(2 ** int(high).bit_length() - 1))
    if not np.isfinite([low, high]).all() or low == high or low < -1 or high > 255:
        raise refused
    if high <= 1:
        return (-1.0, 1.0) if low < 0 else (0.0, 1.0)
    if low < 0:
        raise refused
    return 0.0, 255.0
