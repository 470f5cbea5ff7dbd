"""IDX files as MNIST and its successors have them, and CIFAR-10's binary records."""

from __future__ import annotations

import gzip
import os
import re
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from gan_serve.errors import DataError
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.class_names import with_labels
from gan_serve.training.data.image_set import ImageSet, Wanted, check_claim

IDX_FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
             "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}  # fmt: skip
# train-images-idx3-ubyte, train-images.idx3-ubyte, emnist-letters-train-images-idx3-ubyte.gz
NAME = re.compile(r"(.*?)(train|t10k|test)[-_.](images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?", re.IGNORECASE)
CIFAR10_BATCHES = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
CIFAR10_BATCH_BYTES = 10_000 * (1 + 3 * 32 * 32)


def has_idx(folder: Path) -> bool:
    """Return whether ``folder`` holds IDX images under names like MNIST's."""
    return bool(_parts_of(folder, "images"))


def read_idx_source(path: Path, wanted: Wanted) -> ImageSet:
    """Read the images and, where there is a file of them, the labels of one split.

    Args:
        path: a folder, or a file of images.
        wanted: the split (of a folder), and whether labels are asked for.

    Raises:
        DataError: no file of the split, files of several data sets, a damaged file, labels that do not fit.
    """
    name, folder, has_test = path.name, path if path.is_dir() else path.parent, False
    if path.is_dir():
        images = _parts_of(folder, "images")
        prefixes = sorted({prefix for prefix, _ in images})
        if len(prefixes) > 1:
            raise DataError(f"{path} holds several data sets: {', '.join(prefixes)}.", "Give one file of images.")
        part = (prefixes[0], wanted.split)
        if part not in images:
            raise DataError(
                f"{path} has no {IDX_FILES[wanted.split][0]}[.gz].", f"Put the {wanted.split} images there."
            )
        path, has_test = images[part], (prefixes[0], "test") in images
    else:
        match = NAME.fullmatch(path.name)
        part = (match[1], _split(match[2])) if match else ("", "")
    labels = _parts_of(folder, "labels").get(part) if wanted.labels else None
    data = read_idx_pair(path, labels, name).with_(has_test=has_test)
    if "emnist" in part[0].casefold():
        turned = np.ascontiguousarray(data.images.transpose(0, 2, 1, 3))
        return data.with_(images=turned).noting("EMNIST stores images by columns: they are turned upright.")
    return data


def read_idx_pair(image_file: Path, label_file: Path | None, name: str) -> ImageSet:
    """Read the images of one IDX file and the labels of another."""
    data = ImageSet(name, read_idx(image_file, dimensions=3)[..., None])
    if label_file is None:
        return data
    return with_labels(data, read_idx(label_file, dimensions=1), str(label_file))


def read_idx(path: Path, dimensions: int) -> UInt8Array:
    """Read IDX as MNIST uses it: two zero bytes, 8 for uint8, the number of dimensions, big-endian sizes, the data."""
    try:
        with open_unpacked(path) as file:
            header = file.read(4 + 4 * dimensions)
            if header[:4] != bytes((0, 0, 8, dimensions)) or len(header) != 4 + 4 * dimensions:
                raise _not_whole(path, dimensions)
            shape = tuple(int(size) for size in np.frombuffer(header[4:], ">u4"))
            count = int(np.prod(shape, dtype=object))
            check_claim(count, path.stat().st_size, str(path))
            values = np.empty(count, np.uint8)
            if _fill(file, values) != count or file.read(1):
                raise _not_whole(path, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Fetch the file again.") from error
    # Without pixels there are no images, and NumPy makes no array whose other sides are too large.
    return values.reshape(shape if count else (0,) * dimensions)


def open_unpacked(path: Path) -> BinaryIO:
    """Open a file that may be gzipped."""
    return gzip.open(path) if path.suffix.casefold() == ".gz" else open(path, "rb")  # type: ignore[return-value]


def read_cifar10(archive: Path, split: str, name: str) -> ImageSet:
    """Read CIFAR-10's binary version: records of a label and 3x32x32 pixels, in the order of the batches."""
    batches: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                if file and PurePosixPath(member.name).name in CIFAR10_BATCHES[split]:
                    batches[PurePosixPath(member.name).name] = file.read(CIFAR10_BATCH_BYTES)
        raw = b"".join(batches[batch] for batch in CIFAR10_BATCHES[split])
        records = np.frombuffer(raw, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError, ValueError) as error:
        raise DataError(f"{archive} is not CIFAR-10's binary version: {error}.", "Fetch the file again.") from error
    images = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return ImageSet(name, images, records[:, 0].astype(np.int64), split=split)


def _parts_of(folder: Path, content: str) -> dict[tuple[str, str], Path]:
    """Return the files of images or labels in a folder by the prefix of their names and their split."""
    found = {}
    for file in sorted(os.listdir(folder), reverse=True):  # plain files win over gzipped ones
        match = NAME.fullmatch(file)
        if match and match[3].casefold() == content and (folder / file).is_file():
            found[match[1], _split(match[2])] = folder / file
    return found


def _split(word: str) -> str:
    return "train" if word.casefold() == "train" else "test"


def _fill(file: BinaryIO, values: UInt8Array) -> int:
    """Read into ``values`` until they are full or the file ends; return the number of bytes."""
    view, filled = values.data, 0
    while filled < len(values) and (count := file.readinto(view[filled:])):  # type: ignore[attr-defined]
        filled += count
    return filled


def _not_whole(path: Path, dimensions: int) -> DataError:
    return DataError(f"{path} is not a whole IDX file of {dimensions} dimensions.", "Fetch the file again.")
