"""The metrics of papers on GANs, computed from the features of two sets of images.

They are implemented here because torchmetrics and torch-fidelity take images and torch modules instead of features, and
torch-fidelity needs torchvision; tests compare them with torchmetrics and prdc. They work with the features of any
network; the Fréchet distance is called FID only for Inception.

Features are float32 or float64 [N, D], logits float [N, K]; everything is computed in float64. ``InvalidOption`` is
raised for arrays of another shape, with numbers that are not finite, or of too few images.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gan_serve.errors import InvalidOption

Features = npt.NDArray[np.floating[Any]]
Float64s = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]

BLOCK = 512  # rows of distances computed at a time: 40 MB for 10,000 images
# Squared distances count as equal if they differ by less than this, relative to the squares from which they are
# computed: a hundred times the rounding error of float64 over 2,048 features, and far below that of float32 features.
SAME = 1e-10


class FeatureStatistics(NamedTuple):
    """Mean float64 [D] and covariance float64 [D, D] (divided by n - 1) of n images' features."""

    mean: Float64s
    covariance: Float64s
    n: int


class ManifoldMetrics(NamedTuple):
    """Shares from 0 to 1, except density, which has no upper bound."""

    precision: float
    recall: float
    density: float
    coverage: float


def feature_statistics(features: Features) -> FeatureStatistics:
    """Return mean and covariance of features [N, D], N of 2 or more."""
    values = _features(features, "features", least=2, why="a covariance")
    mean = values.mean(axis=0)
    centred = values - mean
    return FeatureStatistics(mean, centred.T @ centred / (len(values) - 1), len(values))


def frechet_distance(real: FeatureStatistics, fake: FeatureStatistics) -> float:
    """Return the Fréchet distance of two normal distributions: |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½).

    Heusel et al. 2017 (arXiv:1706.08500); it is the FID if the features are those of Inception. 0 or more; lower is
    better. The estimate falls as N grows, so compare only values with the same N.

    The trace of the root is the sum of the singular values of Σ₁^½ Σ₂^½, whose factors are taken from symmetric
    eigendecompositions: exact also if N < D makes the covariances singular, and without complex numbers.

    >>> points = np.array([[0.0, 0], [1, 0], [0, 1], [2, 2]])
    >>> round(frechet_distance(feature_statistics(points), feature_statistics(points + 3)), 6)
    18.0
    """
    if real.mean.shape != fake.mean.shape:
        raise _unlike(len(real.mean), len(fake.mean))
    roots = _root_columns(real.covariance).T @ _root_columns(fake.covariance)
    trace_of_root = np.linalg.svd(roots, compute_uv=False).sum()
    apart = ((real.mean - fake.mean) ** 2).sum()
    return max(0.0, float(apart + np.trace(real.covariance) + np.trace(fake.covariance) - 2 * trace_of_root))


def kernel_distance(
    real: Features, fake: Features, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> float:
    """Return the kernel distance: the unbiased squared MMD under the kernel (x·y / D + 1)³, mean over random subsets.

    Bińkowski et al. 2018 (arXiv:1801.01401), section 4; it is the KID if the features are those of Inception. Lower is
    better. Its expectation does not depend on N and is 0 for two samples of one distribution, so an estimate may be
    slightly below 0.

    Args:
        real: [N, D]. fake: [M, D].
        subsets: number of subsets; each is sampled without replacement.
        subset_size: images of each side in a subset; no more than the smaller side has.
        seed: for the choice of the subsets. The value is deterministic for a seed and an order of the images; another
            order changes it within the spread of the subsets. If a subset has all images, the order does not matter.
    """
    if subsets < 1 or subset_size < 2:
        raise InvalidOption(
            f"The kernel distance cannot be computed from {subsets} subsets of {subset_size} images.",
            "Give at least 1 subset of at least 2 images.",
        )
    one, other = _pair(real, fake, least=2, why="the kernel distance")
    size = min(subset_size, len(one), len(other))
    if size == len(one) == len(other):
        return _squared_mmd(one, other)
    random = np.random.RandomState(seed)  # a stream that NumPy keeps frozen
    distances = (
        _squared_mmd(one[random.permutation(len(one))[:size]], other[random.permutation(len(other))[:size]])
        for _ in range(subsets)
    )
    return float(np.mean(list(distances)))


def classifier_score(logits: Features, splits: int = 10) -> float:
    """Return the Inception score by any classifier: exp E KL(p(y|x) ‖ p(y)), mean over splits.

    The score is from 1 to K; higher is better.

    Salimans et al. 2016 (arXiv:1606.03498), section 4. It ignores real images: a generator with a single image for each
    class has the best score.

    Args:
        logits: [N, K].
        splits: number of consecutive parts, each with its own p(y). Images that are sorted by class must be shuffled
            first.

    >>> classifier_score(100.0 * np.eye(4), splits=1)
    4.0
    """
    if splits < 1:
        raise InvalidOption(f"There cannot be {splits} splits.", "Give 1 or more.")
    values = _features(logits, "logits", least=splits, why=f"{splits} splits")
    log_p = _log_softmax(values)
    scores = []
    for part in np.array_split(log_p, splits):
        p = np.exp(part)
        # 0 log 0 is 0, for a class that no image of the part has.
        log_mean = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
        scores.append(np.exp((p * (part - log_mean)).sum(axis=1).mean()))
    return float(np.mean(scores))


def manifold_metrics(
    real: Features, fake: Features, *, k_precision: int = 3, k_density: int = 5, block: int = BLOCK
) -> ManifoldMetrics:
    """Return precision, recall, density and coverage, from a ball around each image up to its k-th nearest neighbour.

    Kynkäänniemi et al. 2019 (arXiv:1904.06991), equations 1 and 2, with k = 3:

    - precision: the share of generated images within the ball of a real one;
    - recall: the share of real images within the ball of a generated one.

    Naeem et al. 2020 (arXiv:2002.09797), with k = 5, both with the balls of real images:

    - density: the mean number of balls that contain a generated image, divided by k; 1 for the real distribution;
    - coverage: the share of balls that contain a generated image.

    A distance equal to the radius is within the ball, except for density: the authors' code does the same, and a set
    then has a density of exactly 1 with itself. Distances that differ by less than ``SAME`` count as equal. So
    precision, recall and coverage of a set with itself are exactly 1, and no value depends on ``block`` or on the order
    of the images.

    Args:
        real: [N, D]. fake: [M, D]. More than k images each.
        k_precision: k for precision and recall. k_density: k for density and coverage.
        block: rows of the matrix of distances computed at a time; memory is about 8 · block · max(N, M) bytes beyond
            float64 copies of both sides.
    """
    if min(k_precision, k_density) < 1:
        raise InvalidOption(f"There is no neighbour number {min(k_precision, k_density)}.", "k must be at least 1.")
    most = max(k_precision, k_density)
    one, other = _pair(real, fake, least=most + 1, why=f"a neighbour number {most}")
    # This keeps the distances and makes the products from which they are computed small.
    centre = one.mean(axis=0)
    one, other = one - centre, other - centre
    one_squares, other_squares = _squares(one), _squares(other)

    precision_radii, density_radii = _squared_radii(one, [k_precision, k_density], block)
    (recall_radii,) = _squared_radii(other, [k_precision], block)
    precision_slack = SAME * (one_squares + precision_radii)
    density_slack = SAME * (one_squares + density_radii)
    recall_limit = recall_radii + SAME * (other_squares + recall_radii)

    precise = np.zeros(len(other), np.bool_)
    recalled = covered = in_balls = 0
    for start, distances in _distance_blocks(one, other, block):
        rows = slice(start, start + len(distances))
        precise |= (distances <= (precision_radii + precision_slack)[rows, None]).any(axis=0)
        recalled += int((distances <= recall_limit).any(axis=1).sum())
        in_balls += int((distances < (density_radii - density_slack)[rows, None]).sum())
        covered += int((distances.min(axis=1) <= (density_radii + density_slack)[rows]).sum())
    return ManifoldMetrics(
        precision=float(precise.mean()),
        recall=recalled / len(one),
        density=in_balls / (k_density * len(other)),
        coverage=covered / len(one),
    )


def label_agreement(logits: Features, labels: Labels) -> float:
    """Return the share of images that the classifier assigns to the class of their label; chance is 1 / K.

    logits: [N, K]. labels: int [N], from 0 to K - 1.
    """
    return float(_agrees(logits, labels).mean())


def agreement_by_class(logits: Features, labels: Labels) -> Float64s:
    """Return ``label_agreement`` of each class, float64 [K]; nan for a class without images.

    >>> agreement_by_class(np.eye(3), np.array([0, 0, 2])).tolist()
    [0.5, nan, 1.0]
    """
    agrees = _agrees(logits, labels)
    classes = logits.shape[1]
    images = np.bincount(labels, minlength=classes)
    agreeing = np.bincount(labels, weights=agrees, minlength=classes)
    return np.where(images > 0, agreeing / np.maximum(images, 1), np.nan)


def class_shares(logits: Features) -> Float64s:
    """Return the share of images that the classifier assigns to each class: logits [N, K] -> float64 [K]."""
    values = _features(logits, "logits", least=1, why="a share")
    return np.bincount(values.argmax(axis=1), minlength=values.shape[1]) / len(values)


def confident_share(logits: Features, above: float = 0.9) -> float:
    """Return the share of images whose largest softmax probability exceeds ``above``; logits [N, K]."""
    values = _features(logits, "logits", least=1, why="a share")
    return float((np.exp(_log_softmax(values).max(axis=1)) > above).mean())


def _root_columns(covariance: Float64s) -> Float64s:
    """Return A [D, rank] with A Aᵀ = Σ. Eigenvalues that are only rounding errors are left out."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > max(values.max(), 0) * len(values) * np.finfo(np.float64).eps
    columns: Float64s = vectors[:, kept] * np.sqrt(values[kept])
    return columns


def _squared_mmd(one: Float64s, other: Float64s) -> float:
    """Return the squared MMD of two sides [n, D]; unbiased, because no image is compared with itself."""
    n = len(one)
    within = sum(kernel.sum() - np.trace(kernel) for kernel in (_cubic(one, one), _cubic(other, other)))
    return float(within / (n * (n - 1)) - 2 * _cubic(one, other).mean())


def _cubic(one: Float64s, other: Float64s) -> Float64s:
    kernel: Float64s = one @ other.T
    kernel /= one.shape[1]
    kernel += 1
    return kernel * kernel * kernel


def _squared_radii(points: Float64s, neighbours: list[int], block: int) -> list[Float64s]:
    """Return the squared distance float64 [N] of each point to its k-th nearest neighbour, for each k."""
    radii = [np.empty(len(points)) for _ in neighbours]
    for start, distances in _distance_blocks(points, points, block):
        rows = np.arange(len(distances))
        distances[rows, start + rows] = -np.inf  # a point is the first of its own neighbours, despite rounding
        distances.partition(sorted(set(neighbours)), axis=1)
        for radius, k in zip(radii, neighbours, strict=True):
            radius[start : start + len(distances)] = np.maximum(distances[:, k], 0)
    return radii


def _distance_blocks(one: Float64s, other: Float64s, block: int) -> Iterator[tuple[int, Float64s]]:
    """Yield the first row and the squared distances [rows, M] of each block of rows: |x|² + |y|² - 2 x·y."""
    one_squares, other_squares = _squares(one), _squares(other)
    transposed = -2 * other.T
    for start in range(0, len(one), block):
        distances: Float64s = one[start : start + block] @ transposed
        distances += one_squares[start : start + block, None]
        distances += other_squares
        yield start, distances


def _squares(points: Float64s) -> Float64s:
    squares: Float64s = np.einsum("nd,nd->n", points, points)
    return squares


def _log_softmax(logits: Float64s) -> Float64s:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Float64s = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _agrees(logits: Features, labels: Labels) -> npt.NDArray[np.bool_]:
    values = _features(logits, "logits", least=1, why="an agreement")
    n, classes = values.shape
    if labels.shape != (n,):
        raise InvalidOption(
            f"There are labels of shape {list(labels.shape)} for {n} images.", "Give one for each image."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InvalidOption(
            f"Labels run from {labels.min()} to {labels.max()}, but the classifier has {classes} classes.",
            f"Give labels from 0 to {classes - 1}.",
        )
    agrees: npt.NDArray[np.bool_] = values.argmax(axis=1) == labels
    return agrees


def _pair(real: Features, fake: Features, least: int, why: str) -> tuple[Float64s, Float64s]:
    one, other = _features(real, "real features", least, why), _features(fake, "generated features", least, why)
    if one.shape[1] != other.shape[1]:
        raise _unlike(one.shape[1], other.shape[1])
    return one, other


def _features(features: Features, what: str, least: int, why: str) -> Float64s:
    """Return features as float64 after checking them."""
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise InvalidOption(f"The {what} have the shape {list(values.shape)}.", "Give one row for each image, [N, D].")
    if len(values) < least:
        raise InvalidOption(
            f"The {what} belong to {len(values)} images, too few for {why}.", f"Give {least} images or more."
        )
    broken = np.count_nonzero(~np.isfinite(values).all(axis=1))
    if broken:
        raise InvalidOption(
            f"The {what} of {broken} of {len(values)} images are not finite.",
            "Check these images and their extractor.",
        )
    return values


def _unlike(real: int, fake: int) -> InvalidOption:
    return InvalidOption(
        f"Real images have {real} features and generated ones {fake}.", "Compute both with the same extractor."
    )
