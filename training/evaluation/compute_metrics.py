"""Compute the metrics of an evaluation: one function of ``EvaluatedImages`` for each group, all listed in ``METRICS``.

To add a metric, write such a function, add it to ``METRICS``, and add the metric's name to ``metric_names``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.image_set import Int64Array, examples
from gan_serve.training.evaluation import metrics as formulas
from gan_serve.training.evaluation.features import GENERAL, INCEPTION, Extractor, Features, Floats, logits_of_classes
from gan_serve.training.evaluation.metric_names import MetricName, distance_stem
from gan_serve.training.evaluation.pixel_metrics import SAMPLE, diversity_by_class, pixel_metrics
from gan_serve.training.evaluation.swd import SlicedWasserstein

MISSING = 0.1  # a class is missing if its share is below this fraction of its share in the real images
MIN_PER_CLASS = 50  # images that each class needs for metrics within classes
MIN_FOR_FRECHET = 1000  # images, in the features of the general extractor
SLICED_IMAGES = 1000  # for the sliced Wasserstein distance
MIN_FOR_DIVERSITY = 20  # images that each class needs for its diversity
MAX_CLASSES = 50  # up to so many classes, the metrics of each are listed

Metrics = dict[str, float]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluatedImages:
    """Generated images, as many real ones, and the features of both.

    split: the split of the real images.
    class_names: the classes of ``labels``, or of the real images.
    real_images, images: uint8 [N, H, W, C], real and generated.
    real_labels: int64 [N], the labels of the real images by ``class_names``; None without labels.
    labels: int64 [N], the labels of the generated images, equal to those of the real ones; None without classes.
    real, generated: the features of the two sets.
    reference: the features of N other real images, of the same classes if there are ``labels``; None if there are too
        few. Their distance to ``real`` is that of a perfect generator.
    """

    extractor: Extractor
    split: str
    class_names: tuple[str, ...]
    real_images: UInt8Array
    real_labels: Int64Array | None
    real: Features
    images: UInt8Array
    labels: Int64Array | None
    generated: Features
    reference: Features | None = None

    @property
    def has_frechet(self) -> bool:
        """Return False if the Fréchet distance is left out: for few images in features of other images."""
        return self.extractor.name != GENERAL or len(self.images) >= MIN_FOR_FRECHET

    def compared(self, stem: str, label: str | None = None) -> str:
        """Return the name of a metric that compares generated with real images, or that is measured on real ones."""
        return str(MetricName(stem, len(self.images), self.extractor.name, self.split, label=label))

    def classified(self, stem: str, label: str | None = None) -> str:
        """Return the name of a metric that is measured on generated images alone."""
        return str(MetricName(stem, len(self.images), self.extractor.name, label=label))


def distances(evaluated: EvaluatedImages) -> Metrics:
    """Return the Fréchet and kernel distances of the two sets, and the Fréchet distance of two sets of real images.

    In features of other images and with fewer than ``MIN_FOR_FRECHET``, only the kernel distance: the Fréchet distance
    of so few images is mostly its bias, and the bias of the kernel distance is 0 (Binkowski et al. 2018).
    """
    name = evaluated.extractor.name
    metrics = {distance_stem(name): frechet(evaluated.real, evaluated.generated)} if evaluated.has_frechet else {}
    metrics["kid" if name == INCEPTION else "kd"] = formulas.kernel_distance(
        evaluated.real.features, evaluated.generated.features
    )
    if evaluated.reference is not None and evaluated.has_frechet:
        metrics["fd_floor"] = frechet(evaluated.real, evaluated.reference)
    return {evaluated.compared(stem): value for stem, value in metrics.items()}


def manifolds(evaluated: EvaluatedImages) -> Metrics:
    """Return precision, recall, density and coverage."""
    found = formulas.manifold_metrics(evaluated.real.features, evaluated.generated.features)
    return {evaluated.compared(stem): value for stem, value in found._asdict().items()}


def within_classes(evaluated: EvaluatedImages) -> Metrics:
    """Return the Fréchet distance, its floor, precision and recall within each class and of the worst class.

    The worst class by distance has the largest ratio of distance to floor; without floors, the largest distance. The
    result is empty without labels, or if a class has fewer than ``MIN_PER_CLASS`` images.
    """
    rows_of = _rows_of_classes(evaluated)
    # The 2048 features of Inception need more images than a class has.
    if evaluated.extractor.name == INCEPTION or not evaluated.has_frechet:
        distance_of: dict[int, float] = {}
        floor_of: dict[int, float] = {}
    else:
        distance_of, floor_of = class_distances(evaluated.real, evaluated.generated, evaluated.reference, rows_of)
    manifold_of = {
        label: formulas.manifold_metrics(evaluated.real.features[rows], evaluated.generated.features[rows])
        for label, rows in rows_of.items()
    }
    metrics: Metrics = {}
    if manifold_of:
        metrics[evaluated.compared("precision_within_class_min")] = min(each.precision for each in manifold_of.values())
        metrics[evaluated.compared("recall_within_class_min")] = min(each.recall for each in manifold_of.values())
    if distance_of:
        worst = worst_class(distance_of, floor_of)
        metrics[evaluated.compared("fd_within_class_max")] = distance_of[worst]
        if floor_of:
            metrics[evaluated.compared("fd_within_class_max_floor")] = floor_of[worst]
    if len(rows_of) <= MAX_CLASSES:
        for label in rows_of:
            name = evaluated.class_names[label]
            found = {"fd": distance_of.get(label), "fd_floor": floor_of.get(label)}
            found |= {"precision": manifold_of[label].precision, "recall": manifold_of[label].recall}
            metrics |= {evaluated.compared(stem, name): value for stem, value in found.items() if value is not None}
    return metrics


def class_distances(
    real: Features, generated: Features, reference: Features | None, rows_of: dict[int, npt.NDArray[np.bool_]]
) -> tuple[dict[int, float], dict[int, float]]:
    """Return the Fréchet distance within each class and its floor, by label; no floors without a reference.

    Image i has the same class in all three sets; ``rows_of`` selects the images of each class. The floor is the
    distance between the real images and as many other real ones, because distances between few images are large in any
    case.
    """
    distance_of = {label: frechet(real.where(rows), generated.where(rows)) for label, rows in rows_of.items()}
    if reference is None:
        return distance_of, {}
    return distance_of, {label: frechet(real.where(rows), reference.where(rows)) for label, rows in rows_of.items()}


def worst_class(distance_of: dict[int, float], floor_of: dict[int, float]) -> int:
    """Return the label with the largest ratio of distance to floor, or, without floors, with the largest distance."""
    return max(distance_of, key=lambda label: distance_of[label] / max(floor_of.get(label, 1.0), 1e-12))


def score(evaluated: EvaluatedImages) -> Metrics:
    """Return the classifier score, which is high if the classifier is sure of each image and the classes vary."""
    # Attributes do not exclude each other, as the score assumes; the classes of the general extractor are other things.
    if evaluated.extractor.attributes or evaluated.extractor.name == GENERAL:
        return {}
    stem = "is" if evaluated.extractor.name == INCEPTION else "cs"
    return {evaluated.classified(stem): formulas.classifier_score(evaluated.generated.logits)}


def agreement(evaluated: EvaluatedImages) -> Metrics:
    """Return the share of images that are classified as their label: overall, by class, and for real images."""
    if evaluated.labels is None:
        return {}
    logits, real_logits = _class_logits(evaluated)
    if logits is None or real_logits is None:
        logger.warning(
            "%s does not have the classes of the generator (%s); label agreement and metrics of classes are left out.",
            evaluated.extractor.name, examples(evaluated.class_names),
        )  # fmt: skip
        return {}
    by_class = formulas.agreement_by_class(logits, evaluated.labels)
    real_by_class = formulas.agreement_by_class(real_logits, evaluated.labels)
    metrics = {
        evaluated.classified("label_agreement"): formulas.label_agreement(logits, evaluated.labels),
        evaluated.classified("label_agreement_balanced"): float(np.nanmean(by_class)),
        evaluated.classified("label_agreement_worst_class"): float(np.nanmin(by_class)),
        evaluated.compared("label_agreement_of_real"): formulas.label_agreement(real_logits, evaluated.labels),
        evaluated.compared("label_agreement_balanced_of_real"): float(np.nanmean(real_by_class)),
    }
    if len(by_class) <= MAX_CLASSES:
        for name, value in zip(evaluated.class_names, by_class, strict=True):
            if not np.isnan(value):
                metrics[evaluated.classified("label_agreement", name)] = float(value)
    return metrics


def classes(evaluated: EvaluatedImages) -> Metrics:
    """Return the shares of the classes in generated and real images by the classifier, if it has these classes."""
    logits, real_logits = _class_logits(evaluated)
    if logits is None or real_logits is None:
        return {}
    shares, real_shares = formulas.class_shares(logits), formulas.class_shares(real_logits)
    metrics = {
        evaluated.classified("class_share_min"): float(shares.min()),
        evaluated.compared("class_share_min_of_real"): float(real_shares.min()),
        evaluated.classified("class_share_max"): float(shares.max()),
        evaluated.compared("class_share_max_of_real"): float(real_shares.max()),
        evaluated.classified("confident"): formulas.confident_share(logits),
        evaluated.compared("confident_of_real"): formulas.confident_share(real_logits),
    }
    if evaluated.real_labels is not None:
        missing = missing_classes(logits, evaluated.real_labels)
        metrics[evaluated.classified("classes_missing")] = float(len(missing))
    return metrics


def pixels(evaluated: EvaluatedImages) -> Metrics:
    """Return the pixel metrics of both sets, and the lowest ratio of a class's diversity to that of its real images."""
    count = min(len(evaluated.images), SAMPLE)
    images, real_images = evaluated.images[:count], evaluated.real_images[:count]
    labels = None if evaluated.labels is None else evaluated.labels[:count]
    metrics = pixel_metrics(images, "generated", labels) | pixel_metrics(real_images, evaluated.split, labels)
    if labels is not None and np.bincount(labels, minlength=len(evaluated.class_names)).min() >= MIN_FOR_DIVERSITY:
        of_real = diversity_by_class(real_images, labels)
        of_generated = diversity_by_class(images, labels)
        ratios = [of_generated[label] / real for label, real in of_real.items() if real]
        if ratios:
            name = MetricName("diversity_ratio_within_class_min", count, source=evaluated.split)
            metrics[str(name)] = min(ratios)
    return metrics


def sliced(evaluated: EvaluatedImages) -> Metrics:
    """Return the sliced Wasserstein distance of pixels, beside features of other images than those compared."""
    if evaluated.extractor.name != GENERAL:
        return {}
    n = min(len(evaluated.images), SLICED_IMAGES)
    distance = SlicedWasserstein(evaluated.real_images[:n], evaluated.split)
    return {distance.name: distance.measure(evaluated.images[:n])[distance.name]}


METRICS: tuple[Callable[[EvaluatedImages], Metrics], ...] = (
    distances,
    manifolds,
    within_classes,
    score,
    agreement,
    classes,
    pixels,
    sliced,
)


def frechet(real: Features, generated: Features) -> float:
    """Return the Fréchet distance of two sets of features."""
    return formulas.frechet_distance(
        formulas.feature_statistics(real.features), formulas.feature_statistics(generated.features)
    )


def missing_classes(logits: Floats, real_labels: Int64Array) -> list[int]:
    """Return the classes whose share by a classifier is less than ``MISSING`` of their share of the real images.

    Some images are required, because a classifier errs and finds a few images of a class that is missing.

    logits: [N, K], of the generated images. real_labels: int64 [M].
    """
    real_shares = np.bincount(real_labels, minlength=logits.shape[1]) / len(real_labels)
    return [int(label) for label in np.flatnonzero(formulas.class_shares(logits) < MISSING * real_shares)]


def _class_logits(evaluated: EvaluatedImages) -> tuple[Floats | None, Floats | None]:
    """Return the logits of the classes for generated and real images; None if the extractor lacks these classes."""
    generated, real = (
        logits_of_classes(evaluated.extractor, evaluated.class_names, features.logits)
        for features in (evaluated.generated, evaluated.real)
    )
    return generated, real


def _rows_of_classes(evaluated: EvaluatedImages) -> dict[int, npt.NDArray[np.bool_]]:
    """Return a mask for the images of each class, by label; empty if a class has fewer than ``MIN_PER_CLASS``."""
    if evaluated.labels is None:
        return {}
    rows_of = {label: evaluated.labels == label for label in range(len(evaluated.class_names))}
    return rows_of if min(rows.sum() for rows in rows_of.values()) >= MIN_PER_CLASS else {}
