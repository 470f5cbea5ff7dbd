"""The picture of a projection: a row for each picture, from the start of the search to its end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gan_serve.images.captions import enlarge_small, with_row_names
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.projection.project import Projection

STEPS = 6  # images of the way in a row
MOST_ROWS = 64


def sheet(projection: Projection) -> UInt8Array:
    """Return a sheet uint8 [H, W, C]: the picture itself, ``STEPS`` images on the way, the last of which was found.

    At most the first 64 pictures are shown, each with its PSNR, and its label if there is one, beside its row.
    """
    rows = []
    for target, way in zip(projection.targets[:MOST_ROWS], projection.ways[:MOST_ROWS], strict=True):
        rows += [target, *way[shown_steps(len(way))]]
    picture = enlarge_small(grid(np.stack(rows), STEPS + 1), projection.targets.shape[2])
    return with_row_names(picture, row_names(projection)[:MOST_ROWS])


def shown_steps(length: int) -> npt.NDArray[np.int64]:
    """Return which of the images on a way are shown, int64 [STEPS]: the first steps change the image most.

    >>> shown_steps(51).tolist()
    [0, 2, 8, 18, 32, 50]
    """
    return np.round((length - 1) * np.linspace(0, 1, STEPS) ** 2).astype(np.int64)


def row_names(projection: Projection) -> list[str]:
    """Return the PSNR of each picture, with its label if there is one."""
    labels = projection.labels or [""] * len(projection)
    return [f"{value:.1f} dB {label}".strip() for value, label in zip(projection.psnr, labels, strict=True)]
