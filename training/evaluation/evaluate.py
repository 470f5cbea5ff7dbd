"""Evaluate a generator: read ``evaluate`` from top to bottom. Data flows images -> features -> figures.

The name of each figure states its protocol: ``fd10k_cnn-fashion_test`` is the Fréchet distance of 10,000 images to
10,000 real ones of the test split, in the features of ``cnn-fashion``. ``fid`` and ``kid`` are Inception's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from tqdm import tqdm

from gan_serve.errors import InvalidOption
from gan_serve.images import UInt8Array, encode_png
from gan_serve.training.evaluation import formulas
from gan_serve.training.evaluation.cache import cached_features
from gan_serve.training.evaluation.extractor import INCEPTION, Extractor, Features, extract, logits_of_classes
from gan_serve.training.evaluation.neighbours import Nearest, neighbour_test, pairs_picture
from gan_serve.training.evaluation.pixels import SAMPLE, diversity, mean_gradient, random_sample
from gan_serve.training.sources.image_set import ImageSet, Int64Array

IMAGES = 10_000
DIAL = (0.3, 0.5, 0.7, 0.85, 1.0)  # truncations
DIAL_IMAGES = 2_000
NEIGHBOURS = 500
FEWEST_OF_A_CLASS = 50  # images that a class needs for a recall of its own
MISSING = 0.1  # a class is missing where it has less than this much of its share of the real images
PIECE = 500  # images drawn at a time


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

    metrics: dict[str, float]
    pictures: dict[str, bytes] = field(default_factory=dict)


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
        train: the images that training saw, for the nearest-neighbour test; None leaves it out.
        images: how many are compared, if there are as many real ones.
        dial: measure the distance, precision and recall also over truncation.
        pairs: draw the images that came nearest to training images, beside those.
        quiet: no progress bar.

    Raises:
        InvalidOption: the real images have not the sampler's classes or size, or there are fewer than ten.
    """
    ours_shape = (sampler.img_resolution, sampler.img_resolution, sampler.img_channels)
    if real.images.shape[1:] != ours_shape:
        raise InvalidOption(
            f"The generator draws images of shape {list(ours_shape)}, the real ones are {list(real.images.shape[1:])}.",
            "Give real images of the generator's size and colour.",
        )
    labels_of = _labels_for(sampler, real)
    chosen = random_sample(len(real), images)
    n, named = len(chosen), f"{count_in_name(len(chosen))}_{extractor.name}"
    if n < 10:
        raise InvalidOption(f"{n} real images are too few to compare with.", "Give at least 10; 10,000 are usual.")
    labels = labels_of(chosen)
    dialled = min(n, DIAL_IMAGES)
    with tqdm(total=2 * n + (dialled * len(DIAL) if dial else 0), unit="image", disable=quiet) as bar:
        bar.set_description("real images")
        theirs = cached_features(extractor, real.images[chosen], bar.update)
        bar.set_description("drawing")
        drawn = _draw(sampler, n, labels)
        bar.set_description("features")
        ours = extract(extractor, drawn, bar.update)

        bar.set_description("figures")
        metrics = distances(theirs, ours, named, split, inception=extractor.name == INCEPTION)
        metrics |= _classes(sampler, extractor, real, chosen, theirs, ours, labels, named, split)
        metrics |= _pixels(real.images[chosen], drawn, labels, split)
        pictures: dict[str, bytes] = {}
        if train is not None:
            bar.set_description("nearest neighbours")
            figures, nearest = _neighbours(drawn, real.images[chosen], train.images)
            metrics |= figures
            if pairs:
                count = len(nearest.distance)
                pictures["neighbours.png"] = encode_png(pairs_picture(drawn[:count], train.images, nearest))
        if dial:
            bar.set_description("truncation")
            reference = Features(theirs.features[:dialled], theirs.logits[:dialled])
            for truncation in DIAL:
                truncated = _draw(sampler, dialled, None if labels is None else labels[:dialled], truncation)
                features = extract(extractor, truncated, bar.update)
                metrics |= _dial(reference, features, f"{count_in_name(dialled)}_{extractor.name}_{split}", truncation)
    return Evaluation({name: _rounded(value) for name, value in metrics.items()}, pictures)


def distances(theirs: Features, ours: Features, named: str, split: str, *, inception: bool) -> dict[str, float]:
    """How far our images are from the real ones, and whether each is among the other's neighbours."""
    manifold = formulas.manifold_metrics(theirs.features, ours.features)
    fd, kd, score = ("fid", "kid", "is") if inception else ("fd", "kd", "is")
    return {
        f"{fd}{named}_{split}": frechet(theirs, ours),
        f"{kd}{named}_{split}": formulas.kernel_distance(theirs.features, ours.features),
        f"{score}{named}": formulas.classifier_score(ours.logits),
        f"precision{named}_{split}": manifold.precision,
        f"recall{named}_{split}": manifold.recall,
        f"density{named}_{split}": manifold.density,
        f"coverage{named}_{split}": manifold.coverage,
    }


def frechet(theirs: Features, ours: Features) -> float:
    """The Fréchet distance of two sets of features."""
    return formulas.frechet_distance(
        formulas.feature_statistics(theirs.features), formulas.feature_statistics(ours.features)
    )


def _classes(
    sampler: Sampler,
    extractor: Extractor,
    real: ImageSet,
    chosen: Int64Array,
    theirs: Features,
    ours: Features,
    labels: Int64Array | None,
    named: str,
    split: str,
) -> dict[str, float]:
    """Which classes the extractor sees in our images; whether they are those that were asked for."""
    logits = logits_of_classes(extractor, sampler.class_names or real.class_names, ours.logits)
    if logits is None:
        return {}
    shares = formulas.class_shares(logits)
    metrics = {
        f"class_share_min{named}": float(shares.min()),
        f"class_share_max{named}": float(shares.max()),
        f"confident{named}": formulas.confident_share(logits),
    }
    if real.labels is not None and not sampler.class_names:
        real_shares = np.bincount(real.labels[chosen], minlength=len(shares)) / len(chosen)
        metrics[f"classes_missing{named}"] = float((shares < MISSING * real_shares).sum())
    if labels is None:
        return metrics
    by_class = formulas.agreement_by_class(logits, labels)
    metrics |= {
        f"label_agreement{named}": formulas.label_agreement(logits, labels),
        f"label_agreement_balanced{named}": float(np.nanmean(by_class)),
        f"label_agreement_worst_class{named}": float(np.nanmin(by_class)),
    }
    within = [
        formulas.manifold_metrics(theirs.features[labels == label], ours.features[labels == label])
        for label in np.unique(labels)
        if (labels == label).sum() >= FEWEST_OF_A_CLASS
    ]
    if within:
        metrics[f"precision_within_class_min{named}_{split}"] = min(each.precision for each in within)
        metrics[f"recall_within_class_min{named}_{split}"] = min(each.recall for each in within)
    return metrics


def _pixels(theirs: UInt8Array, ours: UInt8Array, labels: Int64Array | None, split: str) -> dict[str, float]:
    """Sharpness and diversity, over all images and within a class, of ours and of the real ones."""
    count = min(len(ours), SAMPLE)
    metrics = {}
    for what, images in (("seeds", ours[:count]), (split, theirs[:count])):
        metrics[f"mean_gradient_{count}_{what}"] = mean_gradient(images)
        metrics[f"diversity_{count}_{what}"] = diversity(images)
        if labels is not None:
            metrics[f"diversity_within_class_{count}_{what}"] = diversity(images, labels[:count])
    return metrics


def _neighbours(ours: UInt8Array, unseen: UInt8Array, train: UInt8Array) -> tuple[dict[str, float], Nearest]:
    """The figures of the nearest-neighbour test, and the nearest training image of each of ours."""
    count = min(len(ours), len(unseen), NEIGHBOURS)
    test = neighbour_test(ours[:count], unseen[:count], train)
    metrics = {
        f"nn_l1_generated_{count}_train": float(np.median(test.generated.distance)),
        f"nn_l1_unseen_{count}_train": float(np.median(test.unseen.distance)),
        f"nn_ratio_{count}_train": test.ratio,
    }
    return metrics, test.generated


def _dial(theirs: Features, ours: Features, protocol: str, truncation: float) -> dict[str, float]:
    manifold = formulas.manifold_metrics(theirs.features, ours.features)
    return {
        f"fd{protocol}_truncation{truncation:g}": frechet(theirs, ours),
        f"precision{protocol}_truncation{truncation:g}": manifold.precision,
        f"recall{protocol}_truncation{truncation:g}": manifold.recall,
    }


def _labels_for(sampler: Sampler, real: ImageSet) -> Callable[[Int64Array], Int64Array | None]:
    """The labels, as the sampler numbers its classes, of rows of the real images; None where it has no classes."""
    names = sampler.class_names
    if not names:
        return lambda rows: None
    if real.labels is None or not set(real.class_names) <= set(names):
        theirs = ", ".join(real.class_names[:10]) or "none"
        raise InvalidOption(
            f"The real images do not have the classes of the generator ({', '.join(names[:10])}): theirs are {theirs}.",
            "Give labelled images of the same classes, or --labels.",
        )
    numbers = np.array([names.index(name) for name in real.class_names], np.int64)
    labels = numbers[real.labels]
    return lambda rows: labels[rows]


def _draw(sampler: Sampler, count: int, labels: Int64Array | None, truncation: float = 1.0) -> UInt8Array:
    return np.concatenate(list(_drawn(sampler, count, labels, truncation)))


def _drawn(sampler: Sampler, count: int, labels: Int64Array | None, truncation: float) -> Iterator[UInt8Array]:
    for start in range(0, count, PIECE):
        stop = min(start + PIECE, count)
        yield sampler.draw(range(start, stop), None if labels is None else labels[start:stop], truncation)


def count_in_name(images: int) -> str:
    """``10k`` for 10,000, as in ``fid50k``.

    >>> count_in_name(10_000), count_in_name(1040)
    ('10k', '1040')
    """
    return f"{images // 1000}k" if images % 1000 == 0 else str(images)


def _rounded(value: float) -> float:
    """Five significant digits: more would only be noise of the machine."""
    return float(f"{value:.5g}")
