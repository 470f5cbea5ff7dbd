"""Read the files of tars and zips in memory: their sizes and numbers are bounded, and nothing is extracted to disk."""

from __future__ import annotations

import contextlib
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from gan_serve.training.data.formats import encoding_of, readable_names
from gan_serve.training.data.image_set import ALWAYS_ALLOWED, MAX_RATIO

MAX_FILE_BYTES = 128 * 2**20  # of one image: a header may claim any size
# Headers of a tar that hold names and other text; a compressed tar may have 500 members in the bytes of one.
HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
MAX_HEADER_BYTES = 2**20
MEMBERS_ALWAYS, BYTES_A_MEMBER = 10_000, 64
MAX_PATH = 4096  # characters, as in file systems


class Member(NamedTuple):
    """A file of a container: its path with ``/``, a reason to leave it out (or empty), and a function that reads it."""

    name: str
    reason: str
    read: Callable[[], bytes]


class _TarInfo(tarfile.TarInfo):
    """Refuse headers that tarfile would read whole: a compressed tar may have any number of bytes in them."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type in HEADERS and info.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {info.size:,} bytes")
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise _sparse()
        return info

    def _proc_gnusparse_10(self, *_: object) -> None:  # called by tarfile for what pax headers describe
        raise _sparse()

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10


def _sparse() -> tarfile.ReadError:
    return tarfile.ReadError("it has sparse files: make it without tar --sparse")


def tar_members(path: Path) -> Iterator[Member]:
    """Yield the files of a tar; ``tarfile.ReadError`` if it is damaged, or has more than fits in its size."""

    def content(member: tarfile.TarInfo) -> bytes:
        check_size(member.size)
        file = archive.extractfile(member)
        return file.read() if file else b""

    size = path.stat().st_size
    most = max(MEMBERS_ALWAYS, size // BYTES_A_MEMBER)
    with tarfile.open(path, tarinfo=_TarInfo) as archive:
        for number, member in enumerate(archive):
            if number >= most:
                raise tarfile.ReadError(f"it has more than {most:,} files, which do not fit in its size")
            unpacked = member.offset_data + member.size  # to find the next member
            if unpacked > max(ALWAYS_ALLOWED, MAX_RATIO * size):
                raise tarfile.ReadError(f"by its headers {size:,} bytes unpack to {unpacked:,}")
            if not member.isdir():
                reason = "" if member.isreg() else "a link or a device"
                yield _member(_path(*readable_names([member.name])), reason, lambda member=member: content(member))  # type: ignore[misc]
        # tarfile takes a header that is damaged or cut short for the end of the archive.
        if archive.fileobj:
            archive.fileobj.seek(archive.offset)
            last = archive.fileobj.read(tarfile.BLOCKSIZE)
            if last not in (b"", bytes(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError(f"damaged at byte {archive.offset}")


def zip_members(path: Path) -> Iterator[Member]:
    """Yield the files of a zip; reading one raises ValueError if it claims more bytes than it can have."""

    def content(member: zipfile.ZipInfo) -> bytes:
        check_size(member.file_size)
        if member.file_size > 2**24 and member.file_size > MAX_RATIO * member.compress_size:
            raise ValueError(f"by its header {member.compress_size} bytes unpack to {member.file_size}")
        with archive.open(member) as file:
            return file.read(MAX_FILE_BYTES)

    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member, stored in zip(members, _zip_names(members), strict=True):
            name = _path(stored)
            if not member.is_dir() and not name.endswith("/"):
                reason = "a link" if stat.S_ISLNK(member.external_attr >> 16) else ""
                yield _member(name, reason, lambda member=member: content(member))  # type: ignore[misc]


def _zip_names(members: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Return the members' names; without the flag for UTF-8 they may be in any encoding, and Python takes cp437."""
    raw: dict[int, bytes] = {}
    for number, member in enumerate(members):
        if not member.flag_bits & 0x800:
            with contextlib.suppress(UnicodeEncodeError):  # an extra field gave the name in Unicode
                raw[number] = member.filename.encode("cp437")
    encoding = encoding_of(list(raw.values()), "cp437")
    names = [raw[at].decode(encoding, "replace") if at in raw else m.filename for at, m in enumerate(members)]
    return [name.replace("\\", "/") for name in names]  # as some programs on Windows write it


def _member(name: str, reason: str, read: Callable[[], bytes]) -> Member:
    if len(name) > MAX_PATH:
        return Member(f"{name[:100]}...", f"its path has {len(name):,} characters", read)
    return Member(name, reason, read)


def _path(stored: str) -> str:
    """Return a member's path without ``./`` and a leading ``/``."""
    parts = [part for part in stored.split("/") if part not in ("", ".")]
    return "/".join(parts)


def check_size(size: int) -> None:
    """Raise ValueError for an image file of more than ``MAX_FILE_BYTES``."""
    if size > MAX_FILE_BYTES:
        raise ValueError(f"by its header it has {size} bytes; the limit is {MAX_FILE_BYTES}")
