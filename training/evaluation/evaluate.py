"""Evaluate a generator. Data flows from images to features to metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gan_serve.errors import InvalidOption
from gan_serve.images.pixels import UInt8Array
from gan_serve.images.png import encode_png
from gan_serve.terminal import bar_pace
from gan_serve.training.data.image_set import ImageSet, Int64Array
from gan_serve.training.evaluation import metrics as formulas
from gan_serve.training.evaluation.cache import cached_features
from gan_serve.training.evaluation.compute_metrics import METRICS, EvaluatedImages, Metrics, frechet
from gan_serve.training.evaluation.features import INCEPTION, Extractor, extract
from gan_serve.training.evaluation.metric_names import MetricName, distance_stem
from gan_serve.training.evaluation.neighbours import NeighbourTest, neighbour_test, pairs_picture
from gan_serve.training.evaluation.pixel_metrics import SAMPLE, mean_gradient, random_sample
from gan_serve.training.evaluation.reference import reference_rows

IMAGES = 10_000
MIN_IMAGES = 10
TRUNCATIONS = (0.3, 0.5, 0.7, 0.85, 1.0)
TRUNCATION_IMAGES = 2_000
NEIGHBOUR_IMAGES = 500
NEAREST_SHARE = 0.01  # share of the unseen images that sets the bound for ``nn_suspects``
MIN_FOR_NEAREST_SHARE = 100  # images; with fewer, there is no hundredth of them
SAMPLED_AT_ONCE = 500
NEIGHBOURS_PICTURE = "neighbours.png"


class Sampler(Protocol):
    """Samples the generated images of an evaluation."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes; empty for an unconditional sampler."""
        ...

    @property
    def img_resolution(self) -> int:
        """The width and height of the images."""
        ...

    @property
    def img_channels(self) -> int:
        """1 for gray, 3 for RGB."""
        ...

    def sample(self, seeds: Sequence[int], labels: Int64Array | None, truncation: float) -> UInt8Array:
        """Return the images of seeds with labels int64 [N], uint8 [N, H, W, C]."""
        ...


@dataclass(frozen=True)
class EvaluationOptions:
    """The extent of an evaluation.

    images: the number of images to compare, if there are as many real ones.
    truncations: also measure distance, precision, recall and sharpness at each of ``TRUNCATIONS``.
    neighbour_pairs: make a picture of the generated images that are most like a training image, with that image.
    quiet: show no progress bar.
    """

    images: int = IMAGES
    truncations: bool = True
    neighbour_pairs: bool = True
    quiet: bool = False


DEFAULT_OPTIONS = EvaluationOptions()


@dataclass(frozen=True)
class Evaluation:
    """Metrics by name, and pictures as PNG by file name."""

    metrics: Metrics
    pictures: dict[str, bytes] = field(default_factory=dict)


def evaluate(
    sampler: Sampler,
    real: ImageSet,
    extractor: Extractor,
    *,
    split: str,
    train: ImageSet | None = None,
    options: EvaluationOptions = DEFAULT_OPTIONS,
) -> Evaluation:
    """Measure the quality of the images of a sampler.

    A conditional sampler gets the labels of the real images that it is compared with. The seeds are 0, 1, 2, ..., so
    that the metrics can be measured again.

    Args:
        sampler: samples images of the size of the real ones.
        real: images that training did not see, with labels if the sampler is conditional.
        extractor: computes the features for the comparison.
        split: the split of ``real``, for the names of the metrics.
        train: the training images, for the nearest-neighbour test and for the distance between two sets of real images;
            None leaves both out. If ``real`` are the same images (split ``train``), 500 or a tenth of them are left out
            of the search for neighbours and take the place of unseen ones.
        options: the extent of the evaluation.

    Returns:
        The metrics, and the picture ``neighbours.png`` if ``neighbour_pairs``.

    Raises:
        InvalidOption: the real images do not have the sampler's classes or size, or there are fewer than ten.
    """
    chosen = random_sample(len(real), options.images)
    _check(sampler, real, len(chosen))
    compared = real.only(chosen)
    labels = _labels_for(sampler, compared)
    # With Inception, the features of so many more images would take more than an hour on a CPU.
    reference = (
        None
        if extractor.name == INCEPTION
        else _reference(train, compared, chosen if split == "train" else chosen[:0], by_class=labels is not None)
    )
    truncated = min(len(chosen), TRUNCATION_IMAGES) if options.truncations else 0
    total = (2 + (reference is not None)) * len(chosen) + truncated * (len(TRUNCATIONS) - 1)
    with _progress(total, options.quiet) as progress:
        progress.stage("real images")
        real_features = cached_features(extractor, compared.images, progress.update)
        reference_features = None
        if reference is not None:
            reference_features = cached_features(extractor, reference, progress.update)
        progress.stage("generated images")
        images = _sample(sampler, len(chosen), labels)
        evaluated = EvaluatedImages(
            extractor, split, sampler.class_names or real.class_names,
            real_images=compared.images, real_labels=compared.labels if labels is None else labels,
            real=real_features, images=images, labels=labels,
            generated=extract(extractor, images, progress.update), reference=reference_features,
        )  # fmt: skip

        progress.stage("metrics")
        metrics = {name: value for compute in METRICS for name, value in compute(evaluated).items()}
        pictures: dict[str, bytes] = {}
        if train is not None:
            progress.stage("nearest neighbours")
            n = _neighbour_images(evaluated, train)
            # Real images that training saw are their own neighbours, so the compared ones are left out of the search.
            kept = np.delete(np.arange(len(train)), chosen[:n]) if split == "train" else slice(None)
            among, among_labels = train.images[kept], None if train.labels is None else train.labels[kept]
            test = neighbour_test(images[:n], evaluated.real_images[:n], among)
            metrics |= _neighbour_metrics(evaluated, test)
            if options.neighbour_pairs:
                pairs = pairs_picture(images[:n], among, test.generated, labels=among_labels)
                pictures[NEIGHBOURS_PICTURE] = encode_png(pairs)
        if options.truncations:
            progress.stage("truncation")
            for truncation in TRUNCATIONS:
                metrics |= _at_truncation(sampler, evaluated, truncation, truncated, progress.update)
    return Evaluation({name: _rounded(value) for name, value in metrics.items()}, pictures)


def _reference(
    train: ImageSet | None, compared: ImageSet, excluded: Int64Array, *, by_class: bool
) -> UInt8Array | None:
    """Return training images that are not compared, see ``reference_rows``; None if there are too few."""
    rows = None if train is None else reference_rows(train, compared, excluded=excluded, by_class=by_class)
    return None if train is None or rows is None else train.images[rows]


def _at_truncation(
    sampler: Sampler, evaluated: EvaluatedImages, truncation: float, n: int, progress: Callable[[int], object]
) -> Metrics:
    """Return distance, precision, recall and sharpness of n images at a truncation, compared with as many real ones."""
    if truncation == 1:  # sampled already
        images, features = evaluated.images[:n], evaluated.generated.first(n)
    else:
        images = _sample(sampler, n, None if evaluated.labels is None else evaluated.labels[:n], truncation)
        features = extract(evaluated.extractor, images, progress)
    real = evaluated.real.first(n)
    manifold = formulas.manifold_metrics(real.features, features.features)
    found = {distance_stem(evaluated.extractor.name): frechet(real, features)} if evaluated.has_frechet else {}
    found |= {"precision": manifold.precision, "recall": manifold.recall}
    name = MetricName("", n, evaluated.extractor.name, evaluated.split, truncation)
    metrics = {str(name._replace(stem=stem)): value for stem, value in found.items()}
    of_pixels = images[:SAMPLE]
    sharpness = MetricName("mean_gradient", len(of_pixels), source="generated", truncation=truncation)
    return metrics | {str(sharpness): mean_gradient(of_pixels)}


def _neighbour_images(evaluated: EvaluatedImages, train: ImageSet) -> int:
    """Return the number of images of each set for the nearest-neighbour test."""
    n = min(len(evaluated.images), NEIGHBOUR_IMAGES)
    return min(n, len(train) // 10) if evaluated.split == "train" else n  # a tenth, because the search needs the others


def _neighbour_metrics(evaluated: EvaluatedImages, test: NeighbourTest) -> Metrics:
    """Return the metrics of a nearest-neighbour test; they have other names if training saw the real images."""
    n = len(test.generated.distance)
    real, suffix = ("left_out", "_left_out") if evaluated.split == "train" else ("unseen", "")
    metrics = {
        "nn_l1_generated": float(np.median(test.generated.distance)),
        f"nn_l1_{real}": float(np.median(test.unseen.distance)),
        f"nn_ratio{suffix}": test.ratio,
    }
    if n >= MIN_FOR_NEAREST_SHARE:
        metrics[f"nn_suspects{suffix}"] = _share_as_near(test)
    return {str(MetricName(stem, n, source="train")): value for stem, value in metrics.items()}


def _share_as_near(test: NeighbourTest) -> float:
    """Return the share of generated images as near to a training image as the nearest hundredth of the unseen images.

    Exact copies always count. For a generator that does not copy, the share is about a hundredth. It is larger if
    unseen images are exact copies of training images, because the data have duplicates.
    """
    nearest_hundredth = np.quantile(test.unseen.distance, NEAREST_SHARE, method="lower")
    return float((test.generated.distance <= nearest_hundredth).mean())


def _check(sampler: Sampler, real: ImageSet, n: int) -> None:
    shape = (sampler.img_resolution, sampler.img_resolution, sampler.img_channels)
    if real.images.shape[1:] != shape:
        raise InvalidOption(
            f"The generator's images have the shape {list(shape)}, the real ones {list(real.images.shape[1:])}.",
            "Give real images of the generator's size and colour.",
        )
    if n < MIN_IMAGES:
        raise InvalidOption(
            f"{n} real images are too few to compare with.", f"Give at least {MIN_IMAGES}; 10,000 are usual."
        )


def _labels_for(sampler: Sampler, real: ImageSet) -> Int64Array | None:
    """Return the labels of the real images as class indices of the sampler, int64 [N]; None if it has no classes."""
    names = sampler.class_names
    if not names:
        return None
    if real.labels is None or not set(real.class_names) <= set(names):
        theirs = ", ".join(real.class_names[:10]) or "none"
        raise InvalidOption(
            f"The generator has the classes {', '.join(names[:10])}, but the real images have {theirs}.",
            "Give labelled images of the same classes, or --labels.",
        )
    numbers = np.array([names.index(name) for name in real.class_names], np.int64)
    return numbers[real.labels]


def _sample(sampler: Sampler, count: int, labels: Int64Array | None, truncation: float = 1.0) -> UInt8Array:
    """Return the images of the seeds 0 to count - 1."""
    pieces = [slice(start, min(start + SAMPLED_AT_ONCE, count)) for start in range(0, count, SAMPLED_AT_ONCE)]
    return np.concatenate(
        [
            sampler.sample(range(piece.start, piece.stop), None if labels is None else labels[piece], truncation)
            for piece in pieces
        ]
    )


@dataclass(frozen=True)
class _Progress:
    """A progress bar, or a replacement that shows nothing."""

    stage: Callable[[str], object] = lambda text: None
    update: Callable[[int], object] = lambda images: None


@contextlib.contextmanager
def _progress(total: int, quiet: bool) -> Iterator[_Progress]:
    if quiet:
        yield _Progress()
        return
    from tqdm import tqdm  # imported only if a bar is shown

    with tqdm(total=total, unit="image", **bar_pace()) as bar:
        yield _Progress(bar.set_description, bar.update)


def _rounded(value: float) -> float:
    """Round to five significant digits; more would only be noise of the machine."""
    return float(f"{value:.5g}")
