"""Choose other real images, whose distance to the compared ones is that of a perfect generator."""

from __future__ import annotations

import numpy as np

from gan_serve.training.data.image_set import ImageSet, Int64Array


def reference_rows(pool: ImageSet, compared: ImageSet, *, excluded: Int64Array, by_class: bool) -> Int64Array | None:
    """Return as many rows of ``pool`` as there are compared images, in a random order, the same at each call.

    Args:
        pool: real images; except for the rows ``excluded``, none of them is compared.
        compared: the real images with which generated ones are compared.
        by_class: choose for row i an image of the class of the compared image i.

    Returns:
        int64 [len(compared)]; None if there are too few images, overall or of a class, or no labels of the same
        classes.
    """
    available = np.setdiff1d(np.arange(len(pool)), excluded)
    available = available[np.random.RandomState(2).permutation(len(available))]  # a stream that NumPy keeps frozen
    n = len(compared)
    if not by_class:
        return available[:n] if len(available) >= n else None
    if pool.labels is None or compared.labels is None or pool.class_names != compared.class_names:
        return None
    rows = np.empty(n, np.int64)
    for label in range(len(compared.class_names)):
        wanted = compared.labels == label
        candidates = available[pool.labels[available] == label]
        if len(candidates) < wanted.sum():
            return None
        rows[wanted] = candidates[: wanted.sum()]
    return rows
