"""Training images from wherever they lie: ``load_images`` opens every kind of source.

A folder, tar or zip of images, IDX files, an npz, parquet files, a data set known by name or one on the Hugging Face
Hub: each has its file in ``sources/``. Everything becomes one array in memory, uint8 [N, H, W, C]. The rule for images
of another size: cut the largest square from the middle, then resize with Lanczos. Colour becomes gray by ITU-R 601 luma
where one channel is asked for. Single image files are read by ``image_files``, labels of a table by ``sources.labels``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gan_serve.errors import DataError, nearest
from gan_serve.training.data import arrays
from gan_serve.training.data.archives import ARCHIVE_SUFFIXES, is_archive, name_of, read_image_files
from gan_serve.training.data.image_files import find_images, is_junk
from gan_serve.training.data.image_set import ImageSet, Int64Array, fit
from gan_serve.training.data.labels import NONE, read_table, relabel
from gan_serve.training.data.named import NAMED_SOURCES, NamedSource, load_named
from gan_serve.training.data.parquet import read_parquet
from gan_serve.training.data.splits import HOLDOUT, check_split, files_of_split, held_out

__all__ = ["NAMED_SOURCES", "ImageSet", "Int64Array", "NamedSource", "load_images"]

HUB_PREFIX = "hf://"
KINDS = f"Give a folder of images, an archive ({', '.join(ARCHIVE_SUFFIXES)}), an .npz, .parquet or IDX files."


def load_images(
    source: str | Path,
    *,
    split: str = "train",
    resolution: int | None = None,
    channels: int | None = None,
    labels: str | None = None,
    holdout: float = 0.0,
) -> ImageSet:
    """Read a data set.

    Args:
        source: a name of ``NAMED_SOURCES`` (``fashion-mnist``), ``hf://datasets/org/name[@revision][/path]``, a
            folder, tar or zip of images (subfolders are labels), a folder of such archives, a folder with IDX files,
            one IDX file, an npz with ``images`` (and ``labels``, ``class_names``, ``filenames``), parquet files.
        split: ``train`` or ``test``, where the source has both; or ``holdout``: what ``holdout`` keeps from ``train``.
        resolution: wanted width and height; the source's own if None (of image files: that of the first).
        channels: 1 or 3; the source's own if None.
        labels: where labels come from, if not from the source: ``file.csv:column``, ``file.npz:attribute`` (looked for
            here, then in the source's folder); ``none`` drops the source's own.
        holdout: the share of the training images, from 0 to 1, that are left out of ``train``: for sources without a
            test split. Which ones follows from their number alone.

    Raises:
        DataError: nothing there, no images in it, a damaged file, more than a tenth of the images broken (fewer are
            left out and named in ``skipped``), arrays of a wrong shape, labels that do not fit, a failed download.
        InvalidOption: ``split`` is none of them, or nothing is held out.

    >>> load_images("fashion-mnist").images.shape  # doctest: +SKIP
    (60000, 28, 28, 1)
    """
    check_split(split, holdout)
    name, wanted, split = str(source), split, "train" if split == HOLDOUT else split
    fetched = None
    if name.startswith(HUB_PREFIX):
        from gan_serve.training.data import hub_datasets  # here: it needs huggingface_hub, and local data do not

        fetched = hub_datasets.fetch(name)
    path = fetched.path if fetched else Path(source).expanduser()
    # The table is read first: a misspelt column should not cost the minutes that the images take.
    table = read_table(labels, fetched.root if fetched else path) if labels not in (None, NONE) else None
    if name in NAMED_SOURCES:
        data = load_named(name, split)
    else:
        data = _read_path(path, split, resolution, channels)
    if fetched:
        data = replace(
            data,
            name=fetched.repo.split("/")[-1],
            license=fetched.license,
            credit=f"{fetched.repo} on the Hugging Face Hub, revision {fetched.revision[:12]}",
        )
    data = fit(data, resolution, channels)
    if table:
        data = relabel(data, table)
    elif labels == NONE:
        data = replace(data, labels=None, class_names=())
    if holdout and wanted != "test":
        left_out = held_out(len(data), holdout)
        data = data.only(left_out if wanted == HOLDOUT else ~left_out)
    return data


def _read_path(path: Path, split: str, resolution: int | None, channels: int | None) -> ImageSet:
    if not os.path.exists(path):  # Path.exists raises where a name is too long
        shown = str(path) if len(str(path)) < 100 else f"{str(path)[:100]}..."
        raise DataError(
            f"There is no data at {shown}.",
            nearest(path, NAMED_SOURCES) or f"{KINDS} Or a name: {', '.join(NAMED_SOURCES)}.",
        )
    if os.path.isdir(path):
        return _read_folder(path, split, resolution, channels)
    if path.suffix == ".npz":
        return arrays.read_npz(path)
    if path.suffix == ".parquet":
        return read_parquet([path], path.stem, resolution, channels)
    if is_archive(path):
        return read_image_files([path], name_of(path), split, resolution, channels)
    if "ubyte" in path.name:
        return ImageSet(path.name, arrays.read_idx(path, dimensions=3)[..., None])
    raise DataError(f"{path} is neither an archive of images nor an npz, parquet or IDX file.", KINDS)


def _read_folder(folder: Path, split: str, resolution: int | None, channels: int | None) -> ImageSet:
    """Read the first of these that a folder holds: IDX files, parquet, images, archives of images, an npz."""
    if arrays.has_idx(folder):
        return arrays.read_idx_folder(folder, split)
    if tables := _files(folder, split, lambda path: path.suffix == ".parquet"):
        return read_parquet(tables, name_of(folder), resolution, channels)
    if not find_images(folder):
        if archives := _files(folder, split, is_archive):
            return read_image_files(archives, name_of(folder), split, resolution, channels)
        if packed := _files(folder, split, lambda path: path.suffix == ".npz"):
            if len(packed) > 1:
                raise DataError(f"{folder} holds {len(packed)} npz files.", f"Give one of them, such as {packed[0]}.")
            return arrays.read_npz(packed[0])
    return read_image_files([folder], name_of(folder), split, resolution, channels)


def _files(folder: Path, split: str, wanted: Callable[[Path], bool]) -> list[Path]:
    """The files below ``folder`` that are ``wanted`` and not hidden, those of ``split`` where their names tell."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if wanted(path) and path.is_file())
    names = sorted(path.as_posix() for path in paths if not is_junk(path.parts))
    return [folder / name for name in files_of_split(names, split, str(folder))]
