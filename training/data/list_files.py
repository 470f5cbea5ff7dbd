"""List the files of folders, tars and zips, and read them in memory, one after another."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from gan_serve.training.data.archives import MAX_FILE_BYTES, Member, check_size, tar_members, zip_members
from gan_serve.training.data.formats import (
    TAR_SUFFIXES,
    is_image_name,
    is_run_folder,
    junk_part,
    readable_names,
    suffix_of,
)
from gan_serve.training.data.image_set import LeftOut
from gan_serve.training.data.pixels import Entry

MAX_TABLE_BYTES, MAX_SIDECAR_BYTES = 64 * 2**20, 4096  # of a table of labels, and of a file with one label
MOST_VISITS = 10  # of one folder, through links
MOST_DEPTH = 100  # of folders in folders
UNREAD_IMAGES = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".svg", ".psd", ".tga", ".jp2", ".ico", ".cr2", ".nef", ".arw", ".dng"}
)
TABLES = frozenset({"dataset.json", "metadata.jsonl", "metadata.csv", "metadata.parquet"})


class Listing(NamedTuple):
    """The files of containers.

    images: paths of the images, in the order of ``image_entries``. containers: the number of each one's container.
    sidecars: contents of the files that may hold labels, by the container's number and the path.
    left_out: all other files.
    """

    images: list[str]
    containers: list[int]
    sidecars: dict[tuple[int, str], bytes]
    left_out: list[LeftOut]


def list_files(containers: Sequence[Path]) -> Listing:
    """List the files of folders, tars and zips, and read those that may hold labels."""
    found = Listing([], [], {}, [])
    junk: set[str] = set()
    held = 0  # bytes of the files that may hold labels
    for number, container in enumerate(containers):
        for member in _members(container):
            path = PurePosixPath(member.name)
            position = junk_part(path.parts)
            if position is not None:
                is_folder = position + 1 < len(path.parts) or member.name.endswith("/")
                top = "/".join(path.parts[: position + 1]) + "/" * is_folder
                if top not in junk:
                    junk.add(top)
                    found.left_out.append(LeftOut(top, "hidden, or made by the system"))
            elif member.reason:
                found.left_out.append(LeftOut(member.name, member.reason))
            elif is_image_name(path.name):
                found.images.append(member.name)
                found.containers.append(number)
            elif _may_hold_labels(path, container) and (content := _sidecar(member, path)) is not None:
                held += len(content)
                if held > MAX_TABLE_BYTES + MAX_SIDECAR_BYTES * len(found.images):
                    raise ValueError(f"the files that may hold labels have more than {held:,} bytes in total")
                found.sidecars[number, member.name] = content
            else:
                found.left_out.append(LeftOut(member.name, _reason(path.name)))
    return found


def image_entries(containers: Sequence[Path]) -> Iterator[Entry]:
    """Yield the images of containers in the order of ``list_files``."""
    for container in containers:
        for member in _members(container):
            path = PurePosixPath(member.name)
            if not member.reason and is_image_name(path.name) and junk_part(path.parts) is None:
                yield Entry(member.name, member.read)


def find_files(folder: Path) -> list[Path]:
    """Return the regular files below ``folder``, hidden ones, junk and the files of training runs left out."""
    members = (member for member in _folder_members(folder) if not member.reason)
    found = (Path(os.fsdecode(member.stored)) for member in members)
    return [path for path in found if junk_part(path.relative_to(folder).parts) is None]


def _members(container: Path) -> Iterator[Member]:
    """Yield the files of a container in its own order."""
    if container.is_dir():
        for file in _folder_members(container):
            yield Member(file.name, file.reason, lambda path=file.stored: _read_file(path))  # type: ignore[misc]
    elif suffix_of(container.name) in TAR_SUFFIXES:
        yield from tar_members(container)
    else:
        yield from zip_members(container)


class _File(NamedTuple):
    name: str
    reason: str
    stored: bytes


def _folder_members(folder: Path) -> Iterator[_File]:
    """Yield the files below a folder; links to folders are followed, but not back to a folder that contains them.

    A folder is read ``MOST_VISITS`` times at most: links to folders of links would give a file any number of paths.
    """
    root, visits = os.fsencode(folder), Counter[tuple[int, int]]()

    def walk(directory: bytes, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[_File]:
        found = os.stat(directory)
        identity = (found.st_dev, found.st_ino)
        if identity in above:
            yield _File(prefix, "a link to a folder that contains it", directory)
            return
        if len(above) > MOST_DEPTH:
            yield _File(prefix, f"a folder inside more than {MOST_DEPTH} others", directory)
            return
        visits[identity] += 1
        if visits[identity] > MOST_VISITS:
            yield _File(prefix, f"a link to a folder that was read {MOST_VISITS} times", directory)
            return
        if prefix and is_run_folder(os.fsdecode(directory)):
            yield _File(prefix, "a training run of gan-serve", directory)
            return
        with os.scandir(directory) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        names = readable_names([os.fsdecode(entry.name) for entry in ordered])
        for entry, own_name in zip(ordered, names, strict=True):
            name = prefix + own_name
            if entry.is_dir():
                if junk_part((own_name,)) is None:
                    yield from walk(entry.path, f"{name}/", (*above, identity))
                else:
                    yield _File(f"{name}/", "", entry.path)
            elif entry.is_file():
                yield _File(name, "", entry.path)
            else:
                yield _File(name, "a link to nowhere" if entry.is_symlink() else "not a regular file", entry.path)

    yield from walk(root, "", ())


def _read_file(path: bytes) -> bytes:
    with open(path, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        check_size(found.st_size)
        return file.read(MAX_FILE_BYTES)


def _may_hold_labels(path: PurePosixPath, container: Path) -> bool:
    if path.name.casefold() in TABLES:
        return True
    # WebDataset keeps a label beside each image, and often a JSON.
    return path.suffix == ".cls" or (path.suffix == ".json" and not container.is_dir())


def _sidecar(member: Member, path: PurePosixPath) -> bytes | None:
    try:
        content = member.read()
    except (ValueError, OSError):
        return None
    largest = MAX_TABLE_BYTES if path.name.casefold() in TABLES else MAX_SIDECAR_BYTES
    return content if len(content) <= largest else None


def _reason(name: str) -> str:
    suffix = suffix_of(name)
    if suffix in UNREAD_IMAGES:
        return f"{suffix} is not read: convert it to PNG or JPEG"
    return f"{suffix or 'a file without suffix'} is no image"
