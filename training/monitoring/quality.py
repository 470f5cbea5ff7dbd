"""Measure a run while it trains: by one number, lower is better, that decides which snapshot is the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from gan_serve.images.encoding import UInt8Array
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.data.image_set import Int64Array
from gan_serve.training.data.load import ImageSet
from gan_serve.training.evaluation.cache import cached_features
from gan_serve.training.evaluation.evaluate import count_in_name, distance_name, frechet, missing_classes
from gan_serve.training.evaluation.features import extract, find_extractor, logits_of_classes
from gan_serve.training.evaluation.pixel_metrics import random_sample
from gan_serve.training.evaluation.swd import SlicedWasserstein
from gan_serve.training.sample_images import sample_images

Measure = Callable[[nn.Module], Mapping[str, Any]]

SWD_IMAGES = 1024
FD_IMAGES = 2000


def quality(data: ImageSet, features: str | None) -> Measure:
    """Measure a generator by the distance of its images to the training images.

    The images of the same seeds each time, with the labels of the real images where the generator is conditional.

    Args:
        data: the training images.
        features: an extractor, for the Fréchet distance in its features (see ``find_extractor``); None: the sliced
            Wasserstein distance, which needs no network and knows no classes.
    """
    return _frechet(data, features) if features else _sliced_wasserstein(data)


def _sliced_wasserstein(data: ImageSet) -> Measure:
    order = random_sample(len(data), SWD_IMAGES)
    reference = SlicedWasserstein(data.images[order])

    def evaluate(generator: nn.Module) -> dict[str, float]:
        images = _draw(generator, data, order)
        return {name: round(value, 5) for name, value in reference.measure(images).items()}

    return evaluate


def _frechet(data: ImageSet, features: str) -> Measure:
    extractor = find_extractor(features)
    order = random_sample(len(data), FD_IMAGES)
    theirs = cached_features(extractor, data.images[order])
    name = f"{distance_name(extractor)}{count_in_name(len(order))}_{extractor.name}_train"

    def evaluate(generator: nn.Module) -> dict[str, Any]:
        ours = extract(extractor, _draw(generator, data, order))
        figures: dict[str, Any] = {name: round(frechet(theirs, ours), 5)}
        logits = logits_of_classes(extractor, data.class_names, ours.logits)
        if logits is not None and data.labels is not None:
            figures["classes_missing"] = missing_classes(logits, data.labels)  # the doctor speaks of them
        return figures

    return evaluate


def _draw(generator: nn.Module, data: ImageSet, order: Int64Array) -> UInt8Array:
    z = torch.from_numpy(latents_from_seeds(range(len(order)), int(generator.z_dim)))  # type: ignore[arg-type]
    c = torch.from_numpy(data.labels[order]) if generator.c_dim and data.labels is not None else None
    return sample_images(generator, z, c)
