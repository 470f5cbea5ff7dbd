"""Lay images out in a grid, and cut a grid into its images."""

from __future__ import annotations

import math

import numpy as np

from gan_serve.errors import InvalidOption, shorten
from gan_serve.images.pixels import UInt8Array

GRID_GAP = 2


def grid(images: UInt8Array, columns: int | None = None) -> UInt8Array:
    """Return images in rows on a white background, two pixels apart.

    Args:
        images: uint8 [N, H, W, C].
        columns: images in a row; as square as possible if None.

    Returns:
        uint8 [rows·(H+2)+2, columns·(W+2)+2, C].

    Raises:
        InvalidOption: columns below 1.
    """
    n, height, width, channels = images.shape
    columns = grid_columns(n, columns)
    rows = math.ceil(n / columns)
    sheet = np.full(
        (rows * (height + GRID_GAP) + GRID_GAP, columns * (width + GRID_GAP) + GRID_GAP, channels), 255, np.uint8
    )
    for index, image in enumerate(images):  # one by one: transposing all of them would take two more copies
        row, column = divmod(index, columns)
        top, left = row * (height + GRID_GAP) + GRID_GAP, column * (width + GRID_GAP) + GRID_GAP
        sheet[top : top + height, left : left + width] = image
    return sheet


def cut_grid(sheet: UInt8Array, n: int, columns: int) -> UInt8Array:
    """Return the n images of a ``grid``, uint8 [N, H, W, C].

    >>> images = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5, 1)
    >>> np.array_equal(cut_grid(grid(images, 2), 3, 2), images)
    True
    """
    rows = math.ceil(n / columns)
    cells = sheet[:-GRID_GAP, :-GRID_GAP].reshape(
        rows, (sheet.shape[0] - GRID_GAP) // rows, columns, (sheet.shape[1] - GRID_GAP) // columns, -1
    )
    cells = cells.transpose(0, 2, 1, 3, 4)[:, :, GRID_GAP:, GRID_GAP:]
    return cells.reshape(rows * columns, *cells.shape[2:])[:n]


def grid_size(n: int, side: int, columns: int | None = None) -> tuple[int, int]:
    """Return the width and height of a ``grid`` of n square images.

    >>> grid_size(5, 28, 3), grid(np.zeros((5, 28, 28, 1), np.uint8), 3).shape
    ((92, 62), (62, 92, 1))
    """
    columns = grid_columns(n, columns)
    return columns * (side + GRID_GAP) + GRID_GAP, math.ceil(n / columns) * (side + GRID_GAP) + GRID_GAP


def grid_columns(n: int, columns: int | None = None) -> int:
    """Return the number of images in a row of a ``grid`` of n images."""
    if columns is None:
        return math.ceil(math.sqrt(n))
    if columns < 1:
        raise InvalidOption(f"A grid needs at least one column, not {shorten(columns)}.", "Ask for 1 column or more.")
    return min(columns, n)
