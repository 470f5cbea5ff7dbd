"""Write files and directories atomically: under a temporary name, flushed to disk, then renamed.

No dependency does this for a directory, which must appear with all of its files or not at all.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from gan_serve.errors import CannotWrite


def write_atomically(path: str | Path, write: bytes | str | Callable[[IO[bytes]], object]) -> Path:
    """Write ``path`` completely or not at all; missing parent folders are created.

    ``write`` is the content, or a function that receives the open binary file.

    Raises:
        CannotWrite: the disk is full, the folder is not writable, ...; ``path`` is unchanged.
    """
    path = Path(os.path.realpath(path))
    with cannot_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        try:
            with open(temporary, "xb") as file:
                if callable(write):
                    write(file)
                else:
                    file.write(write.encode() if isinstance(write, str) else write)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def directory_atomically(path: str | Path) -> Iterator[Path]:
    """Yield a new directory that is renamed to ``path`` when the block succeeds, and removed when it fails.

    Raises:
        CannotWrite: ``path`` exists and is not an empty directory, or writing fails.
    """
    path = Path(os.path.realpath(path))
    check_new_directory(path)
    with cannot_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        try:
            temporary.mkdir()
            yield temporary
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_new_directory(path: Path) -> None:
    """Raise ``CannotWrite`` if ``path`` exists and is not an empty directory."""
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise CannotWrite(f"{path} already exists.", "Choose another directory, or remove it first.")


def check_folder(folder: Path) -> None:
    """Raise ``CannotWrite`` for a folder that cannot be written or created. It is not created.

    Raises:
        CannotWrite: it, or its nearest existing parent, is not a folder or not writable.
    """
    place = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
    if not place.is_dir():
        raise CannotWrite(f"Cannot write to {folder}: {place} is not a folder.", "Choose another folder.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise CannotWrite(f"Cannot write to {folder}: {place} is not writable.", "Choose another folder.")


def remove_leftovers(*directories: Path) -> None:
    """Remove the temporary files of killed processes from directories that no other process writes to."""
    for directory in directories:
        for leftover in directory.glob(".*.part"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def cannot_write(path: Path) -> Iterator[None]:
    """Raise ``CannotWrite`` in place of an ``OSError``."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(
            f"Cannot write {path}: {error.strerror or error}.",
            "Check the free space and the permissions of the folder.",
        ) from error


def _beside(path: Path) -> Path:
    return path.with_name(f".{secrets.token_hex(8)}.part")
