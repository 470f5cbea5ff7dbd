"""The pages of ``gan-serve learn``: what their numbers must be by theory, and that the command writes the figure."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image

from gan_serve.errors import InvalidOption
from gan_serve.training.learn import PAGES, learn, ring
from gan_serve.training.learn.densities import GRID, jensen_shannon, normal, wasserstein

LN2 = math.log(2)


def test_the_value_is_minus_log_4_at_the_equilibrium_and_near_0_far_from_it():
    numbers = learn("value").numbers
    assert numbers["V where p = q"] == pytest.approx(-math.log(4))
    assert numbers["sum of real and fake loss there"] == pytest.approx(2 * LN2)
    assert -0.02 < numbers["V at a distance of 6"] < 0
    assert numbers["largest difference from 2 JSD - log 4"] < 1e-3


def test_the_trained_discriminator_is_p_over_p_plus_q():
    numbers = learn("best-discriminator").numbers
    assert numbers["largest |D - p / (p + q)| where p or q > 0.01"] < 0.02
    assert numbers["V reached"] == pytest.approx(numbers["2 JSD - log 4"], abs=2e-3)


def test_without_overlap_jensen_shannon_stands_still_and_wasserstein_goes_on():
    numbers = learn("distances").numbers
    assert numbers["JSD at a shift of 0.5"] == pytest.approx(LN2 / 2, rel=0.01)
    assert numbers["JSD at a shift of 1"] == pytest.approx(LN2, rel=0.01)
    assert numbers["JSD at a shift of 5"] == pytest.approx(LN2, rel=0.01)
    assert numbers["Wasserstein at a shift of 1"] == pytest.approx(1, rel=0.01)
    assert numbers["Wasserstein at a shift of 5"] == pytest.approx(5, rel=0.01)


def test_distances_of_shifted_gaussians():
    p, q = normal(GRID, 0), normal(GRID, 2)
    assert wasserstein(p, q) == pytest.approx(2, abs=1e-6)
    assert jensen_shannon(p, p) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p))


def test_the_saturating_slope_is_d_and_the_other_1_minus_d():
    numbers = learn("gradients").numbers
    for logit in (0.0, -4.0, -10.0):
        d = 1 / (1 + math.exp(-logit))
        assert numbers[f"saturating, D(G(z)) = {d:.3g}"] == pytest.approx(d)
        assert numbers[f"non-saturating, D(G(z)) = {d:.3g}"] == pytest.approx(1 - d)


def test_constraints_hold_a_critics_slope():
    numbers = learn("lipschitz").numbers
    assert numbers["clipping: largest slope"] < 0.05
    assert 0.9 < numbers["penalty: largest slope"] < 1.5
    assert numbers["spectral norm: largest slope"] == pytest.approx(1, abs=0.05)
    assert numbers["spectral norm: E[D(x)] - E[D(G(z))]"] == pytest.approx(3, abs=0.15)
    assert numbers["penalty: E[D(x)] - E[D(G(z))]"] == pytest.approx(3, abs=0.6)
    assert numbers["clipping: E[D(x)] - E[D(G(z))]"] < 0.1


def test_modes_are_counted_by_their_share_of_the_points():
    assert ring.modes_found(ring.MODES.repeat(20, 1)) == 8
    assert ring.modes_found(torch.cat([ring.MODES[:1].repeat(995, 1), ring.MODES[1:2].repeat(5, 1)])) == 1
    assert ring.near_a_mode(torch.zeros(10, 2)) == 0
    assert ring.near_a_mode(ring.real_points(1000)) > 0.95


@pytest.mark.slow
@pytest.mark.long(41)
def test_on_the_ring_remedies_find_more_modes():
    numbers = learn("mode-collapse").numbers
    plain = numbers["plain: modes of 8"]
    assert plain < 8
    assert all(numbers[f"{remedy}: modes of 8"] > plain for remedy in ("minibatch discrimination", "R1"))


def test_the_command_prints_the_numbers_and_writes_the_figure(cli, tmp_path):
    shown = cli("learn", "gradients", "--out", tmp_path / "figures" / "gradients.png")
    assert shown.code == 0
    assert "non-saturating, D(G(z)) = 0.018" in shown.out
    with Image.open(tmp_path / "figures" / "gradients.png") as figure:
        assert figure.size == (550, 420)
        assert len(figure.getcolors(1 << 20) or ()) > 10


def test_without_a_name_the_pages_are_listed(cli):
    assert cli("learn").out.split() == list(PAGES)


def test_an_unknown_page_is_an_error_that_names_the_nearest():
    with pytest.raises(InvalidOption) as error:
        learn("distance")
    assert "distances" in error.value.hint
