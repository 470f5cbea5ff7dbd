"""The sliced Wasserstein distance between the patches of two sets of images, at several scales. It needs no network.

Karras et al. 2018 (arXiv:1710.10196), section 5: the images are decomposed into a Laplacian pyramid. At each level, the
7x7 patches of the two sets are two clouds of points, whose distance is the mean over random directions of the 1-D
Wasserstein distance of their projections. The finest level measures noise and sharpness, the coarsest one layout and
variety.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gan_serve.errors import InvalidOption
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.evaluation.metric_names import MetricName

PATCH = 7  # pixels, as in the paper
COARSEST = 8  # pixels; the paper stops at 16, with images of 128 and more
DIRECTIONS = 128
POSITIONS = 48  # patches of an image at a level, at most
CHUNK = 128  # images whose pyramid is built at a time, so that it stays in the cache

Floats = npt.NDArray[np.float32]


class SlicedWasserstein:
    """The distance between sets of images and one set of real images, whose statistics are computed once.

    Three choices differ from the paper. The patches of all images are at the same random places, so the order of the
    images does not matter. Both sides are normalised by the mean and deviation of the *real* patches, so that wrong
    brightness, contrast or colour counts too. The pyramid goes down to 8 pixels, so that small images have one.

    Args:
        real: uint8 [N, R, R, C], R of 8 or more.
        source: the split of the real images, for the name of the metric.
        seed: for the places and directions; only distances with the same seed can be compared.

    Attributes:
        n: the number of generated images for ``measure``, equal to that of the real ones.
        name: states the protocol: ``swd1k_train`` compares 1,000 images with 1,000 of the training set.

    Raises:
        InvalidOption: no images, images below 8 pixels or not square.

    >>> real = np.random.RandomState(0).randint(0, 256, (10, 16, 16, 1)).astype(np.uint8)
    >>> SlicedWasserstein(real).measure(real)
    {'swd10_train': 0.0, 'swd10_train_16px': 0.0, 'swd10_train_8px': 0.0}
    """

    def __init__(self, real: UInt8Array, source: str = "train", seed: int = 0) -> None:
        n, height, width, channels = real.shape
        if not n or height != width or height < COARSEST:
            raise InvalidOption(
                f"The sliced Wasserstein distance cannot be measured on {n} images of {height}x{width} pixels.",
                f"Give square images of {COARSEST} pixels or more.",
            )
        self.n = n
        self.name = str(MetricName("swd", n, source=source))
        self._shape, self._source = real.shape, source
        random = np.random.RandomState(seed)  # a stream that NumPy keeps frozen
        self._levels = [_Level(size, channels, random) for size in pyramid_sizes(height)]
        for level, images in zip(self._levels, laplacian_pyramid(real), strict=True):
            level.set_real(images)

    def measure(self, fake: UInt8Array) -> dict[str, float]:
        """Return the distance of ``fake``, uint8 of the real images' shape, times 1000 as in the paper.

        Returns:
            The mean over the levels under ``name``, and the distance of each level, finest first, with its size in
            pixels. The unit is a thousandth of the standard deviation of the real patches: 0 for the same set.

        Raises:
            InvalidOption: another shape; different numbers of images would bias the distance.
        """
        if fake.shape != self._shape:
            raise InvalidOption(
                f"The images have the shape {list(fake.shape)}, the real ones {list(self._shape)}.",
                "Give as many images of the same size.",
            )
        pairs = zip(self._levels, laplacian_pyramid(fake), strict=True)
        distances = {level.size: 1000 * level.distance(images) for level, images in pairs}
        mean = round(float(np.mean(list(distances.values()))), 3)
        name = MetricName("swd", self.n, source=self._source)
        levels = {str(name._replace(size=size)): round(distance, 3) for size, distance in distances.items()}
        return {str(name): mean} | levels


def pyramid_sizes(resolution: int) -> list[int]:
    """Return the sizes of a pyramid's levels, finest first: halved while that is exact and leaves 8 pixels.

    >>> pyramid_sizes(64), pyramid_sizes(28), pyramid_sizes(8)
    ([64, 32, 16, 8], [28, 14], [8])
    """
    sizes = [resolution]
    while sizes[-1] % 2 == 0 and sizes[-1] // 2 >= COARSEST:
        sizes.append(sizes[-1] // 2)
    return sizes


def laplacian_pyramid(images: UInt8Array) -> list[Floats]:
    """Return the levels of images uint8 [N, R, R, C]: float32 [N, r, r, C] in grey levels, one for each of their sizes.

    Each level except the last is the detail that the next one lacks (Burt and Adelson 1983); the last is the blurred
    image.
    """
    sizes = pyramid_sizes(images.shape[1])
    levels: list[Floats] = [np.empty((len(images), size, size, images.shape[3]), np.float32) for size in sizes]
    for start in range(0, len(images), CHUNK):
        rest: Floats = images[start : start + CHUNK].astype(np.float32)
        for level in levels[:-1]:
            smaller = _shrink(_shrink(rest, axis=1), axis=2)
            level[start : start + CHUNK] = rest - _enlarge(_enlarge(smaller, axis=1), axis=2)
            rest = smaller
        levels[-1][start : start + CHUNK] = rest
    return levels


def sliced_distance(one: Floats, other: Floats, directions: Floats) -> float:
    """Return the mean of the 1-D Wasserstein distances of two clouds, float32 [N, D], along unit vectors [D, K]."""
    return _distance(_sorted_projections(one, directions), _sorted_projections(other, directions))


class _Level:
    """The places and directions of a level, and the channel statistics and sorted projections of the real images."""

    def __init__(self, size: int, channels: int, random: np.random.RandomState) -> None:
        self.size = size
        across = size - PATCH + 1
        places = random.permutation(across * across)[:POSITIONS]
        self._places = [divmod(int(place), across) for place in places]
        directions = random.standard_normal((PATCH * PATCH * channels, DIRECTIONS))
        self._directions = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)

    def set_real(self, images: Floats) -> None:
        patches = self._patches(images)
        self._mean: Floats = patches.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
        deviation = patches.std(axis=(0, 1), dtype=np.float64)
        # A constant channel has no scale of its own; use grey levels.
        self._deviation = np.where(deviation > 1e-3, deviation, 1.0).astype(np.float32)
        self._real = self._projections(patches)

    def distance(self, images: Floats) -> float:
        return _distance(self._real, self._projections(self._patches(images)))

    def _patches(self, images: Floats) -> Floats:
        """Cut patches from the images: [N, r, r, C] -> [N·places, 49, C]."""
        cut = [images[:, y : y + PATCH, x : x + PATCH] for y, x in self._places]
        patches: Floats = np.stack(cut, axis=1).reshape(-1, PATCH * PATCH, images.shape[3])
        return patches

    def _projections(self, patches: Floats) -> Floats:
        scaled = (patches - self._mean) / self._deviation
        return _sorted_projections(scaled.reshape(len(scaled), -1), self._directions)


def _sorted_projections(points: Floats, directions: Floats) -> Floats:
    """Return projections [K, N] of points [N, D], each row sorted; sorting is faster along the last axis."""
    projections: Floats = np.ascontiguousarray((points @ directions).T)
    projections.sort(axis=1)
    return projections


def _distance(one: Floats, other: Floats) -> float:
    """Return the mean 1-D Wasserstein distance of the rows, which are sorted samples of equal size."""
    return float(np.abs(one - other).mean(dtype=np.float64))


def _shrink(images: Floats, axis: int) -> Floats:
    """Blur with the binomial (1 4 6 4 1)/16 along ``axis``, borders mirrored, and keep every second pixel."""
    size = images.shape[axis]
    padded = np.pad(images, [(2, 2) if number == axis else (0, 0) for number in range(4)], mode="reflect")
    taps = [padded.take(range(first, first + size, 2), axis) for first in range(5)]
    blurred = (taps[0] + taps[4] + 4 * (taps[1] + taps[3]) + 6 * taps[2]) / 16
    return blurred.astype(np.float32, copy=False)


def _enlarge(images: Floats, axis: int) -> Floats:
    """Double the pixels along ``axis``: insert zeros, then apply the same blur times 2."""
    size = images.shape[axis]
    padded = np.pad(images, [(1, 1) if number == axis else (0, 0) for number in range(4)], mode="edge")
    before, here, after = (padded.take(range(first, first + size), axis) for first in range(3))
    even, odd = (before + 6 * here + after) / 8, (here + after) / 2
    enlarged = np.stack([even, odd], axis=axis + 1)
    shape = (*images.shape[:axis], 2 * size, *images.shape[axis + 1 :])
    return enlarged.reshape(shape).astype(np.float32, copy=False)
