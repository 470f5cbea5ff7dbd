"""Image files in a folder, a tar or a zip: read in memory, one after another; nothing is ever extracted to disk."""

from __future__ import annotations

import io
import itertools
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from gan_serve.errors import DataError
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.image_files import (
    BROKEN,
    SUFFIXES,
    find_images,
    is_image_name,
    is_junk,
    read_image,
    resize,
)
from gan_serve.training.data.image_set import MODES, ImageSet, examples, new_images
from gan_serve.training.data.splits import lay_out

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, ".zip")
MAX_FILE_BYTES = 256 * 2**20  # of one image in an archive: a header may claim any size
MAX_BROKEN = 0.10  # share of images that may be broken before the set is refused

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, zlib.error, lzma.LZMAError)
# A zip member may be encrypted, or packed in a way that Python does not know.
UNREADABLE = (*BROKEN, *DAMAGED, RuntimeError)


class Entry(NamedTuple):
    """An image file: its path with ``/`` as seen from the source, and how to get its bytes while it is at hand."""

    name: str
    read: Callable[[], bytes]


class Pixels(NamedTuple):
    """What could be read: images uint8 [n, side, side, C], their positions among those wanted, and what was skipped."""

    images: UInt8Array
    readable: list[int]
    skipped: tuple[str, ...]


def is_archive(path: Path) -> bool:
    """Whether the name is that of a tar or a zip."""
    return path.name.casefold().endswith(ARCHIVE_SUFFIXES)


def read_image_files(
    containers: Sequence[Path], name: str, split: str, resolution: int | None, channels: int | None
) -> ImageSet:
    """Read all images of ``containers`` (folders, tars, zips) in the order of their names; folders are labels.

    Raises:
        DataError: no images, a damaged archive, or more than ``MAX_BROKEN`` of the images cannot be read.
    """
    where = str(containers[0]) if len(containers) == 1 else str(containers[0].parent)
    try:
        found = [entry.name for entry in _entries(containers)]
    except DAMAGED as error:
        raise DataError(f"{where} cannot be read: {error}.", "It may be cut short: fetch it again.") from error
    if not found:
        raise DataError(f"{where} holds no images.", f"Images end in {', '.join(sorted(SUFFIXES))}.")
    kept, classes = lay_out(found, split, where)
    order = sorted(range(len(kept)), key=lambda position: found[kept[position]].split("/"))
    rows = [kept[position] for position in order]
    pixels = read_pixels(_entries(containers), rows, resolution, channels, where)
    names = tuple(found[rows[position]] for position in pixels.readable)
    if not classes:
        return ImageSet(name, pixels.images, names=names, skipped=pixels.skipped)
    class_names = tuple(sorted(set(classes)))
    index = {class_name: label for label, class_name in enumerate(class_names)}
    labels = np.array([index[classes[order[position]]] for position in pixels.readable], np.int64)
    return ImageSet(name, pixels.images, labels, class_names, names=names, skipped=pixels.skipped)


def read_pixels(
    entries: Iterable[Entry], rows: Sequence[int], resolution: int | None, channels: int | None, where: str
) -> Pixels:
    """Decode the entries at the positions ``rows``, in that order, into one array that is allocated once.

    Without a ``resolution`` the first image that can be read gives it; without ``channels`` they are 1 as long as all
    images are gray.

    Raises:
        DataError: more than ``MAX_BROKEN`` of them cannot be read.
    """
    row_of = {position: row for row, position in enumerate(rows)}
    images: UInt8Array | None = None
    broken: dict[int, str] = {}
    for position, entry in enumerate(entries):
        row = row_of.get(position)
        if row is None:
            continue
        try:
            image = read_image(io.BytesIO(entry.read()), resolution)
        except UNREADABLE as error:
            broken[row] = f"{entry.name}: {error}".replace("\n", " ")
            continue
        resolution = resolution or min(image.size)
        image = image if image.size == (resolution, resolution) else resize(image, resolution)
        if images is None:
            images = new_images(len(rows), resolution, channels or len(image.getbands()))
        elif channels is None and image.mode == "RGB" and images.shape[3] == 1:
            gray, images = images, new_images(len(rows), resolution, 3)
            images[:] = gray  # the same value in all three
        count = images.shape[3]
        images[row] = np.asarray(image.convert(MODES[count])).reshape(resolution, resolution, count)
    skipped = tuple(broken[row] for row in sorted(broken))
    if images is None or len(skipped) > MAX_BROKEN * len(rows):
        raise DataError(
            f"{len(skipped)} of {len(rows)} images in {where} cannot be read ({examples(skipped)}).",
            f"Up to {MAX_BROKEN:.0%} are skipped; beyond that, repair or remove them.",
        )
    readable = [row for row in range(len(rows)) if row not in broken]
    if broken:
        for target, row in enumerate(readable):  # in place: the set may fill the memory
            images[target] = images[row]
    return Pixels(images[: len(readable)], readable, skipped)


def _entries(containers: Sequence[Path]) -> Iterator[Entry]:
    return itertools.chain.from_iterable(map(_entries_of, containers))


def _entries_of(container: Path) -> Iterator[Entry]:
    """The image files in the order in which they lie, links, devices and what is hidden left out."""
    if container.is_dir():
        for path in find_images(container):
            yield Entry(path.relative_to(container).as_posix(), path.read_bytes)
    elif container.name.casefold().endswith(TAR_SUFFIXES):
        yield from _tar_entries(container)
    else:
        yield from _zip_entries(container)


def _tar_entries(path: Path) -> Iterator[Entry]:
    def content(member: tarfile.TarInfo) -> bytes:
        _check_size(member.size)
        file = archive.extractfile(member)
        return file.read() if file else b""

    with tarfile.open(path) as archive:
        for member in archive:
            name = _member_name(member.name)
            if member.isreg() and name:
                yield Entry(name, lambda member=member: content(member))  # type: ignore[misc]
        # tarfile takes a header that is damaged or cut short for the end of the archive.
        if archive.fileobj:
            archive.fileobj.seek(archive.offset)
            end = archive.fileobj.read(tarfile.BLOCKSIZE)
            if end not in (b"", bytes(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError(f"damaged at byte {archive.offset}")


def _zip_entries(path: Path) -> Iterator[Entry]:
    def content(member: zipfile.ZipInfo) -> bytes:
        _check_size(member.file_size)
        with archive.open(member) as file:
            return file.read(MAX_FILE_BYTES)

    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = _member_name(member.filename)
            if not member.is_dir() and not stat.S_ISLNK(member.external_attr >> 16) and name:
                yield Entry(name, lambda member=member: content(member))  # type: ignore[misc]


def _member_name(stored: str) -> str:
    """The member's path without ``./`` and a leading ``/``; empty where it is no image, or hidden."""
    path = PurePosixPath(stored.lstrip("/"))
    return str(path) if is_image_name(path.name) and not is_junk(path.parts) else ""


def _check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise ValueError(f"it is said to have {size} bytes; {MAX_FILE_BYTES} are the most")


def name_of(path: Path) -> str:
    """A name for what lies at ``path``: the folder's, or the file's without its suffixes."""
    if os.path.isdir(path):
        return path.resolve().name
    suffix = next((suffix for suffix in ARCHIVE_SUFFIXES if path.name.casefold().endswith(suffix)), path.suffix)
    return path.name[: len(path.name) - len(suffix)] or path.name
