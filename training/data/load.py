"""Load training images from any kind of source.

A folder, tar or zip of images, IDX files, an npz, parquet files, a data set known by name or one on the Hugging Face
Hub: each has a file in this folder. Everything becomes one array in memory, uint8 [N, H, W, C]. The rule for images of
another size: cut the largest square from the middle, then resize with Lanczos. Colour becomes gray by ITU-R 601 luma
where one channel is asked for.

Memory: at most three times the array that is returned, and 512 MB for the image that is being decoded.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

from gan_serve.errors import DataError
from gan_serve.training.data.arrays import read_npz
from gan_serve.training.data.formats import ARCHIVE_SUFFIXES, is_archive, is_image_name, name_of, suffix_of
from gan_serve.training.data.idx import has_idx, read_idx_source
from gan_serve.training.data.image_collections import read_image_files
from gan_serve.training.data.image_set import MAX_SIDE, ImageSet, Int64Array, Wanted, fit
from gan_serve.training.data.label_tables import NONE, read_table
from gan_serve.training.data.list_files import find_files
from gan_serve.training.data.match_labels import relabel
from gan_serve.training.data.named import NAMED_SOURCES, NamedSource, load_named
from gan_serve.training.data.parquet import read_parquet
from gan_serve.training.data.splits import HOLDOUT, check_split, files_of_split, held_out, name_a_test

__all__ = ["NAMED_SOURCES", "ImageSet", "Int64Array", "NamedSource", "load_images", "load_wanted"]

HUB_PREFIX = "hf://"
HELD_OUT = 0.1  # of the images, where neither the source nor the user sets a test split apart
FEWEST_TO_HOLD_OUT = 100
KINDS = f"Give a folder of images, an archive ({', '.join(ARCHIVE_SUFFIXES)}), an .npz, .npy, .parquet or IDX files."


def load_images(
    source: str | Path,
    *,
    split: str = "train",
    resolution: int | None = None,
    channels: int | None = None,
    labels: str | None = None,
    holdout: float | None = 0.0,
    largest: int = MAX_SIDE,
) -> ImageSet:
    """Read a data set.

    Args:
        source: a name of ``NAMED_SOURCES`` (``fashion-mnist``), ``hf://datasets/org/name[@revision][/path]``, a
            folder, tar or zip of images (subfolders are labels), a folder of such archives, a folder with IDX files,
            one IDX file, an npz or npy, parquet files. ``file.npz:name`` and ``file.parquet:column`` name the images.
        split: ``train`` or ``test``, where the source has both; or ``holdout``: the share of ``train`` that ``holdout``
            keeps from it.
        resolution: wanted width and height; if None, the source's own (of image files: that of the first), at most
            ``largest``.
        channels: 1 or 3; the source's own if None.
        labels: where labels come from, if not from the source: ``file.csv:column``, ``file.npz:attribute`` (looked for
            here, then in the source's folder); ``none`` drops the source's own.
        holdout: the share of the training images, from 0 to 1, that are left out of ``train``: for sources without a
            test split. Which ones follows from their number alone. None: 0.1 where the source has at least 100 images
            and no test split, as training does.

    Raises:
        DataError: nothing there, no images in it, a damaged file, more than a tenth of the images broken (fewer are
            left out and named in ``left_out``), arrays of a wrong shape, labels that do not fit, a failed download.
        InvalidOption: ``split`` is none of them, or nothing is held out.

    >>> load_images("fashion-mnist").images.shape  # doctest: +SKIP
    (60000, 28, 28, 1)
    """
    check_split(split, HELD_OUT if holdout is None else holdout)
    wanted = Wanted("train" if split == HOLDOUT else split, resolution, channels, largest)
    data = load_wanted(source, wanted, labels)
    if holdout is None:
        holdout = default_holdout(data)
    if holdout and split != "test":
        mask = held_out(len(data), holdout)
        if split == "train":
            data = data.noting(
                f"{mask.sum():,} of the {len(data):,} images are held out from training, for gan-serve evaluate "
                f"(holdout {holdout:g}; --set holdout=0 trains on all)."
            )
        data = data.only(mask if split == HOLDOUT else ~mask).with_(holdout=holdout)
    return data


def default_holdout(data: ImageSet) -> float:
    """Return the share of the images that training holds out by default."""
    return 0.0 if data.has_test or len(data) < FEWEST_TO_HOLD_OUT else HELD_OUT


def load_wanted(source: str | Path, wanted: Wanted, labels: str | None = None) -> ImageSet:
    """Read the ``wanted`` images of a source; see ``load_images`` for the arguments and errors."""
    name, fetched = str(source), None
    if name.startswith(HUB_PREFIX):
        from gan_serve.training.data import hub_datasets  # here: it needs huggingface_hub, and local data do not

        fetched = hub_datasets.fetch(name)
    path, key = (fetched.path, "") if fetched else _path_and_key(source)
    # The table is read first: a misspelt column should not cost the minutes that the images take.
    table = read_table(labels, fetched.root if fetched else path) if labels not in (None, NONE) else None
    wanted = wanted._replace(labels=labels is None)
    if name in NAMED_SOURCES:
        data = load_named(name, wanted.split).with_(has_test=True)
        if os.path.isdir(name):
            data = data.noting(f"{name} is the published data set; the folder here is read as --data ./{name}.")
    else:
        data = _read_path(path, key, wanted)
    if fetched:
        credit = f"{fetched.repo} on the Hugging Face Hub, revision {fetched.revision[:12]}"
        data = data.with_(name=fetched.repo.split("/")[-1], license=fetched.license, credit=credit)
    side = wanted.side_for(data.images.shape[2:0:-1]) if 0 not in data.images.shape else wanted.resolution
    data = fit(data, side, wanted.channels)
    # Such as 12 bits in the 16 of a colour PNG, of which Pillow keeps the upper 8.
    if (brightest := int(data.images.max())) < 32:
        data = data.with_(notes=(f"all images are nearly black: the largest value is {brightest} of 255.", *data.notes))
    if table:
        return relabel(data, table)
    return data.with_(labels=None, class_names=()) if labels == NONE else data


def _path_and_key(source: str | Path) -> tuple[Path, str]:
    """Split ``file.npz:name`` and ``file.parquet:column``; the key of other sources is empty."""
    path = Path(source).expanduser()
    file, colon, key = str(path).rpartition(":")
    if colon and not os.path.exists(path) and suffix_of(file) in (".npz", ".parquet") and os.path.isfile(file):
        return Path(file), key
    return path, ""


def _read_path(path: Path, key: str, wanted: Wanted) -> ImageSet:
    if not os.path.exists(path):  # Path.exists raises where a name is too long
        shown = str(path) if len(str(path)) < 100 else f"{str(path)[:100]}..."
        raise DataError(f"There is no data at {shown}.", _suggestion(path))
    suffix = suffix_of(path.name)
    if os.path.isdir(path):
        return _read_folder(path, wanted)
    if not os.path.isfile(path):
        raise DataError(f"{path} is not a regular file.", KINDS)
    if suffix in (".npz", ".npy"):
        return read_npz(path, wanted, key)
    if suffix == ".parquet":
        return read_parquet([path], path.stem, wanted, key)
    if is_archive(path):
        return read_image_files([path], name_of(path), wanted)
    if "ubyte" in path.name.casefold():
        return read_idx_source(path, wanted)
    raise DataError(f"{path} is neither an archive of images nor an npz, parquet or IDX file.", KINDS)


def _read_folder(folder: Path, wanted: Wanted) -> ImageSet:
    """Read the first of these that a folder holds: IDX files, parquet, images, archives of images, an npz."""
    if has_idx(folder):
        return read_idx_source(folder, wanted)
    files, name = find_files(folder), name_of(folder)
    images = sum(is_image_name(file.name) for file in files)

    def names_of(chosen: Callable[[Path], bool]) -> list[str]:
        return sorted(path.relative_to(folder).as_posix() for path in files if chosen(path))

    def of_split(names: list[str]) -> list[Path]:
        return [folder / name for name in files_of_split(names, wanted.split, str(folder))]

    if tables := names_of(lambda path: suffix_of(path.name) == ".parquet" and path.stem != "metadata"):
        data = read_parquet(of_split(tables), name, wanted).with_(has_test=name_a_test(tables))
        return data.noting(f"{images} image files beside the parquet files are not read.") if images else data
    if not images:
        if archives := names_of(is_archive):
            data = read_image_files(of_split(archives), name, wanted)
            return data.with_(has_test=data.has_test or name_a_test(archives))
        if packed := names_of(lambda path: suffix_of(path.name) == ".npz"):
            chosen = of_split(packed)
            if len(chosen) > 1:
                raise DataError(f"{folder} holds {len(chosen)} npz files.", f"Give one of them, such as {chosen[0]}.")
            data = read_npz(chosen[0], wanted)
            return data.with_(has_test=data.has_test or name_a_test(packed))
    return read_image_files([folder], name, wanted)


def _suggestion(path: Path) -> str:
    """Return a hint that names the data that is most like ``path``: beside it, or known by name."""
    try:
        beside = [entry.name for entry in os.scandir(path.parent) if entry.is_dir() or suffix_of(entry.name) in SOURCES]
    except OSError:
        beside = []
    by_folded = {name.casefold(): name for name in NAMED_SOURCES}
    by_folded |= {name.casefold(): str(path.parent / name) for name in beside if not name.startswith(".")}
    matches = difflib.get_close_matches(path.name.casefold(), by_folded, n=1, cutoff=0.5)
    if matches:
        return f"Did you mean {by_folded[matches[0]]!r}?"
    return f"{KINDS} Or a name: {', '.join(NAMED_SOURCES)}."


SOURCES = (*ARCHIVE_SUFFIXES, ".npz", ".npy", ".parquet")
