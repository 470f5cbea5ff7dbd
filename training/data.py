"""Training images from wherever they lie: IDX files, an npz, a folder of images, or a data set known by name.

Everything becomes one array in memory, uint8 [N, H, W, C]. The rule for images of another size: cut the largest square
from the middle, then resize with Lanczos. Colour becomes gray by ITU-R 601 luma where one channel is asked for. Image
files are read by ``image_files``.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from gan_serve.errors import DataError, nearest
from gan_serve.images import UInt8Array
from gan_serve.training.image_files import BROKEN, SUFFIXES, find_images, read_image, resize

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
IDX_FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
             "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}  # fmt: skip

MAX_CLASSES = 65536  # as a checkpoint's config allows

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageSet:
    """Images of one size, with labels where the source has them.

    images: uint8 [N, H, W, C], H = W, C 1 (gray) or 3 (RGB).
    labels: int64 [N] from 0 to len(class_names)-1, or None.
    license, credit: of the data, where they are known; a checkpoint's card states them.
    """

    name: str
    images: UInt8Array
    labels: Int64Array | None = None
    class_names: tuple[str, ...] = ()
    license: str = "other"
    credit: str = "the trainer's own images"

    def __len__(self) -> int:
        return len(self.images)

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
        return "sha256:" + hashlib.sha256(f"{shape}\n".encode() + self.images.tobytes()).hexdigest()


@dataclass(frozen=True)
class NamedSource:
    """A data set that is found by name: where to look, and what its labels are called."""

    folders: tuple[str, ...]
    class_names: tuple[str, ...]
    license: str
    credit: str
    how_to_get: str


NAMED_SOURCES = {
    "fashion-mnist": NamedSource(
        folders=("/usr/share/datasets/fashion-mnist",),
        class_names=FASHION_MNIST_CLASSES,
        license="mit",
        credit="Zalando SE, MIT licence (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747)",
        how_to_get="On Debian and Ubuntu: apt-get install dataset-fashion-mnist. "
        "Elsewhere, put its four *-ubyte.gz files in a folder and pass the folder.",
    )
}


def load_images(
    source: str | Path, *, split: str = "train", resolution: int | None = None, channels: int | None = None
) -> ImageSet:
    """Read a data set.

    Args:
        source: a name (``fashion-mnist``), a folder with IDX files, one IDX file, an npz with ``images``
            (and ``labels``, ``class_names``), or a folder of images (subfolders are labels).
        split: ``train`` or ``test``, where the source has both.
        resolution: wanted width and height; the source's own if None.
        channels: 1 or 3; the source's own if None.

    Raises:
        DataError: nothing there, an empty folder, broken files (each named), arrays of a wrong shape.

    >>> load_images("fashion-mnist").images.shape  # doctest: +SKIP
    (60000, 28, 28, 1)
    """
    if str(source) in NAMED_SOURCES:
        data = _read_named(str(source), split)
    else:
        path = Path(source).expanduser()
        if os.path.isdir(path):  # Path.is_dir raises where a name is too long
            data = _read_idx_folder(path, split) if _has_idx(path) else _read_folder(path, resolution, channels)
        elif path.suffix == ".npz" and os.path.isfile(path):
            data = _read_npz(path)
        elif os.path.isfile(path) and "ubyte" in path.name:
            data = ImageSet(path.name, _read_idx(path, dimensions=3)[..., None])
        elif os.path.isfile(path):
            raise DataError(
                f"{path} is neither an npz nor an IDX file.", "Give a folder of images, an .npz or IDX files."
            )
        else:
            shown = str(source) if len(str(source)) < 100 else f"{str(source)[:100]}..."
            raise DataError(
                f"There is no data at {shown}.",
                nearest(source, NAMED_SOURCES) or f"Give a folder, an .npz, or a name: {', '.join(NAMED_SOURCES)}.",
            )
    return _fit(data, resolution, channels)


def _read_named(name: str, split: str) -> ImageSet:
    source = NAMED_SOURCES[name]
    for folder in source.folders:
        if _has_idx(Path(folder)):
            data = _read_idx_folder(Path(folder), split)
            return replace(
                data, name=name, class_names=source.class_names, license=source.license, credit=source.credit
            )
    raise DataError(f"The data set {name} is not on this machine.", source.how_to_get)


def _find_idx(folder: Path, stem: str) -> Path | None:
    candidates = (folder / stem, folder / f"{stem}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _has_idx(folder: Path) -> bool:
    return any(_find_idx(folder, images) for images, _ in IDX_FILES.values())


def _read_idx_folder(folder: Path, split: str) -> ImageSet:
    image_stem, label_stem = IDX_FILES[split]
    image_file, label_file = _find_idx(folder, image_stem), _find_idx(folder, label_stem)
    if image_file is None:
        raise DataError(f"{folder} has no {image_stem}[.gz].", f"Put the {split} images there.")
    images = _read_idx(image_file, dimensions=3)[..., None]
    if label_file is None:
        return ImageSet(folder.name, images)
    labels = _read_idx(label_file, dimensions=1).astype(np.int64)
    if len(labels) != len(images):
        raise DataError(f"{label_file} has {len(labels)} labels for {len(images)} images.", "Fetch both files again.")
    return ImageSet(folder.name, images, labels, tuple(str(label) for label in range(int(labels.max(initial=0)) + 1)))


def _read_idx(path: Path, dimensions: int) -> UInt8Array:
    """IDX as MNIST uses it: two zero bytes, 8 for uint8, the number of dimensions, their big-endian sizes, the data."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Fetch the file again.") from error
    header = 4 + 4 * dimensions
    shape = tuple(int(size) for size in np.frombuffer(raw[4:header], ">u4"))
    if raw[:4] != bytes((0, 0, 8, dimensions)) or len(raw) != header + int(np.prod(shape)):
        raise DataError(f"{path} is not a whole IDX file of {dimensions} dimensions.", "Fetch the file again.")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _read_npz(path: Path) -> ImageSet:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            contents = {name: arrays[name] for name in ("images", "labels", "class_names") if name in arrays}
            names = ", ".join(arrays.files)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a readable npz: {error}.", "Write it with numpy.savez_compressed.") from error
    if "images" not in contents:
        raise DataError(f"{path} has no array 'images'; it has: {names}.", "Store uint8 [N, H, W] or [N, H, W, C].")
    images = contents["images"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:]:
        raise DataError(
            f"'images' in {path} is {images.dtype} {list(images.shape)}.",
            "It must be uint8 [N, H, W] or [N, H, W, 1 or 3].",
        )
    if "labels" not in contents:
        return ImageSet(path.stem, images)
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
    return ImageSet(path.stem, images, labels.astype(np.int64), class_names)


def _read_folder(folder: Path, resolution: int | None, channels: int | None) -> ImageSet:
    files = find_images(folder)
    if not files:
        raise DataError(f"{folder} holds no images.", f"Images end in {', '.join(sorted(SUFFIXES))}.")
    images: list[Image.Image] = []
    broken: list[str] = []
    for path in files:
        try:
            # Small at once: the folder may hold more than fits in memory.
            image = read_image(path, resolution or (images[0].width if images else None))
            images.append(resize(image, min(image.size)))
        except BROKEN as error:
            broken.append(f"{path.relative_to(folder)}: {error}")
    if broken:
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise DataError(
            f"{len(broken)} of {len(files)} images in {folder} cannot be read ({'; '.join(broken[:5])}{more}).",
            "Repair or remove them.",
        )
    mode = {1: "L", 3: "RGB"}[channels or (3 if any(image.mode == "RGB" for image in images) else 1)]
    side = images[0].width
    pixels = np.stack([np.asarray(image.convert(mode)) for image in images]).reshape(len(images), side, side, -1)
    labels, class_names = _labels_from_subfolders(folder, files)
    return ImageSet(folder.resolve().name, pixels, labels, class_names)


def _labels_from_subfolders(folder: Path, files: list[Path]) -> tuple[Int64Array | None, tuple[str, ...]]:
    if any(path.parent == folder for path in files):
        return None, ()
    parents = [path.relative_to(folder).parts[0] for path in files]
    class_names = tuple(sorted(set(parents)))
    return np.array([class_names.index(parent) for parent in parents], np.int64), class_names


def _fit(data: ImageSet, resolution: int | None, channels: int | None) -> ImageSet:
    """Bring images to the size and the channels that are wanted, by the rule above."""
    if 0 in data.images.shape:
        raise DataError(f"{data.name} holds no images.", "Give a set with at least one image.")
    height, width = data.images.shape[1:3]
    side = resolution or min(height, width)
    mode = {1: "L", 3: "RGB"}[channels or data.img_channels]
    if (height, width) == (side, side) and data.img_channels == (channels or data.img_channels):
        return data
    fitted = [
        np.asarray(resize(Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).convert(mode), side))
        for image in data.images
    ]
    images = np.stack(fitted).reshape(len(data), side, side, -1)
    return replace(data, images=images)
