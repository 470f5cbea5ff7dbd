"""Distances within classes: normal distributions whose Fréchet distance is known, and images of known classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.image_set import ImageSet, Int64Array
from gan_serve.training.evaluation.compute_metrics import class_distances, worst_class
from gan_serve.training.evaluation.evaluate import EvaluationOptions, evaluate
from gan_serve.training.evaluation.features import Features
from gan_serve.training.evaluation.reference import reference_rows

QUICK = EvaluationOptions(truncations=False, quiet=True)
N = 40_000


def features(values: np.ndarray) -> Features:
    return Features(values.astype(np.float32), np.zeros((len(values), 2), np.float32))


def test_distances_within_classes_are_those_of_their_normal_distributions():
    """N(m, s²) in each of 3 dimensions: |m₁ - m₂|² + 3 (s₁ - s₂)². Over all classes they would mix."""
    random = np.random.RandomState(4)
    labels = np.arange(N) % 2
    rows_of = {0: labels == 0, 1: labels == 1}
    normal = [random.standard_normal((N, 3)) for _ in range(3)]
    scale = np.where(labels == 0, 1.0, 4.0)[:, None]
    real = features(normal[0] * scale)
    generated = features(np.where(labels[:, None] == 0, normal[1] + 2, normal[1] * 6))
    reference = features(normal[2] * scale)
    distance_of, floor_of = class_distances(real, generated, reference, rows_of)
    assert distance_of[0] == pytest.approx(3 * 2**2, rel=0.02)
    assert distance_of[1] == pytest.approx(3 * (6 - 4) ** 2, rel=0.05)
    assert floor_of[0] < 0.01 > floor_of[1] / 16
    assert floor_of[1] > floor_of[0] > 0
    assert worst_class(distance_of, floor_of) == max((0, 1), key=lambda label: distance_of[label] / floor_of[label])
    assert class_distances(real, generated, None, rows_of) == (distance_of, {})
    assert worst_class({0: 3.0, 1: 5.0, 2: 4.0}, {}) == 1
    assert worst_class({0: 3.0, 1: 5.0}, {0: 0.1, 1: 1.0}) == 0


@dataclass
class MeanColour:
    """An extractor whose two features are the mean of the left and of the right half."""

    name: str = "halves"
    digest: str = "sha256:halves"
    class_names: tuple[str, ...] = ("dark", "light")
    attributes: bool = False

    def __call__(self, images: UInt8Array) -> Features:
        means = images.astype(np.float32).mean(axis=(1, 3))
        halves = np.stack([means[:, :4].mean(axis=1), means[:, 4:].mean(axis=1)], axis=1)
        light = (halves.mean(axis=1) - 128) / 10
        return Features(halves, np.stack([-light, light], axis=1))


@dataclass
class Shades:
    """Samples flat images: ``offset`` is added to those of the second class."""

    offset: int = 0
    class_names: tuple[str, ...] = ("dark", "light")
    img_resolution: int = 8
    img_channels: int = 1

    def sample(self, seeds: Sequence[int], labels: Int64Array, truncation: float) -> UInt8Array:
        return shades(labels, np.random.RandomState(1000 + seeds[0]), self.offset)


def shades(labels: Int64Array, random: np.random.RandomState, offset: int = 0) -> UInt8Array:
    """Two halves of random grey, about 60 for class 0 and 190 for class 1."""
    levels = np.where(labels == 0, 60, 190 + offset)[:, None] + random.randint(-20, 21, (len(labels), 2))
    return np.repeat(levels, 4, axis=1)[:, None, :, None].repeat(8, axis=1).astype(np.uint8)


def shade_set(n: int, seed: int) -> ImageSet:
    labels = np.arange(n, dtype=np.int64) % 2
    return ImageSet("shades", shades(labels, np.random.RandomState(seed)), labels, ("dark", "light"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_worst_class_is_found_and_stands_beside_its_floor():
    real, train = shade_set(400, 1), shade_set(1000, 2)
    extractor = MeanColour()
    honest = evaluate(Shades(), real, extractor, split="test", train=train, options=QUICK).metrics
    assert honest["fd400_halves_test"] < 20
    assert honest["label_agreement400_halves"] == honest["label_agreement_of_real400_halves_test"] == 1
    shifted = evaluate(Shades(offset=15), real, extractor, split="test", train=train, options=QUICK).metrics
    worst, floor = shifted["fd_within_class_max400_halves_test"], shifted["fd_within_class_max_floor400_halves_test"]
    assert worst == shifted["fd400_halves_test_class:light"] == pytest.approx(2 * 15**2, rel=0.2)
    assert floor == shifted["fd_floor400_halves_test_class:light"]
    assert floor < 20 < worst
    assert shifted["fd400_halves_test_class:dark"] == honest["fd400_halves_test_class:dark"]
    assert shifted["fd_floor400_halves_test"] == honest["fd_floor400_halves_test"] < 20
    assert shifted["recall400_halves_test_class:light"] == shifted["recall_within_class_min400_halves_test"]
    assert honest["diversity_ratio_within_class_min_400_test"] == pytest.approx(1, abs=0.15)


def test_a_class_of_one_image_has_no_diversity_of_its_own():
    class OneDark(Shades):
        def sample(self, seeds: Sequence[int], labels: Int64Array, truncation: float) -> UInt8Array:
            images = super().sample(seeds, labels, truncation)
            images[labels == 0] = 60
            return images

    metrics = evaluate(OneDark(), shade_set(400, 1), MeanColour(), split="test", options=QUICK).metrics
    assert metrics["diversity_ratio_within_class_min_400_test"] == 0
    assert metrics["recall400_halves_test_class:dark"] < 0.1
    assert metrics["recall400_halves_test_class:light"] > 0.5
    assert not any("floor" in name for name in metrics)  # without training images there is no other real set


def test_few_images_of_a_class_have_no_distance():
    real = shade_set(400, 1).only(np.flatnonzero((np.arange(400) % 2 == 0) | (np.arange(400) < 90)))
    metrics = evaluate(Shades(), real, MeanColour(), split="test", train=shade_set(1000, 2), options=QUICK).metrics
    assert "fd_floor245_halves_test" in metrics
    assert not any("within_class" in name and name.startswith(("fd", "recall")) for name in metrics)


def test_the_reference_is_of_the_same_classes_and_of_no_compared_image():
    data = shade_set(1000, 3)
    compared_rows = np.random.RandomState(0).permutation(1000)[:300]
    rows = reference_rows(data, data.only(compared_rows), excluded=compared_rows, by_class=True)
    assert rows is not None
    assert data.labels is not None
    np.testing.assert_array_equal(data.labels[rows], data.labels[compared_rows])
    assert len(set(rows)) == 300
    assert not set(rows) & set(compared_rows)
    again = reference_rows(data, data.only(compared_rows), excluded=compared_rows, by_class=True)
    np.testing.assert_array_equal(rows, again)


def test_there_is_no_reference_where_images_are_too_few():
    data, none = shade_set(100, 3), np.zeros(0, np.int64)
    everything = np.arange(100)
    assert reference_rows(data, data, excluded=everything[:1], by_class=False) is None
    assert reference_rows(data, data, excluded=none, by_class=False) is not None
    dark = data.only(data.labels == 0)
    assert reference_rows(dark, data.only(everything[:20]), excluded=none, by_class=True) is None
