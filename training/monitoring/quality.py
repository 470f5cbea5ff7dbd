"""Measure a run while it trains: one value, lower is better, that decides which snapshot is the best."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.data.image_set import Int64Array
from gan_serve.training.data.load import ImageSet
from gan_serve.training.evaluation.cache import cached_features
from gan_serve.training.evaluation.compute_metrics import (
    MIN_PER_CLASS,
    class_distances,
    frechet,
    missing_classes,
    worst_class,
)
from gan_serve.training.evaluation.extractor_registry import find_extractor
from gan_serve.training.evaluation.features import INCEPTION, extract, logits_of_classes
from gan_serve.training.evaluation.metric_names import MetricName, distance_stem
from gan_serve.training.evaluation.pixel_metrics import checkerboard, mean_gradient, random_sample, specks
from gan_serve.training.evaluation.reference import reference_rows
from gan_serve.training.evaluation.swd import SlicedWasserstein
from gan_serve.training.sample_images import sample_images

Measure = Callable[[nn.Module], Mapping[str, Any]]

SWD_IMAGES = 1024
FD_IMAGES = 2000


def quality(data: ImageSet, features: str | None) -> Measure:
    """Return a function that compares a generator with the training images; its first value is the quality.

    The generator samples the same seeds each time, with the labels of the real images if it is conditional. Other
    values are ``sharpness`` and ``checkerboard`` relative to the real images, ``specks``, the share of images that have
    one (see ``pixel_metrics``), and, with ``features`` and labels, ``worst_class_fd``: the Fréchet distance within the
    worst class over the distance between two sets of real images of that class.

    Args:
        data: the training images.
        features: a feature extractor (see ``find_extractor``); the quality is the Fréchet distance in its features. If
            None, it is the sliced Wasserstein distance, which needs no network.
    """
    return _frechet(data, features) if features else _sliced_wasserstein(data)


def _sliced_wasserstein(data: ImageSet) -> Measure:
    order = random_sample(len(data), SWD_IMAGES)

    @functools.cache  # made when it is needed, so that the first grid of a run need not wait for it
    def references() -> tuple[SlicedWasserstein, _PixelsBesideReal]:
        return SlicedWasserstein(data.images[order]), _PixelsBesideReal(data.images[order])

    def evaluate(generator: nn.Module) -> dict[str, float]:
        images = _sample(generator, data, order)
        distances, beside = references()
        return {name: round(value, 5) for name, value in distances.measure(images).items()} | beside.measure(images)

    return evaluate


def _frechet(data: ImageSet, features: str) -> Measure:
    extractor = find_extractor(features)
    order = random_sample(len(data), FD_IMAGES)
    real = cached_features(extractor, data.images[order])
    name = str(MetricName(distance_stem(extractor.name), len(order), extractor.name, "train"))
    beside = _PixelsBesideReal(data.images[order])
    others = None if extractor.name == INCEPTION else _reference(data, order)
    reference = None if others is None else cached_features(extractor, data.images[others])

    def evaluate(generator: nn.Module) -> dict[str, Any]:
        images = _sample(generator, data, order)
        found = extract(extractor, images)
        metrics: dict[str, Any] = {name: round(frechet(real, found), 5)} | beside.measure(images)
        if reference is not None and data.labels is not None and generator.c_dim:
            labels = data.labels[order]
            rows_of = {label: labels == label for label in range(len(data.class_names))}
            distance_of, floor_of = class_distances(real, found, reference, rows_of)
            worst = worst_class(distance_of, floor_of)
            metrics["worst_class_fd"] = round(distance_of[worst] / max(floor_of[worst], 1e-12), 3)
        logits = logits_of_classes(extractor, data.class_names, found.logits)
        if logits is not None and data.labels is not None:
            metrics["classes_missing"] = missing_classes(logits, data.labels)  # read by the diagnosis
        return metrics

    return evaluate


class _PixelsBesideReal:
    """Metrics of pixels, relative to the real images."""

    def __init__(self, real: UInt8Array) -> None:
        self._sharpness, self._checkerboard = mean_gradient(real), checkerboard(real)

    def measure(self, images: UInt8Array) -> dict[str, float]:
        times = {
            "sharpness": (mean_gradient(images), self._sharpness),
            "checkerboard": (checkerboard(images), self._checkerboard),
        }
        found = {name: round(value / real, 4) for name, (value, real) in times.items() if real}
        return found | {"specks": round(specks(images), 5)}


def _reference(data: ImageSet, order: Int64Array) -> Int64Array | None:
    """Return as many other images of the same classes, see ``reference_rows``; None if a class has too few."""
    if data.labels is None or np.bincount(data.labels[order], minlength=len(data.class_names)).min() < MIN_PER_CLASS:
        return None
    return reference_rows(data, data.only(order), excluded=order, by_class=True)


def _sample(generator: nn.Module, data: ImageSet, order: Int64Array) -> UInt8Array:
    z = torch.from_numpy(latents_from_seeds(range(len(order)), int(generator.z_dim)))  # type: ignore[arg-type]
    c = torch.from_numpy(data.labels[order]) if generator.c_dim and data.labels is not None else None
    return sample_images(generator, z, c)
