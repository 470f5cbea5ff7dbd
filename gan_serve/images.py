"""Pixels to files: grids, PNG with a receipt, animations, npz. Pixels are uint8, [H, W, C] or [N, H, W, C], C 1 or 3."""

from __future__ import annotations

import io
import math
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from gan_serve.errors import InvalidOption

RECEIPT_KEY = "gan_serve"
UInt8Array = npt.NDArray[np.uint8]


def grid(images: UInt8Array, columns: int | None = None, gap: int = 2) -> UInt8Array:
    """Lay images out in rows on white.

    Args:
        images: uint8 [N, H, W, C].
        columns: images in a row; as square as it gets if None.
        gap: white pixels around each image.

    Returns:
        uint8 [rows·(H+gap)+gap, columns·(W+gap)+gap, C].

    Raises:
        InvalidOption: columns below 1.
    """
    n, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    if columns < 1:
        raise InvalidOption(f"A grid needs at least one column, not {columns}.", "Ask for 1 column or more.")
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    cells = np.full((rows * columns, height + gap, width + gap, channels), 255, np.uint8)
    cells[:n, gap:, gap:] = images
    sheet = cells.reshape(rows, columns, height + gap, width + gap, channels).transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap), channels)
    return np.pad(sheet, ((0, gap), (0, gap), (0, 0)), constant_values=255)
