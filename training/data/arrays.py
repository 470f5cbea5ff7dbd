"""Arrays of images: IDX files as MNIST has them, an npz, and CIFAR-10's binary records."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from gan_serve.errors import DataError
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.image_set import MAX_CLASSES, ImageSet

IDX_FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
             "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}  # fmt: skip
CIFAR10_BATCHES = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
NPZ_ERRORS = (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


def find_idx(folder: Path, stem: str) -> Path | None:
    """The IDX file called ``stem`` in ``folder``, plain or gzipped."""
    candidates = (folder / stem, folder / f"{stem}.gz")
    return next((path for path in candidates if path.is_file()), None)


def has_idx(folder: Path) -> bool:
    """Whether ``folder`` holds IDX images under MNIST's file names."""
    return any(find_idx(folder, images) for images, _ in IDX_FILES.values())


def read_idx_folder(folder: Path, split: str) -> ImageSet:
    """Images and, where they are there, labels of one split."""
    image_stem, label_stem = IDX_FILES[split]
    image_file, label_file = find_idx(folder, image_stem), find_idx(folder, label_stem)
    if image_file is None:
        raise DataError(f"{folder} has no {image_stem}[.gz].", f"Put the {split} images there.")
    return read_idx_pair(image_file, label_file, folder.name)


def read_idx_pair(image_file: Path, label_file: Path | None, name: str) -> ImageSet:
    """Images of one IDX file and the labels of another."""
    images = read_idx(image_file, dimensions=3)[..., None]
    if label_file is None:
        return ImageSet(name, images)
    labels = read_idx(label_file, dimensions=1).astype(np.int64)
    if len(labels) != len(images):
        raise DataError(f"{label_file} has {len(labels)} labels for {len(images)} images.", "Fetch both files again.")
    return ImageSet(name, images, labels, tuple(str(label) for label in range(int(labels.max(initial=0)) + 1)))


def read_idx(path: Path, dimensions: int) -> UInt8Array:
    """IDX as MNIST uses it: two zero bytes, 8 for uint8, the number of dimensions, their big-endian sizes, the data."""
    raw = unpacked(path)
    header = 4 + 4 * dimensions
    shape = tuple(int(size) for size in np.frombuffer(raw[4:header], ">u4"))
    if raw[:4] != bytes((0, 0, 8, dimensions)) or len(raw) != header + int(np.prod(shape)):
        raise DataError(f"{path} is not a whole IDX file of {dimensions} dimensions.", "Fetch the file again.")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def unpacked(path: Path) -> bytes:
    """The content of a file that may be gzipped."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Fetch the file again.") from error


def read_npz(path: Path) -> ImageSet:
    """``images`` uint8 [N, H, W] or [N, H, W, 1 or 3], with ``labels`` [N], ``class_names`` and ``filenames`` [N]."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            known = ("images", "labels", "class_names", "filenames")
            contents = {name: arrays[name] for name in known if name in arrays}
            found = ", ".join(arrays.files)
    except NPZ_ERRORS as error:
        raise DataError(f"{path} is not a readable npz: {error}.", "Write it with numpy.savez_compressed.") from error
    if "images" not in contents:
        raise DataError(f"{path} has no array 'images'; it has: {found}.", "Store uint8 [N, H, W] or [N, H, W, C].")
    images = contents["images"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:]:
        raise DataError(
            f"'images' in {path} is {images.dtype} {list(images.shape)}.",
            "It must be uint8 [N, H, W] or [N, H, W, 1 or 3].",
        )
    filenames = contents.get("filenames", np.array([]))
    names = tuple(map(str, filenames)) if filenames.shape == (len(images),) else ()
    if "labels" not in contents:
        return ImageSet(path.stem, images, names=names)
    labels = contents["labels"]
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
        raise DataError(
            f"'labels' in {path} is {labels.dtype} {list(labels.shape)}.",
            f"It must be whole numbers [{len(images)}], from 0.",
        )
    count = int(labels.max(initial=0)) + 1
    if count > MAX_CLASSES:
        raise DataError(f"'labels' in {path} go up to {count - 1}.", f"There may be {MAX_CLASSES} classes, from 0.")
    class_names = tuple(str(name) for name in np.atleast_1d(contents.get("class_names", np.arange(count))))
    if len(class_names) < count:
        raise DataError(f"{path} names {len(class_names)} classes for {count} labels.", "Name every class.")
    return ImageSet(path.stem, images, labels.astype(np.int64), class_names, names=names)


def read_cifar10(archive: Path, split: str, name: str) -> ImageSet:
    """CIFAR-10's binary version: records of a label and 3x32x32 pixels, in the order of the batches."""
    batches: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                if file and PurePosixPath(member.name).name in CIFAR10_BATCHES[split]:
                    batches[PurePosixPath(member.name).name] = file.read()
        raw = b"".join(batches[batch] for batch in CIFAR10_BATCHES[split])
        records = np.frombuffer(raw, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError, ValueError) as error:
        raise DataError(f"{archive} is not CIFAR-10's binary version: {error}.", "Fetch the file again.") from error
    images = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return ImageSet(name, images, records[:, 0].astype(np.int64))
