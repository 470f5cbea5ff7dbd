"""The warning of ``gan-serve export`` about images that nobody wants."""

from __future__ import annotations

import re

import pytest

from gan_serve.exports.weak_images import weakness

REAL = {"mean_gradient_1000_train": 10.0, "diversity_1000_train": 60.0, "specks_1000_train": 0.0}


@pytest.mark.parametrize(
    ("gradient", "diversity", "says"),
    [(9.0, 55.0, None), (3.0, 20.0, None), (0.5, 1.0, "blank images"), (9.0, 5.0, "nearly one image: .* 5.0 .* 60.0")],
)
def test_blank_images_and_a_single_one_are_told_in_one_line(gradient, diversity, says):
    generated = {
        "mean_gradient_1000_seeds": gradient,
        "diversity_within_class_1000_seeds": 0.0,
        "diversity_1000_seeds": diversity,
    }
    told = weakness(generated, REAL)
    if says is None:
        assert told is None
    else:
        assert told is not None
        assert re.search(says, told)
        assert "\n" not in told


def test_runs_of_earlier_versions_without_metrics_are_not_judged():
    assert weakness({"diversity_1000_seeds": 0.0}, {}) is None
