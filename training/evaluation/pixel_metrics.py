"""Figures that need nothing but pixels: how sharp images are, and how much they differ from each other.

They show a blurred or a collapsed generator beside real images; they do not show whether the images make sense.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gan_serve.images.pixels import UInt8Array

SAMPLE = 1000


def random_sample(n: int, size: int = SAMPLE) -> npt.NDArray[np.int64]:
    """Which ``size`` of n images to measure (all, if there are fewer): always the same, and in no order of classes."""
    return np.random.RandomState(0).permutation(n)[:size]


def mean_gradient(images: UInt8Array) -> float:
    """Sharpness: the mean difference of neighbouring pixels, down and across, in grey levels.

    images: uint8 [N, H, W, C]. Blurred images have less than real ones, noisy ones more.
    """
    values = images.astype(np.float32)
    return float((np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=2)).mean()) / 2)


def diversity(images: UInt8Array, labels: npt.ArrayLike | None = None) -> float:
    """Diversity over all pairs: the mean difference of two images in grey levels a pixel, whatever their order.

    Where labels are given it is the mean over the classes of the diversity within each: a conditional generator that
    draws one image for a class, whatever the latent, has none, however much the classes differ.

    images: uint8 [N, H, W, C]. labels: int [N]. 0.0 where no class has two images.
    """
    classes = [images] if labels is None else [images[np.asarray(labels) == label] for label in np.unique(labels)]
    within = [_mean_difference(members.reshape(len(members), -1)) for members in classes if len(members) > 1]
    return float(np.mean(within)) if within else 0.0


def _mean_difference(values: UInt8Array) -> float:
    """Σ |x_i - x_j| over pairs is Σ (2i - n + 1) x_(i) over the sorted values, i from 0: no pair need be formed."""
    n = len(values)
    ranks = 2.0 * np.arange(n) - n + 1
    total = 0.0
    for start in range(0, values.shape[1], 4096):  # pixels at a time, to bound the memory
        total += float((ranks @ np.sort(values[:, start : start + 4096], axis=0).astype(np.float64)).sum())
    return float(total / (n * (n - 1) / 2) / values.shape[1])


def pixel_metrics(images: UInt8Array, what: str, labels: npt.ArrayLike | None = None) -> dict[str, float]:
    """Sharpness and diversity by names that state the number of images and ``what`` they were.

    Where labels int [N] are given, diversity within the classes too.

    >>> pixel_metrics(np.zeros((4, 8, 8, 1), np.uint8), "seeds")
    {'mean_gradient_4_seeds': 0.0, 'diversity_4_seeds': 0.0}
    """
    metrics = {"mean_gradient": mean_gradient(images), "diversity": diversity(images)}
    if labels is not None:
        metrics["diversity_within_class"] = diversity(images, labels)
    return {f"{name}_{len(images)}_{what}": round(value, 3) for name, value in metrics.items()}
