"""Read the header of an npy file, so that what it claims can be checked before its array is read."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np


def read_npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, True for Fortran's order, and the dtype of an npy file, which stands at its data afterwards.

    Raises:
        ValueError: it is no npy file, or its header is damaged.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)
