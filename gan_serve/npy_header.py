"""Read the header of an npy file, so that shape and dtype can be checked before the array is read."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np


def read_npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape of an npy file, True if it is in Fortran order, and the dtype. The file is left at its data.

    Raises:
        ValueError: it is not an npy file, or its header is damaged.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)
