"""The files that the intake reads: one table of image suffixes, and the suffixes of archives."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

Image.init()  # registers the formats that this build of Pillow can read
_FORMAT_OF = {
    ".png": "PNG", ".apng": "PNG",
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG",
    ".webp": "WEBP", ".avif": "AVIF", ".bmp": "BMP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF",
    ".ppm": "PPM", ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM",
}  # fmt: skip
FORMAT_OF = {suffix: format for suffix, format in _FORMAT_OF.items() if format in Image.OPEN}
FORMATS = tuple(dict.fromkeys(FORMAT_OF.values()))  # Pillow opens these only: never EPS, which runs Ghostscript

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, ".zip")

GB2312 = re.compile(rb"([\x00-\x7f]|[\xb0-\xf7][\xa1-\xfe])*")

# Folders of file managers, disk stations and archivers; hidden ones need no entry.
JUNK_FOLDERS = frozenset({"__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"})
JUNK_FILES = frozenset({"thumbs.db", "desktop.ini"})


def suffix_of(name: str) -> str:
    """Return the suffix in lower case, with both parts of ``.tar.gz`` and the like.

    >>> suffix_of("Set.TAR.gz"), suffix_of("a.b.PNG"), suffix_of("README")
    ('.tar.gz', '.png', '')
    """
    folded = name.casefold()
    return next((s for s in ARCHIVE_SUFFIXES if folded.endswith(s)), PurePosixPath(folded).suffix)


def is_image_name(name: str) -> bool:
    """Return whether the suffix is that of an image."""
    return suffix_of(name) in FORMAT_OF


def is_archive(path: Path) -> bool:
    """Return whether the name is that of a tar or a zip."""
    return suffix_of(path.name) in ARCHIVE_SUFFIXES


def junk_part(parts: Sequence[str]) -> int | None:
    """Return the position of the first of the ``parts`` of a path that is hidden or system junk; None if none is."""
    for position, part in enumerate(parts):
        if part.startswith(".") or part.casefold() in JUNK_FOLDERS or part.casefold() in JUNK_FILES:
            return position
    return None


def is_run_folder(folder: str | Path) -> bool:
    """Return whether a training run of gan-serve writes to ``folder``: its grids are no training images."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in ("config.json", "run.json"))


def name_of(path: Path) -> str:
    """Return a name for the data at ``path``: the folder's, or the file's without its suffixes."""
    if os.path.isdir(path):
        return path.resolve().name
    return path.name[: len(path.name) - len(suffix_of(path.name))] or path.name


def encoding_of(names: Sequence[bytes], fallback: str) -> str:
    """Return the encoding of the names of files of one container.

    UTF-8, else GBK where all high bytes are pairs of GB 2312 (a European name rarely has only such pairs), else
    ``fallback``.

    >>> encoding_of(["猫".encode("gbk"), "狗".encode("gbk")], "cp437"), encoding_of(["ä".encode("cp437")], "cp437")
    ('gb18030', 'cp437')
    """
    try:
        for name in names:
            name.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        return "gb18030" if all(GB2312.fullmatch(name) for name in names) else fallback


def readable_names(names: Sequence[str]) -> list[str]:
    """Return names of files that can be printed: bytes that are not UTF-8 are read as GBK or Windows-1252."""
    raw = [os.fsencode(name) for name in names]
    encoding = encoding_of(raw, "cp1252")
    return [name.decode(encoding, "replace") for name in raw]
