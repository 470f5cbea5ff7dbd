"""Formulas of the metrics of papers on GANs, from the features of two sets of images.

They are our own because torchmetrics and torch-fidelity take images and torch modules where features are at hand, and
torch-fidelity needs torchvision; tests compare them with torchmetrics and prdc. They do not depend on the network of
the features: a Fréchet distance is a FID only where that network is Inception.

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

BLOCK = 512  # rows of distances held at a time: 40 MB for 10,000 images
# Squared distances that differ by less, relative to the squares they are computed from, are equal: a hundred times what
# float64 loses in the sum over 2,048 features, and far below what the float32 features themselves are rounded by.
SAME = 1e-10


class FeatureStatistics(NamedTuple):
    """Mean float64 [D] and covariance float64 [D, D] (divided by n - 1) of n images' features."""

    mean: Float64s
    covariance: Float64s
    n: int


class ManifoldMetrics(NamedTuple):
    """Each is a share from 0 to 1, but density, which has no upper bound."""

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

    Heusel et al. 2017 (arXiv:1706.08500): the FID, where features are those of Inception. 0 or more; smaller is better.
    Its estimate falls as N grows: compare only figures of the same N.

    The trace of the root is the sum of the singular values of Σ₁^½ Σ₂^½, whose factors are taken from symmetric
    eigendecompositions: exact where N < D makes the covariances singular, and no complex number can appear.

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

    Bińkowski et al. 2018 (arXiv:1801.01401), section 4: the KID, where features are those of Inception. Smaller is
    better; its expectation does not depend on N, and is 0 for two samples of one distribution, so that an estimate may
    be a little below 0.

    Args:
        real: [N, D]. fake: [M, D].
        subsets: how many subsets; each is sampled without replacement.
        subset_size: images of each side in a subset; no more than the smaller side has.
        seed: of the subsets. The value is deterministic for a seed and an order of the images; another order changes it
            within the spread of the subsets. Where a subset is the whole of both
            sides, the order does not matter.
    """
    if subsets < 1 or subset_size < 2:
        raise InvalidOption(
            f"{subsets} subsets of {subset_size} images make no kernel distance.", "Ask for 1 or more, of 2 or more."
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

    From 1 to K; larger is better.

    Salimans et al. 2016 (arXiv:1606.03498), section 4. It does not take real images into account: a generator with
    one image a class has the best score.

    Args:
        logits: [N, K].
        splits: consecutive parts, in the given order, each with its own p(y): images sorted by class must be shuffled
            first, or each part misses classes.

    >>> classifier_score(100.0 * np.eye(4), splits=1)
    4.0
    """
    if splits < 1:
        raise InvalidOption(f"There cannot be {splits} splits.", "Ask for 1 or more.")
    values = _features(logits, "logits", least=splits, why=f"{splits} splits")
    log_p = _log_softmax(values)
    scores = []
    for part in np.array_split(log_p, splits):
        p = np.exp(part)
        # 0 log 0 is 0: a class that no image of the part has adds nothing.
        log_mean = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
        scores.append(np.exp((p * (part - log_mean)).sum(axis=1).mean()))
    return float(np.mean(scores))


def manifold_metrics(
    real: Features, fake: Features, *, k_precision: int = 3, k_density: int = 5, block: int = BLOCK
) -> ManifoldMetrics:
    """Return precision, recall, density and coverage, by balls around each image up to its k-th nearest neighbour.

    Kynkäänniemi et al. 2019 (arXiv:1904.06991), equations 1 and 2, with k = 3:

    - precision: the share of generated images within the ball of a real one;
    - recall: the share of real images within the ball of a generated one.

    Naeem et al. 2020 (arXiv:2002.09797), with k = 5, both with the balls of real images:

    - density: balls that a generated image lies in, mean, divided by k; expected to be 1 for the real distribution;
    - coverage: the share of real balls with a generated image in them.

    A distance equal to the radius is within the ball, but not for density: so is the authors' code, and a set has then
    a density of exactly 1 against itself. Distances equal within ``SAME`` are equal, which makes precision, recall and
    coverage of a set against itself exactly 1, and no figure depend on ``block`` or on the order of the images.

    Args:
        real: [N, D]. fake: [M, D]. More than k images each.
        k_precision: k for precision and recall. k_density: k for density and coverage.
        block: rows of the matrix of distances computed at a time; memory is about 8 · block · max(N, M) bytes beyond
            float64 copies of both sides.
    """
    if min(k_precision, k_density) < 1:
        raise InvalidOption(f"There is no neighbour number {min(k_precision, k_density)}.", "k begins at 1.")
    most = max(k_precision, k_density)
    one, other = _pair(real, fake, least=most + 1, why=f"a neighbour number {most}")
    # Distances do not change, and the products they are computed from become small.
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
    """Return the share of images that the classifier puts into the class of their label; chance is 1 / K.

    logits: [N, K]. labels: int [N], from 0 to K - 1.
    """
    return float(_agrees(logits, labels).mean())


def agreement_by_class(logits: Features, labels: Labels) -> Float64s:
    """Return ``label_agreement`` of each class, float64 [K]; nan for a class that is no image's label.

    >>> agreement_by_class(np.eye(3), np.array([0, 0, 2])).tolist()
    [0.5, nan, 1.0]
    """
    agrees = _agrees(logits, labels)
    classes = logits.shape[1]
    images = np.bincount(labels, minlength=classes)
    agreeing = np.bincount(labels, weights=agrees, minlength=classes)
    return np.where(images > 0, agreeing / np.maximum(images, 1), np.nan)


def class_shares(logits: Features) -> Float64s:
    """Return the share of images that the classifier puts into each class: logits [N, K] -> float64 [K], of sum 1."""
    values = _features(logits, "logits", least=1, why="a share")
    return np.bincount(values.argmax(axis=1), minlength=values.shape[1]) / len(values)


def confident_share(logits: Features, above: float = 0.9) -> float:
    """Return the share of images whose most likely class has a probability ``above``, the softmax of logits [N, K]."""
    values = _features(logits, "logits", least=1, why="a share")
    return float((np.exp(_log_softmax(values).max(axis=1)) > above).mean())


def _root_columns(covariance: Float64s) -> Float64s:
    """A [D, rank] with A Aᵀ = Σ. Eigenvalues that are rounding only are left out: their roots would not be small."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > max(values.max(), 0) * len(values) * np.finfo(np.float64).eps
    columns: Float64s = vectors[:, kept] * np.sqrt(values[kept])
    return columns


def _squared_mmd(one: Float64s, other: Float64s) -> float:
    """Unbiased, as no image is compared with itself; both sides [n, D]."""
    n = len(one)
    within = sum(kernel.sum() - np.trace(kernel) for kernel in (_cubic(one, one), _cubic(other, other)))
    return float(within / (n * (n - 1)) - 2 * _cubic(one, other).mean())


def _cubic(one: Float64s, other: Float64s) -> Float64s:
    kernel: Float64s = one @ other.T
    kernel /= one.shape[1]
    kernel += 1
    return kernel * kernel * kernel


def _squared_radii(points: Float64s, neighbours: list[int], block: int) -> list[Float64s]:
    """Squared distance float64 [N] of each point to its k-th nearest other one, for each k."""
    radii = [np.empty(len(points)) for _ in neighbours]
    for start, distances in _distance_blocks(points, points, block):
        rows = np.arange(len(distances))
        distances[rows, start + rows] = -np.inf  # a point comes first among its own neighbours, whatever the rounding
        distances.partition(sorted(set(neighbours)), axis=1)
        for radius, k in zip(radii, neighbours, strict=True):
            radius[start : start + len(distances)] = np.maximum(distances[:, k], 0)
    return radii


def _distance_blocks(one: Float64s, other: Float64s, block: int) -> Iterator[tuple[int, Float64s]]:
    """The first row and the squared distances [rows, M] of each block of rows: |x|² + |y|² - 2 x·y."""
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
    """Checked, as float64."""
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise InvalidOption(f"The {what} are of shape {list(values.shape)}.", "Give one row for each image, [N, D].")
    if len(values) < least:
        raise InvalidOption(
            f"The {what} are of {len(values)} images, too few for {why}.", f"Give {least} images or more."
        )
    broken = np.count_nonzero(~np.isfinite(values).all(axis=1))
    if broken:
        raise InvalidOption(
            f"The {what} of {broken} of {len(values)} images are not finite.",
            "Look at these images and their extractor.",
        )
    return values


def _unlike(real: int, fake: int) -> InvalidOption:
    return InvalidOption(
        f"Real images have {real} features and generated ones {fake}.", "Take both from the same extractor."
    )
