"""Figures that need nothing but pixels: how sharp images are, and how much they differ from each other.

They show a blurred or a collapsed generator beside real images; they do not show whether the images make sense.
"""

from __future__ import annotations

import numpy as np

from gan_serve.images import UInt8Array

SAMPLE = 1000


def mean_gradient(images: UInt8Array) -> float:
    """Sharpness: the mean difference of neighbouring pixels, down and across, in grey levels.

    images: uint8 [N, H, W, C]. Blurred images have less than real ones, noisy ones more.
    """
    values = images.astype(np.float32)
    return float((np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=2)).mean()) / 2)


def pairwise_l1(images: UInt8Array) -> float:
    """Diversity: the mean difference, in grey levels a pixel, of each image to the one half the set further on.

    images: uint8 [N, H, W, C], in no meaningful order. A collapsed generator has far less than real images.
    """
    values = images.astype(np.float32)
    return float(np.abs(values - np.roll(values, len(values) // 2, axis=0)).mean())


def pixel_metrics(images: UInt8Array, what: str) -> dict[str, float]:
    """Both figures, by names that state the number of images and ``what`` they were.

    >>> pixel_metrics(np.zeros((4, 8, 8, 1), np.uint8), "seeds")
    {'mean_gradient_4_seeds': 0.0, 'pairwise_l1_4_seeds': 0.0}
    """
    return {
        f"mean_gradient_{len(images)}_{what}": round(mean_gradient(images), 3),
        f"pairwise_l1_{len(images)}_{what}": round(pairwise_l1(images), 3),
    }
