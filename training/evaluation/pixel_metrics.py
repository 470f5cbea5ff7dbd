"""Metrics of pixels alone: sharpness, checkerboard patterns, specks and diversity.

Compared with those of real images, they show blur, upsampling artefacts, stray pixels and mode collapse. They do not
show whether the images make sense.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gan_serve.images.pixels import UInt8Array
from gan_serve.training.evaluation.metric_names import MetricName

SAMPLE = 1000
SPECK = 48  # grey levels by which a speck differs from its surroundings
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow converts RGB to gray
CHUNK = 256  # images at a time, to bound the memory


def random_sample(n: int, size: int = SAMPLE) -> npt.NDArray[np.int64]:
    """Return the indices of ``size`` of n images (all if there are fewer) in a random order, the same at each call."""
    return np.random.RandomState(0).permutation(n)[:size]


def mean_gradient(images: UInt8Array) -> float:
    """Return the sharpness: the mean absolute difference of adjacent pixels, down and across, in grey levels.

    images: uint8 [N, H, W, C]. Blurred images have less than real ones, noisy ones more.
    """
    values = images.astype(np.float32)
    return float((np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=2)).mean()) / 2)


def contrast(images: UInt8Array) -> float:
    """Return the standard deviation of the pixels within an image in grey levels, the mean over images [N, H, W, C]."""
    return float(images.astype(np.float32).std(axis=(1, 2)).mean())


def checkerboard(images: UInt8Array) -> float:
    """Return the power of the luma at the diagonal pixel frequency, mean over the images, in grey levels squared.

    The frequency is that of a chessboard with squares of one pixel, (1/2, 1/2) cycles a pixel: the coefficient
    Σ (-1)^(x + y) v(x, y) / (H W) of the discrete Fourier transform, squared. A chessboard of amplitude a (pixels m + a
    and m - a) has a power of a². Real images have little at this frequency; transposed convolutions and pixel
    shuffles leave more (Odena et al. 2016, "Deconvolution and Checkerboard Artifacts").

    images: uint8 [N, H, W, C], C of 1 or 3; for an odd height or width, the last row or column is left out.
    """
    height, width = (size - size % 2 for size in images.shape[1:3])
    rows = (-1.0) ** np.arange(height) / height
    columns = (-1.0) ** np.arange(width) / width
    powers = [
        np.einsum("nyx,y,x->n", _luma(images[start : start + CHUNK, :height, :width]), rows, columns) ** 2
        for start in range(0, len(images), CHUNK)
    ]
    return float(np.concatenate(powers).mean())


def specks(images: UInt8Array) -> float:
    """Return the share of images with a speck, 0 to 1.

    A speck is a spot of at most 2x2 pixels that is more than ``SPECK`` grey levels brighter, or darker, than its
    surroundings in some channel. It is what remains of an image without its opening (closing) by lines of three pixels
    in four directions, the top-hat transform of mathematical morphology: edges, corners and lines of three pixels or
    more do not count. Eyes, studs and textures do, so compare with real images.

    images: uint8 [N, H, W, C].
    """
    found = [speck_mask(images[start : start + CHUNK]).any(axis=(1, 2)) for start in range(0, len(images), CHUNK)]
    return float(np.concatenate(found).mean())


def speck_mask(images: UInt8Array) -> npt.NDArray[np.bool_]:
    """Return a mask of the specks of images uint8 [N, H, W, C], bool [N, H, W]; see ``specks``."""
    remains = np.maximum(_without_lines(images), _without_lines(np.invert(images)))  # bright specks, and dark ones
    mask: npt.NDArray[np.bool_] = remains.max(axis=3) > SPECK
    return mask


def diversity(images: UInt8Array, labels: npt.ArrayLike | None = None) -> float:
    """Return the diversity: the mean difference of two images in grey levels a pixel, over all pairs.

    With labels, it is the mean of the diversities within the classes: a conditional generator with a single image for
    each class has 0, however much the classes differ.

    images: uint8 [N, H, W, C]. labels: int [N]. The result is 0.0 if no class has two images.
    """
    within = [_mean_difference(images)] if labels is None else list(diversity_by_class(images, labels).values())
    return float(np.mean(within)) if len(images) > 1 and within else 0.0


def diversity_by_class(images: UInt8Array, labels: npt.ArrayLike) -> dict[int, float]:
    """Return the diversity within each class with two images or more, by label; see ``diversity``."""
    values = np.asarray(labels)
    members = {int(label): images[values == label] for label in np.unique(values)}
    return {label: _mean_difference(those) for label, those in members.items() if len(those) > 1}


def _mean_difference(images: UInt8Array) -> float:
    """Return the mean |x_i - x_j| over all pairs from the sorted values: the sum is Σ (2i - n + 1) x_(i), i from 0."""
    n = len(images)
    if n < 2:
        return 0.0
    values = images.reshape(n, -1)
    ranks = 2.0 * np.arange(n) - n + 1
    total = 0.0
    for start in range(0, values.shape[1], 4096):  # pixels at a time, to bound the memory
        total += float((ranks @ np.sort(values[:, start : start + 4096], axis=0).astype(np.float64)).sum())
    return float(total / (n * (n - 1) / 2) / values.shape[1])


def pixel_metrics(images: UInt8Array, source: str, labels: npt.ArrayLike | None = None) -> dict[str, float]:
    """Return all metrics of one set of images; their names state the number and the ``source`` (``train``, ``seeds``).

    With labels int [N], the diversity within the classes is added.

    >>> list(pixel_metrics(np.zeros((4, 8, 8, 1), np.uint8), "seeds"))
    ['mean_gradient_4_seeds', 'checkerboard_4_seeds', 'specks_4_seeds', 'diversity_4_seeds']
    """
    metrics = {
        "mean_gradient": round(mean_gradient(images), 3),
        "checkerboard": float(f"{checkerboard(images):.5g}"),
        "specks": round(specks(images), 5),
        "diversity": round(diversity(images), 3),
    }
    if labels is not None:
        metrics["diversity_within_class"] = round(diversity(images, labels), 3)
    return {str(MetricName(stem, len(images), source=source)): value for stem, value in metrics.items()}


def _luma(images: UInt8Array) -> npt.NDArray[np.float32]:
    """Return the luma float32 [N, H, W] of images uint8 [N, H, W, C]."""
    values = images.astype(np.float32)
    luma: npt.NDArray[np.float32] = values[..., 0] if images.shape[3] == 1 else values @ LUMA
    return luma


def _without_lines(values: UInt8Array) -> UInt8Array:
    """Return images uint8 [N, H, W, C] minus their bright lines of three pixels in any of four directions.

    The opening by a line is the maximum, over its three places around a pixel, of the minimum along it. Beyond the
    border the outermost pixels are repeated.
    """
    height, width = values.shape[1:3]
    padded = np.pad(values, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    opened = np.zeros_like(values)
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        along = [
            padded[:, 2 + step * down : 2 + step * down + height, 2 + step * across : 2 + step * across + width]
            for step in range(-2, 3)
        ]
        for one, two, three in zip(along, along[1:], along[2:], strict=False):
            darkest = np.minimum(one, two)
            np.maximum(opened, np.minimum(darkest, three, out=darkest), out=opened)
    remains: UInt8Array = values - opened  # an opening is nowhere brighter
    return remains
