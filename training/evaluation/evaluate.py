"""Evaluate a generator: read ``evaluate`` from top to bottom. Data flows images -> features -> figures.

The name of each figure states its protocol: ``fd10k_cnn-fashion_test`` is the Fréchet distance of 10,000 images to
10,000 real ones of the test split, in the features of ``cnn-fashion``. ``fid``, ``kid``, ``is`` are Inception's.
To add a figure is to add a function of a ``Comparison`` to ``FIGURES``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from tqdm import tqdm

from gan_serve.errors import InvalidOption
from gan_serve.images.pixels import UInt8Array
from gan_serve.images.png import encode_png
from gan_serve.training.data.image_set import ImageSet, Int64Array, examples
from gan_serve.training.evaluation import metrics as formulas
from gan_serve.training.evaluation.cache import cached_features
from gan_serve.training.evaluation.features import (
    INCEPTION,
    Extractor,
    Features,
    Floats,
    extract,
    logits_of_classes,
)
from gan_serve.training.evaluation.neighbours import NeighbourTest, neighbour_test, pairs_picture
from gan_serve.training.evaluation.pixel_metrics import SAMPLE, pixel_metrics, random_sample

IMAGES = 10_000
FEWEST_IMAGES = 10
DIAL = (0.3, 0.5, 0.7, 0.85, 1.0)  # truncations
DIAL_IMAGES = 2_000
NEIGHBOUR_IMAGES = 500
SUSPECT = 0.01  # share of the unseen images that are as near to a training image as a suspect
FEWEST_FOR_SUSPECTS = 100  # images: of fewer there is no hundredth
MISSING = 0.1
FEWEST_OF_A_CLASS = 50  # images that a class needs for a recall of its own
DRAWN_AT_ONCE = 500
NEIGHBOURS_PICTURE = "neighbours.png"

Metrics = dict[str, float]

logger = logging.getLogger(__name__)


class Sampler(Protocol):
    """What draws the images that are judged."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Its classes; empty where it is not conditional."""
        ...

    @property
    def img_resolution(self) -> int:
        """Width and height of its images."""
        ...

    @property
    def img_channels(self) -> int:
        """1 for gray, 3 for RGB."""
        ...

    def draw(self, seeds: Sequence[int], labels: Int64Array | None, truncation: float) -> UInt8Array:
        """The images of seeds under labels int64 [N], uint8 [N, H, W, C]."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """Figures by name, and pictures as PNG by file name."""

    metrics: Metrics
    pictures: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """As many generated images as real ones, and what an extractor sees in both.

    labels: int64 [N], the classes that were asked for and that the real images are of; None where none was asked for.
    class_names: of ``labels``, or of the real images.
    real_labels: int64 [N] of the real images, where they have some, by ``class_names``.
    split: which images the real ones are.
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

    def name(self, stem: str, *, alone: bool = False) -> str:
        """The name of a figure; ``alone``: it is of the generated images, whatever the real ones are."""
        name = f"{stem}{count_in_name(len(self.images))}_{self.extractor.name}"
        return name if alone else f"{name}_{self.split}"


def evaluate(
    sampler: Sampler,
    real: ImageSet,
    extractor: Extractor,
    *,
    split: str,
    train: ImageSet | None = None,
    images: int = IMAGES,
    dial: bool = True,
    pairs: bool = True,
    quiet: bool = False,
) -> Evaluation:
    """Measure how good the images of a sampler are.

    A conditional sampler is asked for the classes of the real images that it is compared with, one for one. Seeds are
    counted from 0, so that the figures can be measured again.

    Args:
        sampler: draws images of the real images' size.
        real: images that training did not see, with labels where the sampler is conditional.
        extractor: of the features that images are compared by.
        split: which images ``real`` are, for the names of the figures.
        train: the images that training saw, for the nearest-neighbour test; None leaves it out. Where ``real`` are
            these too (split ``train``), 500 or a tenth of them are left out of the search, and stand for unseen ones.
        images: how many are compared, if there are as many real ones.
        dial: measure the distance, precision and recall also over truncation.
        pairs: draw the images that came nearest to training images, beside those.
        quiet: no progress bar.

    Returns:
        The figures, and the picture ``neighbours.png`` where it was drawn.

    Raises:
        InvalidOption: the real images do not have the sampler's classes or size, or there are fewer than ten.
    """
    chosen = random_sample(len(real), images)
    _check(sampler, real, len(chosen))
    labels = _labels_for(sampler, real, chosen)
    dialled = min(len(chosen), DIAL_IMAGES)
    total = 2 * len(chosen) + (dialled * (len(DIAL) - 1) if dial else 0)
    with tqdm(total=total, unit="image", disable=quiet) as bar:
        bar.set_description("real images")
        real_features = cached_features(extractor, real.images[chosen], bar.update)
        bar.set_description("generated images")
        drawn = _draw(sampler, len(chosen), labels)
        compared = Comparison(
            extractor, split, sampler.class_names or real.class_names,
            real.images[chosen], _real_labels(real, chosen) if labels is None else labels, real_features,
            drawn, labels, extract(extractor, drawn, bar.update),
        )  # fmt: skip

        bar.set_description("figures")
        metrics = {name: value for figures in FIGURES for name, value in figures(compared).items()}
        pictures: dict[str, bytes] = {}
        if train is not None:
            bar.set_description("nearest neighbours")
            n = _neighbour_images(compared, train)
            # Real images that training saw are their own neighbours: those compared are left out of the search.
            among = np.delete(train.images, chosen[:n], axis=0) if split == "train" else train.images
            test = neighbour_test(drawn[:n], compared.real_images[:n], among)
            metrics |= _neighbours(compared, test)
            if pairs:
                pictures[NEIGHBOURS_PICTURE] = encode_png(pairs_picture(drawn[:n], among, test.generated))
        if dial:
            bar.set_description("truncation")
            few = None if labels is None else labels[:dialled]
            for truncation in DIAL:
                if truncation == 1:  # drawn already
                    truncated = compared.generated.first(dialled)
                else:
                    truncated = extract(extractor, _draw(sampler, dialled, few, truncation), bar.update)
                metrics |= _at_truncation(compared, truncated, truncation)
    return Evaluation({name: _rounded(value) for name, value in metrics.items()}, pictures)


# Figures of a comparison


def distances(compared: Comparison) -> Metrics:
    """How far the two sets of features are from each other."""
    real, generated = compared.real.features, compared.generated.features
    return {
        compared.name(distance_name(compared.extractor)): frechet(compared.real, compared.generated),
        compared.name("kid" if compared.extractor.name == INCEPTION else "kd"): formulas.kernel_distance(
            real, generated
        ),
    }


def manifolds(compared: Comparison) -> Metrics:
    """Whether the images of each set are among the other's neighbours."""
    found = formulas.manifold_metrics(compared.real.features, compared.generated.features)
    return {compared.name(stem): value for stem, value in found._asdict().items()}


def manifolds_within_classes(compared: Comparison) -> Metrics:
    """Precision and recall within each class, of the class where it is lowest; nothing where one has too few images."""
    if compared.labels is None:
        return {}
    of_classes = [compared.labels == label for label in range(len(compared.class_names))]
    if min(rows.sum() for rows in of_classes) < FEWEST_OF_A_CLASS:
        return {}
    found = [
        formulas.manifold_metrics(compared.real.features[rows], compared.generated.features[rows])
        for rows in of_classes
    ]
    return {
        compared.name("precision_within_class_min"): min(each.precision for each in found),
        compared.name("recall_within_class_min"): min(each.recall for each in found),
    }


def score(compared: Comparison) -> Metrics:
    """How sure the classifier is of each image, and how different its classes are."""
    if compared.extractor.attributes:  # they do not exclude each other, as the score supposes
        return {}
    stem = "is" if compared.extractor.name == INCEPTION else "cs"
    return {compared.name(stem, alone=True): formulas.classifier_score(compared.generated.logits)}


def classes(compared: Comparison) -> Metrics:
    """Which classes the classifier sees, where it knows those of the images; beside what it sees in real ones."""
    logits = logits_of_classes(compared.extractor, compared.class_names, compared.generated.logits)
    real_logits = logits_of_classes(compared.extractor, compared.class_names, compared.real.logits)
    if logits is None or real_logits is None:
        return {}
    shares, real_shares = formulas.class_shares(logits), formulas.class_shares(real_logits)
    metrics = {
        compared.name("class_share_min", alone=True): float(shares.min()),
        compared.name("class_share_min_of_real"): float(real_shares.min()),
        compared.name("class_share_max", alone=True): float(shares.max()),
        compared.name("class_share_max_of_real"): float(real_shares.max()),
        compared.name("confident", alone=True): formulas.confident_share(logits),
        compared.name("confident_of_real"): formulas.confident_share(real_logits),
    }
    if compared.real_labels is not None:
        missing = missing_classes(logits, compared.real_labels)
        metrics[compared.name("classes_missing", alone=True)] = float(len(missing))
    return metrics


def agreement(compared: Comparison) -> Metrics:
    """How often the classifier sees the class that was asked for: of all images, of classes, of the worst of them."""
    if compared.labels is None:
        return {}
    logits = logits_of_classes(compared.extractor, compared.class_names, compared.generated.logits)
    if logits is None:
        logger.warning(
            "%s does not know the classes of the generator (%s): no label agreement, and no figures of classes.",
            compared.extractor.name, examples(compared.class_names),
        )  # fmt: skip
        return {}
    by_class = formulas.agreement_by_class(logits, compared.labels)
    return {
        compared.name("label_agreement", alone=True): formulas.label_agreement(logits, compared.labels),
        compared.name("label_agreement_balanced", alone=True): float(np.nanmean(by_class)),
        compared.name("label_agreement_worst_class", alone=True): float(np.nanmin(by_class)),
    }


def pixels(compared: Comparison) -> Metrics:
    """Sharpness and diversity, over all images and within the classes that were asked for, of both sets."""
    count = min(len(compared.images), SAMPLE)
    labels = None if compared.labels is None else compared.labels[:count]
    generated = pixel_metrics(compared.images[:count], "generated", labels)
    return generated | pixel_metrics(compared.real_images[:count], compared.split, labels)


FIGURES: tuple[Callable[[Comparison], Metrics], ...] = (
    distances,
    manifolds,
    manifolds_within_classes,
    score,
    agreement,
    classes,
    pixels,
)


def frechet(real: Features, generated: Features) -> float:
    """The Fréchet distance of two sets of features."""
    return formulas.frechet_distance(
        formulas.feature_statistics(real.features), formulas.feature_statistics(generated.features)
    )


def distance_name(extractor: Extractor) -> str:
    """``fid`` for Inception, ``fd`` for any other features."""
    return "fid" if extractor.name == INCEPTION else "fd"


def missing_classes(logits: Floats, real_labels: Int64Array) -> list[int]:
    """Classes in which a classifier sees less than ``MISSING`` of their share of the real images, logits [N, K].

    Not none at all: a classifier errs, and sees a few images of a class that is not there.
    """
    real_shares = np.bincount(real_labels, minlength=logits.shape[1]) / len(real_labels)
    return [int(label) for label in np.flatnonzero(formulas.class_shares(logits) < MISSING * real_shares)]


def count_in_name(images: int) -> str:
    """``10k`` for 10,000, as in ``fid50k``.

    >>> count_in_name(10_000), count_in_name(1040)
    ('10k', '1040')
    """
    return f"{images // 1000}k" if images % 1000 == 0 else str(images)


def _at_truncation(compared: Comparison, truncated: Features, truncation: float) -> Metrics:
    """Distance, precision and recall of images drawn at a truncation, against as many real ones."""
    n = len(truncated.features)
    real = compared.real.first(n)
    found = formulas.manifold_metrics(real.features, truncated.features)
    protocol = f"{count_in_name(n)}_{compared.extractor.name}_{compared.split}_truncation{truncation:g}"
    return {
        f"{distance_name(compared.extractor)}{protocol}": frechet(real, truncated),
        f"precision{protocol}": found.precision,
        f"recall{protocol}": found.recall,
    }


def _neighbour_images(compared: Comparison, train: ImageSet) -> int:
    """How many images of each set the nearest-neighbour test takes."""
    n = min(len(compared.images), NEIGHBOUR_IMAGES)
    return min(n, len(train) // 10) if compared.split == "train" else n  # a tenth: the search needs the others


def _neighbours(compared: Comparison, test: NeighbourTest) -> Metrics:
    """The figures of a nearest-neighbour test; other names where training saw the real images that it compares with."""
    n = len(test.generated.distance)
    real, beside = ("left_out", "_left_out") if compared.split == "train" else ("unseen", "")
    metrics = {
        f"nn_l1_generated_{n}_train": float(np.median(test.generated.distance)),
        f"nn_l1_{real}_{n}_train": float(np.median(test.unseen.distance)),
        f"nn_ratio{beside}_{n}_train": test.ratio,
    }
    if n >= FEWEST_FOR_SUSPECTS:
        metrics[f"nn_suspects{beside}_{n}_train"] = _suspects(test)
    return metrics


def _suspects(test: NeighbourTest) -> float:
    """The share of generated images that are as near to a training image as the nearest hundredth of the unseen ones.

    Exact copies always are. Images as honest as the unseen ones are one time in a hundred, or as often as these are
    exact copies themselves, where the data hold an image more than once.
    """
    nearest_hundredth = np.quantile(test.unseen.distance, SUSPECT, method="lower")
    return float((test.generated.distance <= nearest_hundredth).mean())


# What is drawn


def _check(sampler: Sampler, real: ImageSet, n: int) -> None:
    drawn = (sampler.img_resolution, sampler.img_resolution, sampler.img_channels)
    if real.images.shape[1:] != drawn:
        raise InvalidOption(
            f"The generator draws images of shape {list(drawn)}, the real ones are {list(real.images.shape[1:])}.",
            "Give real images of the generator's size and colour.",
        )
    if n < FEWEST_IMAGES:
        raise InvalidOption(
            f"{n} real images are too few to compare with.", f"Give at least {FEWEST_IMAGES}; 10,000 are usual."
        )


def _labels_for(sampler: Sampler, real: ImageSet, chosen: Int64Array) -> Int64Array | None:
    """The classes of the chosen real images as the sampler numbers them, int64 [N]; None where it has no classes."""
    names = sampler.class_names
    if not names:
        return None
    if real.labels is None or not set(real.class_names) <= set(names):
        theirs = ", ".join(real.class_names[:10]) or "none"
        raise InvalidOption(
            f"The real images do not have the classes of the generator ({', '.join(names[:10])}): theirs are {theirs}.",
            "Give labelled images of the same classes, or --labels.",
        )
    numbers = np.array([names.index(name) for name in real.class_names], np.int64)
    return numbers[real.labels[chosen]]


def _real_labels(real: ImageSet, chosen: Int64Array) -> Int64Array | None:
    return None if real.labels is None else real.labels[chosen]


def _draw(sampler: Sampler, count: int, labels: Int64Array | None, truncation: float = 1.0) -> UInt8Array:
    """The images of the seeds 0 to count - 1."""
    pieces = [slice(start, min(start + DRAWN_AT_ONCE, count)) for start in range(0, count, DRAWN_AT_ONCE)]
    return np.concatenate(
        [
            sampler.draw(range(piece.start, piece.stop), None if labels is None else labels[piece], truncation)
            for piece in pieces
        ]
    )


def _rounded(value: float) -> float:
    """Five significant digits: more would only be noise of the machine."""
    return float(f"{value:.5g}")
