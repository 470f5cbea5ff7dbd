"""Compare images: PSNR, and the difference that rounding explains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gan_serve.images.pixels import UInt8Array

GREY_LEVELS = 1  # difference between machines or versions of ONNX Runtime in fp32
DECIBELS = 40.0  # lowest PSNR between machines in int8 and fp16, whose rounding steps are larger
IDENTICAL = 100.0  # decibels: the PSNR of identical images


def psnr(images: UInt8Array, reference: UInt8Array) -> npt.NDArray[np.float64]:
    """Return the peak signal-to-noise ratio of each image, 10 log10(255² / MSE), at most 100.

    Images are uint8 [N, H, W, C]; the result is float64 [N] in decibels.

    >>> psnr(np.full((1, 2, 2, 1), 10, np.uint8), np.full((1, 2, 2, 1), 11, np.uint8)).round(2).tolist()
    [48.13]
    """
    squares = (images.astype(np.float64) - reference) ** 2
    decibels: npt.NDArray[np.float64] = 10 * np.log10(255**2 / np.maximum(squares.mean(axis=(1, 2, 3)), 1e-9))
    return np.minimum(IDENTICAL, decibels)


def describe_mismatch(images: UInt8Array, expected: UInt8Array, precision: str) -> str:
    """Return how images, uint8 [N, H, W, C], differ from those expected by more than rounding; empty if they do not."""
    if images.shape != expected.shape or images.dtype != expected.dtype:
        return f"it is {images.dtype} {list(images.shape)}, not {expected.dtype} {list(expected.shape)}"
    difference = int(np.abs(images.astype(np.int16) - expected).max())
    if precision == "fp32":
        text = f"a pixel is off by {difference} grey levels (rounding explains at most {GREY_LEVELS})"
        return text if difference > GREY_LEVELS else ""
    decibels = float(psnr(images, expected).min())
    text = f"the PSNR is {decibels:.1f} dB (rounding leaves at least {DECIBELS:.0f} dB)"
    return text if decibels < DECIBELS else ""
