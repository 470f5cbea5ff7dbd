"""Read npy files of others: shape and dtype are checked before an array is read."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np


def read_npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape of an npy file, True if it is in Fortran order, and the dtype. The file is left at its data.

    Raises:
        ValueError: it is not an npy file, or its header is damaged.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        return read(file)
    except ValueError as error:
        raise ValueError(str(error).partition("\n")[0][:200]) from error  # NumPy explains how to trust the file


def read_npy(content: bytes) -> Any:
    """Return the array of an npy file.

    Raises:
        ValueError: it is no npy file, has Python objects, or its header states more bytes than there are.
    """
    shape, _, dtype = read_npy_header(io.BytesIO(content))
    if dtype.hasobject or math.prod(map(int, shape)) * dtype.itemsize > len(content):
        raise ValueError("its header does not fit its content")
    return np.load(io.BytesIO(content), allow_pickle=False)


def read_npz(content: bytes, names: Iterable[str], limit: int) -> dict[str, Any]:
    """Return those arrays of ``names`` that an npz file has.

    Raises:
        ValueError: see ``read_npy``, or an array would unpack to more than ``limit`` bytes. zipfile.BadZipFile and
            others of ``zipfile``: it is damaged.
    """
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in names:
            if f"{name}.npy" in archive.namelist():
                if archive.getinfo(f"{name}.npy").file_size > limit:
                    raise ValueError(f"{name} would unpack to more than {limit:,} bytes")
                with archive.open(f"{name}.npy") as member:
                    arrays[name] = read_npy(member.read(limit))
    return arrays
