"""The sliced Wasserstein distance on real digits, and against closed forms."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from gan_serve.errors import InvalidOption
from gan_serve.training.evaluation.swd import SlicedWasserstein, laplacian_pyramid, pyramid_sizes, sliced_distance

HALF = 400


@pytest.fixture(scope="module")
def halves(digits: Path) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of 400 real digits each, of 16x16 pixels, in random order."""
    images = np.load(digits)["images"].repeat(2, axis=1).repeat(2, axis=2)[..., None]
    images = np.random.RandomState(0).permutation(images)
    return images[:HALF], images[HALF : 2 * HALF]


def test_a_set_is_at_no_distance_from_itself_in_any_order(halves):
    real, _ = halves
    distance = SlicedWasserstein(real)
    assert set(distance.measure(real).values()) == {0.0}
    assert distance.measure(real[::-1])[distance.name] == pytest.approx(0, abs=1e-3)


def test_the_order_of_images_does_not_matter(halves):
    real, other = halves
    shuffled = SlicedWasserstein(real[::-1]).measure(np.random.RandomState(1).permutation(other))
    assert shuffled == pytest.approx(SlicedWasserstein(real).measure(other), abs=2e-3)


def test_noise_is_further_than_blur_and_blur_than_other_real_images(halves):
    real, other = halves
    blurred = (other.astype(float) + np.roll(other, 1, 1) + np.roll(other, 1, 2)) / 3
    noise = np.random.RandomState(2).randint(0, 256, real.shape)
    repeated = np.repeat(other[:4], HALF // 4, axis=0)
    distance = SlicedWasserstein(real)
    figures = {
        name: distance.measure(images.astype(np.uint8))[distance.name]
        for name, images in {"other": other, "blurred": blurred, "noise": noise, "repeated": repeated}.items()
    }
    assert 0 < 3 * figures["other"] < figures["blurred"] < figures["noise"]
    assert figures["repeated"] > 5 * figures["other"]


def test_wrong_brightness_contrast_and_hue_count(halves):
    real = np.repeat(halves[0], 3, axis=3)
    distance = SlicedWasserstein(real)
    floor = distance.measure(np.repeat(halves[1], 3, axis=3))[distance.name]
    for wrong in (real // 2, real // 2 + 127, real * np.array([1, 0, 1], np.uint8)):
        assert distance.measure(wrong)[distance.name] > 5 * floor


def test_the_distance_of_a_shifted_cloud_is_the_mean_shift_along_the_directions():
    random = np.random.RandomState(0)
    cloud, shift = random.randn(500, 6).astype(np.float32), random.randn(6).astype(np.float32)
    directions = random.randn(6, 40).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    expected = np.abs(shift @ directions).mean()
    assert sliced_distance(cloud, cloud[::-1] + shift, directions) == pytest.approx(expected, rel=1e-4)
    line = np.ones((1, 1), np.float32)
    assert sliced_distance(cloud[:, :1], cloud[:, :1] + 3, line) == pytest.approx(3, rel=1e-5)
    assert sliced_distance(cloud[:, :1], 2 * cloud[:, :1], line) == pytest.approx(np.abs(cloud[:, 0]).mean(), rel=1e-4)


def test_the_distance_of_two_clouds_is_symmetric_and_obeys_the_triangle():
    random = np.random.RandomState(0)
    a, b, c = (random.randn(300, 5).astype(np.float32) * scale for scale in (1, 2, 3))
    directions = random.randn(5, 20).astype(np.float32)
    assert sliced_distance(a, b, directions) == sliced_distance(b, a, directions) > 0
    assert sliced_distance(a, c, directions) <= sliced_distance(a, b, directions) + sliced_distance(b, c, directions)


def test_the_metric_names_its_protocol_and_its_levels(halves):
    assert list(SlicedWasserstein(halves[0]).measure(halves[1])) == [
        "swd400_train",
        "swd400_train_16px",
        "swd400_train_8px",
    ]
    thousand = np.zeros((2000, 8, 8, 1), np.uint8)
    assert SlicedWasserstein(thousand, "test").measure(thousand) == {"swd2k_test": 0.0, "swd2k_test_8px": 0.0}


def test_seeds_draw_other_places_and_directions_and_agree(halves):
    one, other = (SlicedWasserstein(halves[0], seed=seed).measure(halves[1])["swd400_train"] for seed in (0, 1))
    assert one != other
    assert one == pytest.approx(other, rel=0.3)
    assert one == SlicedWasserstein(halves[0]).measure(halves[1])["swd400_train"]


@pytest.mark.parametrize(
    ("resolution", "sizes"), [(8, [8]), (12, [12]), (28, [28, 14]), (36, [36, 18, 9]), (64, [64, 32, 16, 8])]
)
def test_the_pyramid_halves_down_to_8_pixels(resolution, sizes):
    images = np.random.RandomState(0).randint(0, 256, (3, resolution, resolution, 3)).astype(np.uint8)
    assert pyramid_sizes(resolution) == sizes
    assert [level.shape for level in laplacian_pyramid(images)] == [(3, size, size, 3) for size in sizes]


def test_a_flat_image_is_in_the_last_level_alone():
    *fine, last = laplacian_pyramid(np.full((2, 32, 32, 1), 200, np.uint8))
    assert all(np.abs(level).max() < 1e-4 for level in fine)
    assert last == pytest.approx(200)


@pytest.mark.parametrize("shape", [(0, 8, 8, 1), (5, 8, 12, 1), (5, 4, 4, 1)])
def test_images_that_have_no_patches_are_refused(shape):
    with pytest.raises(InvalidOption, match="cannot be measured"):
        SlicedWasserstein(np.zeros(shape, np.uint8))


def test_another_number_of_images_is_refused(halves):
    with pytest.raises(InvalidOption, match=r"\[10, 16, 16, 1\]"):
        SlicedWasserstein(halves[0]).measure(halves[1][:10])


@pytest.mark.slow
def test_a_thousand_images_of_64_pixels_take_little_time():
    images = np.random.RandomState(0).randint(0, 256, (1024, 64, 64, 3)).astype(np.uint8)
    distance = SlicedWasserstein(images)
    started = time.process_time()
    distance.measure(images[:, ::-1])
    assert time.process_time() - started < 5  # about 0.6 s on one undisturbed thread
