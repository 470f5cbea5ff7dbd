"""The nearest-neighbour test on real digits: copies are caught that every other metric finds perfect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gan_serve.errors import InvalidOption
from gan_serve.images.grid import cut_grid
from gan_serve.training.evaluation.metrics import feature_statistics, frechet_distance, manifold_metrics
from gan_serve.training.evaluation.neighbours import nearest, neighbour_test, pairs_picture


@pytest.fixture(scope="module")
def images(digits: Path) -> np.ndarray:
    """1,797 real digits, enlarged to 40x40 so that blocks of both sizes rule images out."""
    small = np.random.RandomState(0).permutation(np.load(digits)["images"])
    return small.repeat(5, axis=1).repeat(5, axis=2)[..., None]


def by_brute_force(images: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    means = np.stack([np.abs(among.astype(int) - image).mean(axis=(1, 2, 3)) for image in images])
    return means.argmin(axis=1), means.min(axis=1)


def smooth(random: np.random.RandomState, n: int, height: int, width: int, channels: int) -> np.ndarray:
    coarse = random.randint(0, 256, (n, -(-height // 6), -(-width // 6), channels))
    return coarse.repeat(6, axis=1).repeat(6, axis=2)[:, :height, :width].astype(np.uint8)


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 64, 3), (45, 41, 3), (20, 64, 1), (8, 8, 1), (1, 1, 3)])
@pytest.mark.parametrize("kind", ["smooth", "noise", "flat"])
def test_the_nearest_is_that_of_brute_force(shape, kind):
    random = np.random.RandomState(0)
    if kind == "smooth":
        images, among = smooth(random, 6, *shape), smooth(random, 150, *shape)
    elif kind == "noise":
        images, among = (random.randint(0, 256, (n, *shape)).astype(np.uint8) for n in (6, 150))
    else:  # few grey levels for many images: of equals the first counts
        images, among = (np.full((n, *shape), random.randint(0, 5, (n, 1, 1, 1)), np.uint8) for n in (6, 150))
    index, distance = by_brute_force(images, among)
    found = nearest(images, among)
    assert found.index.tolist() == index.tolist()
    assert found.distance == pytest.approx(distance, rel=1e-12)


def test_real_digits_are_found_as_by_brute_force(images):
    index, distance = by_brute_force(images[:25], images[25:])
    found = nearest(images[:25], images[25:])
    assert found.index.tolist() == index.tolist()
    assert found.distance == pytest.approx(distance, rel=1e-12)


def test_one_image_may_be_all_there_is_and_arrays_need_not_be_contiguous(images):
    assert nearest(images[:3], images[:1]).index.tolist() == [0, 0, 0]
    mirrored = images[:200, :, ::-1]
    assert nearest(mirrored[5:8], mirrored).index.tolist() == [5, 6, 7]
    assert nearest(mirrored[5:8], mirrored).distance.tolist() == [0, 0, 0]


def test_the_order_of_images_does_not_matter(images):
    found, turned = nearest(images[:50], images[50:]), nearest(images[:50][::-1], images[50:][::-1])
    assert turned.distance[::-1].tolist() == found.distance.tolist()


def test_other_real_images_have_a_ratio_of_one(images):
    result = neighbour_test(images[:200], images[200:400], images[400:])
    assert result.ratio == pytest.approx(1, abs=0.1)
    assert np.median(result.generated.distance) / np.median(result.unseen.distance) == result.ratio


def test_copies_are_caught_that_look_perfect_by_their_features(images):
    train, unseen = images[400:], images[:200]
    copies = train[:200]
    features = train[:200].reshape(200, -1)[:, ::25].astype(np.float32)
    assert frechet_distance(feature_statistics(features), feature_statistics(features)) == pytest.approx(0, abs=1e-6)
    assert manifold_metrics(features, features).precision == 1
    assert neighbour_test(copies, unseen, train).ratio == 0

    noise = np.random.RandomState(0).randint(-3, 4, copies.shape)
    noisy = np.clip(copies + noise, 0, 255).astype(np.uint8)
    assert neighbour_test(noisy, unseen, train).ratio < 0.2


def test_images_unlike_all_training_images_have_a_ratio_above_one(images):
    noise = np.random.RandomState(0).randint(0, 256, (50, 40, 40, 1)).astype(np.uint8)
    assert neighbour_test(noise, images[:50], images[400:]).ratio > 2


def test_the_picture_shows_the_most_alike_first_each_above_its_neighbour(images):
    train, generated = images[400:], images[:40].copy()
    generated[33] = train[7]
    found = nearest(generated, train)
    cells = cut_grid(pairs_picture(generated, train, found, columns=8), 32, 8).reshape(2, 2, 8, 40, 40, 1)
    above, below = cells[:, 0].reshape(16, 40, 40, 1), cells[:, 1].reshape(16, 40, 40, 1)
    alike = [bray_curtis(image, train[n]) for image, n in zip(generated, found.index, strict=True)]
    closest = np.argsort(alike, kind="stable")[:16]
    assert closest[0] == 33
    assert np.array_equal(above, generated[closest])
    assert np.array_equal(below, train[found.index[closest]])
    assert np.array_equal(above[0], below[0])


def test_the_picture_shows_every_class_before_any_a_second_time(images):
    train, generated = images[400:], images[:60]
    found = nearest(generated, train)
    labels = np.arange(len(train)) % 5
    cells = cut_grid(pairs_picture(generated, train, found, columns=5, double_rows=2, labels=labels), 20, 5)
    below = cells.reshape(2, 2, 5, -1)[:, 1]
    for row in below:
        shown = [int(np.abs(train.reshape(len(train), -1).astype(int) - pixels).sum(1).argmin()) for pixels in row]
        assert sorted(labels[shown]) == [0, 1, 2, 3, 4]
    alike = [bray_curtis(image, train[n]) for image, n in zip(generated, found.index, strict=True)]
    assert np.array_equal(cells[0], generated[int(np.argmin(alike))])


def bray_curtis(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).sum() / (one.astype(int) + other).sum())


def test_the_picture_shows_bright_images_too_and_equal_black_ones_first():
    black, dark, bright = (np.full((1, 8, 8, 1), level, np.uint8) for level in (0, 4, 200))
    train = np.concatenate([black, dark, bright])
    generated = np.concatenate([dark + 3, bright + 10, black])  # 3 grey levels of 11 in all, 10 of 410, none
    found = nearest(generated, train)
    assert found.distance.tolist() == [3, 10, 0]
    cells = cut_grid(pairs_picture(generated, train, found, columns=3, double_rows=1), 6, 3)
    assert cells[:, 0, 0, 0].tolist() == [0, 210, 7, 0, 200, 4]


def test_the_picture_of_few_images_leaves_the_rest_of_a_row_white(images):
    few, train = images[:5], images[5:]
    sheet = pairs_picture(few, train, nearest(few, train), columns=3, double_rows=4)
    cells = cut_grid(sheet, 12, 3).reshape(2, 2, 3, 40, 40, 1)
    assert (cells[1, :, 2] == 255).all()
    assert not (cells[1, :, 1] == 255).all()
    assert pairs_picture(few, train, nearest(few, train)).shape == (2 * 42 + 2, 5 * 42 + 2, 1)


@pytest.mark.parametrize(
    ("call", "said", "hint"),
    [
        (lambda x: neighbour_test(x[:5], x[:6], x), "5 generated images and 6 unseen", "equal numbers"),
        (lambda x: neighbour_test(x[:5], x[:5], x), "unseen images or more are in the training set", "held out"),
        (lambda x: neighbour_test(x[:0], x[:0], x), r"\[0, 40, 40, 1\]", "one or more"),
        (lambda x: nearest(x[:5], x[:0]), r"\[0, 40, 40, 1\]", "one or more"),
        (
            lambda x: nearest(x[:5], x[:, :8]),
            r"\[40, 40, 1\] cannot be compared with those of \[8, 40, 1\]",
            "one size",
        ),
        (lambda x: nearest(x[:5] / 255, x), "images are float64", "uint8"),
        (
            lambda x: pairs_picture(x[:5], x, nearest(x[:4], x)),
            "5 generated images, and neighbours of 4",
            "these images",
        ),
        (lambda x: pairs_picture(x[:5], x, nearest(x[:5], x), columns=0), "2 rows of 0 pairs", "1 or more"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_what_would_do(images, call, said, hint):
    with pytest.raises(InvalidOption, match=said) as refusal:
        call(images[:30])
    assert hint in refusal.value.hint
