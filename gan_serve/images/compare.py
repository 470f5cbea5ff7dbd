"""Compare images: PSNR, and the difference that rounding explains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gan_serve.images.pixels import UInt8Array

IDENTICAL = 100.0  # decibels: PSNR of an image that does not differ at all


def psnr(images: UInt8Array, reference: UInt8Array) -> npt.NDArray[np.float64]:
    """Peak signal-to-noise ratio of each image, uint8 [N, H, W, C] -> float64 [N]: 10 log10(255² / MSE), at most 100.

    >>> psnr(np.full((1, 2, 2, 1), 10, np.uint8), np.full((1, 2, 2, 1), 11, np.uint8)).round(2).tolist()
    [48.13]
    """
    squares = (images.astype(np.float64) - reference) ** 2
    decibels: npt.NDArray[np.float64] = 10 * np.log10(255**2 / np.maximum(squares.mean(axis=(1, 2, 3)), 1e-9))
    return np.minimum(IDENTICAL, decibels)


GREY_LEVELS = 1  # how far another CPU or a GPU may round in fp32
DECIBELS = 40.0  # PSNR that another CPU or a GPU keeps in int8 and fp16, where rounding differs by whole steps


def describe_mismatch(drawn: UInt8Array, expected: UInt8Array, precision: str) -> str:
    """What makes two drawings of images, uint8 [N, H, W, C], differ more than by rounding; empty where nothing does."""
    difference = int(np.abs(drawn.astype(np.int16) - expected).max())
    if precision == "fp32":
        told = f"a pixel is off by {difference} grey levels (at most {GREY_LEVELS} may come from rounding)"
        return told if difference > GREY_LEVELS else ""
    decibels = float(psnr(drawn, expected).min())
    told = f"the PSNR is {decibels:.1f} dB (at least {DECIBELS:.0f} remain after rounding)"
    return told if decibels < DECIBELS else ""
