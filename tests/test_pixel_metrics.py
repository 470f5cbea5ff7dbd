"""Metrics of pixels against images whose value is known."""

from __future__ import annotations

import numpy as np
import pytest

from gan_serve.training.evaluation.pixel_metrics import (
    SPECK,
    checkerboard,
    diversity,
    diversity_by_class,
    mean_gradient,
    pixel_metrics,
    speck_mask,
    specks,
)

BOARD = (-1) ** np.add.outer(np.arange(16), np.arange(16))


def images(*planes: np.ndarray, channels: int = 1) -> np.ndarray:
    return np.repeat(np.stack(planes)[..., None], channels, axis=3).astype(np.uint8)


@pytest.mark.parametrize("amplitude", [0, 1, 5, 40])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_checkerboard_has_the_power_of_its_amplitude(amplitude, channels):
    board = images(128 + amplitude * BOARD, channels=channels)
    assert checkerboard(board) == pytest.approx(amplitude**2, rel=1e-5, abs=1e-8)
    assert checkerboard(np.concatenate([board, images(np.full((16, 16), 128), channels=channels)])) == pytest.approx(
        amplitude**2 / 2, rel=1e-5, abs=1e-8
    )


def test_other_frequencies_are_no_checkerboard():
    columns = np.tile((-1) ** np.arange(16), (16, 1))
    ramp = np.tile(np.arange(0, 160, 10), (16, 1))
    for plane in (128 + 50 * columns, 128 + 50 * columns.T, ramp, np.full((16, 16), 255)):
        assert checkerboard(images(plane)) == pytest.approx(0, abs=1e-6)


def test_a_checkerboard_of_colours_counts_by_its_luma():
    board = np.full((1, 16, 16, 3), 128, np.uint8)
    board[0, ..., 1] = 128 + 10 * BOARD
    assert checkerboard(board) == pytest.approx((0.587 * 10) ** 2, rel=1e-4)


def test_the_last_row_of_an_odd_height_is_left_out():
    board = 128 + 7 * BOARD
    odd = np.pad(board, ((0, 1), (0, 0)), constant_values=255)
    assert checkerboard(images(odd)) == pytest.approx(49, rel=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_a_spot_of_at_most_2x2_pixels_is_a_speck(sign, height, width):
    plane = np.full((16, 16), 128)
    plane[5 : 5 + height, 7 : 7 + width] += sign * (SPECK + 1)
    mask = speck_mask(images(plane))[0]
    assert mask.sum() == height * width
    assert mask[5 : 5 + height, 7 : 7 + width].all()
    plane[5 : 5 + height, 7 : 7 + width] -= sign
    assert not speck_mask(images(plane)).any()


def test_lines_edges_and_corners_are_no_specks():
    line, diagonal, rectangle, corner = (np.full((16, 16), 30) for _ in range(4))
    line[4, 2:5] = 255
    np.fill_diagonal(diagonal, 255)
    rectangle[3:9, 5:12] = 255
    corner[:4, :4] = 255
    assert specks(images(line, diagonal, rectangle, corner)) == 0


def test_specks_are_counted_by_image_and_seen_in_any_channel():
    clean, dotted = np.full((16, 16), 60), np.full((16, 16), 60)
    dotted[2, 3] = dotted[9, 9] = 255
    assert specks(images(clean, dotted, clean, clean)) == 0.25
    coloured = images(clean, clean, channels=3)
    coloured[1, 4, 4, 2] = 200
    assert specks(coloured) == 0.5


def test_diversity_is_the_mean_difference_of_all_pairs():
    four = np.array([0, 10, 30, 60], np.uint8).reshape(4, 1, 1, 1)
    pairs = [abs(int(a) - int(b)) for i, a in enumerate(four.ravel()) for b in four.ravel()[i + 1 :]]
    assert diversity(four) == pytest.approx(np.mean(pairs))
    assert diversity_by_class(four, [0, 0, 5, 5]) == {0: 10.0, 5: 30.0}
    assert diversity(four, [0, 0, 5, 5]) == 20
    assert diversity(four, [0, 1, 2, 3]) == 0


def test_sharpness_is_the_mean_difference_of_neighbours():
    assert mean_gradient(images(np.tile(np.arange(0, 160, 10), (16, 1)))) == pytest.approx(5)


def test_all_are_measured_by_names_that_state_the_images():
    named = pixel_metrics(images(128 + 5 * BOARD, np.full((16, 16), 128)), "train", [0, 0])
    assert named == {
        "mean_gradient_2_train": 5.0,
        "checkerboard_2_train": 12.5,
        "specks_2_train": 0.0,
        "diversity_2_train": 5.0,
        "diversity_within_class_2_train": 5.0,
    }
