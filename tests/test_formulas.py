"""The metrics of features against torchmetrics, prdc and closed forms, and on real digits whose faults are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gan_serve.errors import InvalidOption
from gan_serve.training.evaluation.metrics import (
    agreement_by_class,
    class_shares,
    classifier_score,
    confident_share,
    feature_statistics,
    frechet_distance,
    kernel_distance,
    label_agreement,
    manifold_metrics,
)

HALF = 800


@pytest.fixture(scope="module")
def sets(digits: Path) -> dict[str, np.ndarray]:
    """Pixels of real digits as features, float32 [800, 64]: two halves of the set, and what is wrong with others."""
    arrays = np.load(digits)
    order = np.random.RandomState(0).permutation(len(arrays["images"]))
    pixels = arrays["images"].reshape(len(order), -1).astype(np.float32)[order]
    labels = arrays["labels"][order]
    real, other = pixels[:HALF], pixels[HALF : 2 * HALF]
    noise = np.random.RandomState(1).standard_normal(other.shape).astype(np.float32)
    return {
        "real": real,
        "other": other,
        "noisy": other + 60 * noise,
        "one class": pixels[HALF:][labels[HALF:] == 3],
        "shifted": other + 20,
    }


def distance(real: np.ndarray, fake: np.ndarray) -> float:
    return frechet_distance(feature_statistics(real), feature_statistics(fake))


# Against the references, imported where they are used: they take two seconds. torchmetrics warns that it keeps all
# features.
KEEPS_FEATURES = pytest.mark.filterwarnings("ignore:.*large memory footprint:UserWarning")


class Identity(torch.nn.Module):
    """Features in, features out, for metrics that want a network."""

    num_features = 64

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


@pytest.mark.parametrize("fake", ["other", "noisy", "one class", "shifted"])
def test_the_frechet_distance_is_that_of_torchmetrics(sets, fake):
    from torchmetrics.image.fid import FrechetInceptionDistance

    reference = FrechetInceptionDistance(feature=Identity())
    reference.update(torch.from_numpy(sets["real"]).double(), real=True)
    reference.update(torch.from_numpy(sets[fake]).double(), real=False)
    assert distance(sets["real"], sets[fake]) == pytest.approx(reference.compute().item(), rel=1e-6)


@KEEPS_FEATURES
@pytest.mark.parametrize("fake", ["other", "noisy", "shifted"])
def test_the_kernel_distance_is_that_of_torchmetrics_where_a_subset_is_the_whole_set(sets, fake):
    from torchmetrics.image.kid import KernelInceptionDistance

    reference = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=HALF)
    scaled = {name: sets[name].astype(np.float64) / 64 for name in ("real", fake)}
    reference.update(torch.from_numpy(scaled["real"]), real=True)
    reference.update(torch.from_numpy(scaled[fake]), real=False)
    ours = kernel_distance(scaled["real"], scaled[fake])
    assert ours == pytest.approx(reference.compute()[0].item(), rel=1e-6, abs=1e-9)


@KEEPS_FEATURES
def test_the_kernel_distance_of_subsets_is_about_that_of_torchmetrics(sets):
    from torchmetrics.image.kid import KernelInceptionDistance

    reference = KernelInceptionDistance(feature=Identity(), subsets=100, subset_size=200)
    reference.update(torch.from_numpy(sets["real"] / 64), real=True)
    reference.update(torch.from_numpy(sets["shifted"] / 64), real=False)
    torch.manual_seed(0)
    ours = kernel_distance(sets["real"] / 64, sets["shifted"] / 64, subset_size=200)
    assert ours == pytest.approx(reference.compute()[0].item(), rel=0.03)


@KEEPS_FEATURES
@pytest.mark.parametrize("splits", [2, 10])
def test_the_classifier_score_is_that_of_torchmetrics(splits):
    from torchmetrics.image.inception import InceptionScore

    reference = InceptionScore(feature=Identity(), splits=splits)
    logits = torch.from_numpy(4 * np.random.RandomState(0).standard_normal((500, 10)))
    reference.update(logits)
    torch.manual_seed(3)
    theirs = reference.compute()[0].item()
    torch.manual_seed(3)
    order = torch.randperm(500)  # torchmetrics shuffles by torch's own generator
    assert classifier_score(logits[order].numpy(), splits) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("fake", ["other", "noisy", "one class", "shifted"])
@pytest.mark.parametrize("k", [3, 5])
def test_manifold_metrics_are_those_of_prdc(sets, fake, k):
    from prdc import compute_prdc

    reference = compute_prdc(sets["real"].astype(np.float64), sets[fake].astype(np.float64), nearest_k=k)
    ours = manifold_metrics(sets["real"], sets[fake], k_precision=k, k_density=k)
    assert ours._asdict() == pytest.approx(reference, abs=1e-12)


# Against what is known


def test_a_set_against_itself_is_perfect(sets):
    for features in (sets["real"], sets["real"] + 1000):
        assert distance(features, features) == pytest.approx(0, abs=1e-6)
        assert manifold_metrics(features, features) == (1, 1, 1, 1)


def test_copies_are_perfect_although_rounded_and_many_alike(sets):
    """Features of float32, far from the origin, each eight times over: all radii are zero, and nothing falls out."""
    real = np.repeat(sets["real"][:100] / 3 + 1e4, 8, axis=0)
    found = manifold_metrics(real, real[np.random.RandomState(0).permutation(len(real))])
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)


def test_the_frechet_distance_of_moved_and_scaled_clouds_is_in_closed_form():
    cloud = np.random.RandomState(0).standard_normal((500, 6))
    spread = feature_statistics(cloud).covariance.trace()
    assert distance(cloud, cloud + 2) == pytest.approx(6 * 2**2)
    centred = cloud - cloud.mean(axis=0)
    assert distance(centred, 3 * centred) == pytest.approx((3 - 1) ** 2 * spread)


def test_the_frechet_distance_is_exact_with_fewer_images_than_features():
    """For Σ = XᵀX of few rows X, the trace of the root is the sum of the singular values of X Yᵀ."""
    random = np.random.RandomState(0)
    one, other = random.standard_normal((10, 300)), random.standard_normal((100, 300))
    one, other = (one - one.mean(axis=0)) / 3, (other - other.mean(axis=0)) / 99**0.5
    roots = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    expected = (one**2).sum() + (other**2).sum() - 2 * roots
    one, other = 3 * one, 99**0.5 * other
    assert distance(one, other) == pytest.approx(expected, rel=1e-11)
    assert distance(other, one) == pytest.approx(expected, rel=1e-11)
    assert distance(one, one) == pytest.approx(0, abs=1e-9)
    assert distance(np.ones((5, 3)), np.ones((5, 3))) == 0


def test_noise_costs_precision(sets):
    clean, noisy = (manifold_metrics(sets["real"], sets[fake]) for fake in ("other", "noisy"))
    assert noisy.precision < 0.1 < 0.7 < clean.precision
    assert noisy.density < clean.density
    assert distance(sets["real"], sets["noisy"]) > 10 * distance(sets["real"], sets["other"])


def test_one_class_costs_recall_and_coverage_but_no_precision(sets):
    every, one = (manifold_metrics(sets["real"], sets[fake]) for fake in ("other", "one class"))
    assert one.recall < 0.3 < 0.7 < every.recall
    assert one.coverage < 0.2 < 0.8 < every.coverage
    assert one.precision == pytest.approx(every.precision, abs=0.15)


def test_the_kernel_distance_is_about_zero_between_real_halves_and_grows_with_a_shift(sets):
    scaled = {name: features / 64 for name, features in sets.items()}
    halves, shifted = (kernel_distance(scaled["real"], scaled[fake]) for fake in ("other", "shifted"))
    assert abs(halves) < shifted / 20


# Order, blocks and seeds


@pytest.mark.parametrize("block", [1, 7, 299, 10_000])
def test_the_block_size_does_not_matter(block):
    """Features of few whole numbers, where many distances equal a radius."""
    random = np.random.RandomState(0)
    real, fake = random.randint(0, 3, (300, 8)) / 3, random.randint(0, 3, (250, 8)) / 3
    assert manifold_metrics(real, fake, block=block) == manifold_metrics(real, fake)


def test_the_order_of_images_does_not_matter(sets):
    real, fake = sets["real"], sets["shifted"]
    shuffled = np.random.RandomState(0).permutation(fake)
    assert manifold_metrics(real[::-1], shuffled) == manifold_metrics(real, fake)
    assert distance(real[::-1], shuffled) == pytest.approx(distance(real, fake))
    assert kernel_distance(real[::-1], shuffled) == pytest.approx(kernel_distance(real, fake))


def test_kernel_subsets_depend_on_the_seed_alone_and_are_no_larger_than_the_smaller_side(sets):
    real, fake = sets["real"] / 64, sets["one class"] / 64
    assert len(fake) < 200
    first = kernel_distance(real, fake, subsets=20)
    assert first == kernel_distance(real, fake, subsets=20)
    assert first != kernel_distance(real, fake, subsets=20, seed=1)
    assert first == pytest.approx(kernel_distance(real, fake, subsets=20, seed=1), rel=0.1)


# Labels


def test_sure_and_even_images_score_as_many_as_there_are_classes():
    sure = 100.0 * np.eye(5)[np.arange(50) % 5]
    assert classifier_score(sure) == pytest.approx(5)
    assert classifier_score(np.zeros((50, 5))) == pytest.approx(1)
    assert classifier_score(sure[np.zeros(50, int)]) == pytest.approx(1)


def test_images_sorted_by_class_lose_score_to_the_splits():
    sure = 100.0 * np.eye(5)[np.repeat(np.arange(5), 10)]
    assert classifier_score(sure, splits=5) == pytest.approx(1)
    assert classifier_score(sure, splits=1) == pytest.approx(5)


def test_shuffled_labels_agree_by_chance():
    labels = np.arange(2000) % 10
    logits = np.eye(10)[labels] + 0.1 * np.random.RandomState(0).standard_normal((2000, 10))
    assert label_agreement(logits, labels) > 0.99
    assert label_agreement(logits, np.random.RandomState(1).permutation(labels)) == pytest.approx(0.1, abs=0.02)


def test_agreement_by_class_names_the_class_that_fails_and_the_one_not_asked_for():
    logits = np.eye(4)[[0, 0, 1, 0, 2, 2]]
    labels = np.array([0, 0, 1, 1, 2, 2])
    np.testing.assert_equal(agreement_by_class(logits, labels), [1, 0.5, 1, np.nan])
    assert label_agreement(logits, labels) == pytest.approx(5 / 6)
    assert class_shares(logits).tolist() == pytest.approx([3 / 6, 1 / 6, 2 / 6, 0])


def test_the_confident_share_counts_probabilities_not_logits():
    logits = np.log([[0.95, 0.03, 0.02], [0.89, 0.1, 0.01], [0.3, 0.3, 0.4]]) + 7
    assert confident_share(logits) == pytest.approx(1 / 3)
    assert confident_share(logits, above=0.8) == pytest.approx(2 / 3)
    assert confident_share(np.array([[1000.0, 0], [-1000, -1000]])) == 0.5


# Refusals


@pytest.mark.parametrize(
    ("call", "said", "hint"),
    [
        (lambda x: feature_statistics(x[:1]), "1 images, too few for a covariance", "Give 2 images or more"),
        (lambda x: manifold_metrics(x[:5], x), "real features belong to 5 images", "Give 6 images"),
        (lambda x: manifold_metrics(x, x[:5]), "generated features belong to 5 images", "Give 6 images"),
        (lambda x: manifold_metrics(x, x, k_density=0), "no neighbour number 0", "at least 1"),
        (lambda x: kernel_distance(x, x[:1]), "1 images, too few", "Give 2 images"),
        (lambda x: kernel_distance(x, x, subsets=0), "0 subsets of 1000", "at least 1"),
        (lambda x: kernel_distance(x, x[:, :2]), "have 4 features and generated ones 2", "same extractor"),
        (lambda x: manifold_metrics(x, x[:, :2]), "have 4 features and generated ones 2", "same extractor"),
        (lambda x: distance(x, x[:, :2]), "have 4 features and generated ones 2", "same extractor"),
        (lambda x: feature_statistics(x[0]), r"shape \[4\]", "one row for each image"),
        (lambda x: manifold_metrics(x, np.where(x > 3, np.nan, x)), "1 of 20 images are not finite", "extractor"),
        (lambda x: classifier_score(x[:9]), "9 images, too few for 10 splits", "Give 10 images"),
        (lambda x: classifier_score(x, splits=0), "cannot be 0 splits", "1 or more"),
        (lambda x: label_agreement(x, np.zeros(3, int)), r"labels of shape \[3\] for 20 images", "one for each image"),
        (lambda x: agreement_by_class(x, np.arange(20)), "0 to 19, but the classifier has 4", "from 0 to 3"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_what_would_do(call, said, hint):
    features = np.random.RandomState(0).uniform(0, 2, (20, 4))
    features[7, 2] = 4
    with pytest.raises(InvalidOption, match=said) as refusal:
        call(features)
    assert hint in refusal.value.hint
