"""The doctor names what goes wrong, once, and stays quiet on healthy runs, real and made up."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from real_digits import load_digits
from torch import nn

from gan_serve.training.changed_settings import changes_on_resume
from gan_serve.training.config import make_config, parse_settings
from gan_serve.training.diagnosis import PATIENCE, SIGNS, Diagnosis, Finding, count_swings, find_non_finite
from gan_serve.training.evaluation.pixel_metrics import diversity
from gan_serve.training.losses import LOSSES, Loss, critic_wasserstein, generator_by_score
from gan_serve.training.recipes import TRANSLATE, recipes
from gan_serve.training.translation.diagnosis import TranslationDiagnosis
from gan_serve.training.translation.settings import make_translation_config


def settings_of(recipe: str = "dcgan-28", **changes) -> dict[str, object]:
    """Return the config of a run on images that are not read."""
    return make_config(recipe, {"data": "photos"} | changes).model_dump()


KIMG = 2.0  # of a tick here
WARM_UP = 2  # ticks: 4 kimg

HEALTHY = {
    "d_loss": 0.63, "g_loss": 0.88, "d_real_acc": 0.62, "d_fake_acc": 0.66, "g_acc": 0.3, "g_grad_norm": 1.0,
    "d_grad_norm": 1.0, "diversity": 66.0,
}  # fmt: skip
CRITIC = {"c_loss": -2.0, "c_wass_loss": -2.5, "c_gp": 0.05, "g_loss": 5.0, "g_grad_norm": 1.0, "diversity": 66.0}
SURE = {"d_real_acc": 0.99, "d_fake_acc": 1.0, "g_acc": 0.0}
COLLAPSE = {"diversity": 12.0}

# Every fourth tick of a real run that went well: fashion-dcgan, dcgan-28 on Fashion-MNIST, 20 kimg a tick. The
# diversity is that of the run's own grids; the training images have 70.5.
FASHION = [
    # d_loss, g_loss, d_real_acc, d_fake_acc, g_acc, diversity
    (0.546653, 1.440682, 0.710738, 0.792596, 0.047074, 26.2),
    (0.60045, 0.939405, 0.656300, 0.746069, 0.147343, 60.4),
    (0.568751, 0.998100, 0.677534, 0.787059, 0.143029, 61.4),
    (0.606755, 0.919309, 0.644481, 0.714343, 0.244591, 66.1),
    (0.619991, 0.919415, 0.630971, 0.691182, 0.249652, 67.4),
    (0.63063, 0.881077, 0.630208, 0.668419, 0.292969, 67.7),
    (0.634152, 0.881376, 0.621069, 0.658091, 0.292446, 66.9),
    (0.634695, 0.876414, 0.620092, 0.661859, 0.299129, 68.4),
    (0.637256, 0.881201, 0.614600, 0.656947, 0.299960, 67.4),
    (0.639773, 0.884188, 0.612480, 0.649539, 0.292969, 68.1),
    (0.637985, 0.877192, 0.615446, 0.653115, 0.306977, 68.5),
    (0.643735, 0.878625, 0.608974, 0.645232, 0.301432, 68.2),
    (0.640331, 0.873289, 0.609375, 0.650179, 0.309962, 67.9),
    (0.643181, 0.876067, 0.600811, 0.645883, 0.305339, 68.6),
]


def examine(doctor: Diagnosis, records, first: int = 0) -> list[tuple[int, Finding]]:
    """Give the records to ``doctor``, ``KIMG`` and ten seconds apart; return what it finds, by tick."""
    timed = [record | {"kimg": KIMG * n, "seconds": 10.0 * n} for n, record in enumerate(records, start=first + 1)]
    return [(first + n, found) for n, record in enumerate(timed) for found in doctor.examine(record)]


def told(records, **options) -> list[tuple[int, str, str]]:
    """Each finding as (tick, sign, what)."""
    doctor = Diagnosis(70.0, **{"wasserstein": "c_loss" in records[-1], "settings": settings_of()} | options)
    return [(tick, found.sign, found.what) for tick, found in examine(doctor, records)]


def run(*stretches: tuple[dict[str, float], int], base: dict[str, float] = HEALTHY) -> list[dict[str, float]]:
    return [base | changes for changes, ticks in stretches for _ in range(ticks)]


@pytest.mark.parametrize("stretch", [1, 2])
def test_it_is_quiet_on_a_real_run_that_went_well(stretch):
    names = ("d_loss", "g_loss", "d_real_acc", "d_fake_acc", "g_acc", "diversity")
    records = [dict(zip(names, values, strict=True)) for values in FASHION for _ in range(stretch)]
    assert told(records) == []


@pytest.mark.parametrize("base", [HEALTHY, CRITIC])
def test_it_is_quiet_on_noise_about_a_balance(base):
    random = np.random.RandomState(0)
    records = [{name: value * random.uniform(0.85, 1.15) for name, value in base.items()} for _ in range(300)]
    assert told(records) == []


@pytest.mark.parametrize(
    ("changes", "sign", "says"),
    [
        (
            SURE,
            "discriminator-overpowering",
            r"99\.0% of the real and 100\.0% of the generated .*; 0\.0% of .* pass as real",
        ),
        (SURE | {"g_acc": 0.1, "g_grad_norm": 1e-4}, "discriminator-overpowering", r"dropped from 1 to 0\.0001"),
        ({"g_acc": 0.99, "d_fake_acc": 0.01}, "generator-overpowering", r"99\.0%"),
        (COLLAPSE, "mode-collapse", r"12\.0 grey levels a pixel, those of .* 70\.0 \(17%\)"),
        ({"classes_missing": [0, 2]}, "mode-collapse", "no image of shirt, bag is sampled"),
    ],
)
def test_a_sign_is_told_once_when_it_begins_and_once_when_it_is_over(changes, sign, says):
    records = run(({}, 6), (changes, 20), ({}, 20))
    (began, first, what), (ended, second, over) = told(records, class_names=("shirt", "shoe", "bag"))
    assert (began, first) == (6 + PATIENCE - 1, sign)
    assert (ended, second, over) == (26 + PATIENCE - 1, sign, "has passed")
    assert re.search(says, what)


@pytest.mark.parametrize("changes", [SURE, COLLAPSE])
def test_the_first_ticks_and_short_spells_are_not_judged(changes):
    assert told(run((changes, WARM_UP + PATIENCE - 1), ({}, 9), (changes, PATIENCE - 1), ({}, 9))) == []


def test_a_run_that_begins_badly_is_told_after_the_warm_up():
    assert [tick for tick, _, _ in told(run((SURE, 10)))] == [WARM_UP + PATIENCE - 1]


def test_a_generator_that_never_draws_variety_is_told_when_it_is_clear_that_it_does_not_rise():
    assert [tick for tick, _, _ in told(run((COLLAPSE, 10)))] == [WARM_UP + 2 * PATIENCE - 1]


def test_a_late_generator_is_no_collapse():
    for growth in (1.02, 1.2):
        assert told([HEALTHY | {"diversity": min(66.0, 3 * growth**tick)} for tick in range(300)]) == []


def test_a_slow_start_with_a_dip_is_no_collapse():
    """A real run of ``lsgan`` on digits, 40 steps a tick."""
    drawn = (1.72, 5.11, 11.1, 13.8, 13.0, 12.1, 12.0, 12.9, 16.6, 23.9, 30.0, 33.1)
    assert told([HEALTHY | {"diversity": value} for value in drawn]) == []


def test_a_collapse_that_wanders_is_one_still():
    wandering = [HEALTHY | {"diversity": 20 + 8 * math.sin(2 * tick)} for tick in range(30)]
    assert "mode-collapse" in {sign for _, sign, _ in told(wandering)}


def test_a_growing_network_may_draw_little_variety_before_it_is_full_grown():
    small = CRITIC | {"diversity": 25.0, "level": 1.0}
    assert told([small] * 12, levels=4) == []
    assert [sign for _, sign, _ in told([small | {"level": 4.0}] * 12, levels=4)] == ["mode-collapse"]
    assert [sign for _, sign, _ in told([small | {"diversity": 5.0}] * 12, levels=4)] == ["mode-collapse"]


@pytest.mark.parametrize("period", [2, 3, 4])
def test_oscillation_is_losses_that_swing_from_tick_to_tick(period):
    swinging = [HEALTHY | {"g_loss": 2.0 + 1.5 * math.cos(2 * math.pi * tick / period)} for tick in range(30)]
    findings = told(swinging)
    assert [sign for _, sign, _ in findings] == ["oscillation"]
    assert "g_loss swung" in findings[0][2]
    assert [sign for _, sign, _ in told(swinging + [HEALTHY] * 20)] == ["oscillation", "oscillation"]


def test_noise_about_a_loss_of_nothing_is_no_oscillation():
    assert (
        told([HEALTHY | {"g_loss": 0.08 * (-1) ** tick, "d_loss": 0.05 + 0.04 * (-1) ** tick} for tick in range(30)])
        == []
    )


def test_a_drift_is_no_oscillation():
    assert told([HEALTHY | {"g_loss": 0.5 + tick / 4} for tick in range(30)]) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"c_wass_loss": 0.4, "c_loss": 0.5}, r"above real ones \(c_wass_loss 0\.4"),
        (
            {"c_wass_loss": -1.0, "c_loss": 2.0, "c_gp": 0.3},
            r"penalty \(3\) exceeds the distance it estimates \(1\)",
        ),
    ],
)
def test_a_critic_with_a_loss_above_zero_has_not_converged(changes, says):
    ((_, sign, what),) = told(run(({}, 6), (changes, 9), base=CRITIC))
    assert sign == "critic-not-converged"
    assert re.search(says, what)


def test_a_critic_is_not_judged_by_accuracies_nor_a_discriminator_by_distances():
    assert told(run((SURE | {"g_acc": 0.0}, 12), base=CRITIC)) == []
    assert told(run(({"c_wass_loss": 3.0}, 12)), wasserstein=False) == []


def test_what_a_record_lacks_or_is_not_finite_is_not_judged():
    assert told([{"kimg": 1.0}] * 20, wasserstein=False) == []
    assert told([HEALTHY | {"diversity": math.nan, "g_acc": math.nan}] * 20) == []


def test_a_resumed_doctor_says_what_an_undisturbed_one_says():
    records = run(({}, 5), (SURE, 9), (COLLAPSE, 9), (SURE | COLLAPSE, 4), ({}, 9))
    whole = told(records)
    assert len(whole) > 4
    for cut in range(len(records)):
        doctor = Diagnosis(70.0, wasserstein=False, settings=settings_of())
        examine(doctor, records[:cut])
        rest = [(tick, found.sign, found.what) for tick, found in examine(doctor, records[cut:], first=cut)]
        assert rest == [finding for finding in whole if finding[0] >= cut]


def test_a_finding_is_a_sentence_with_options_as_they_are_typed():
    doctor = Diagnosis(70.0, wasserstein=False, settings=settings_of())
    ((_, finding),) = examine(doctor, run((COLLAPSE, 8)))
    assert str(finding).startswith("mode-collapse: the images of the grid differ from each other by 12.0 grey")
    assert (
        "May help in this run, one at a time (stop it, then gan-serve train --run-dir RUN --resume): "
        "--set mode_seeking=1; --set feature_matching=1; --set batch_size=256; --set g_lr=0.0001; "
        "--set loss=wasserstein --set gp_weight=10. "
        "May help in a new run, one at a time: --set minibatch=std; --set minibatch=discrimination."
    ) in str(finding)
    assert str(Finding("oscillation", "has passed")) == "oscillation: has passed."


def test_a_relativistic_discriminator_that_wins_every_pair_is_reported():
    doctor = Diagnosis(70.0, wasserstein=False, settings=settings_of(loss="relativistic"))
    records = [{"d_acc": 0.99, "g_acc": 0.0, "d_loss": 0.01, "g_loss": 6.0, "g_grad_norm": 1.0}] * 8
    findings = [finding for _, finding in examine(doctor, records)]
    assert [finding.sign for finding in findings] == ["discriminator-overpowering"]
    assert "99.0% of all pairs" in findings[0].what
    assert not any(option.startswith("label_") for option in findings[0].options)


def test_settings_that_the_loss_or_the_targets_of_the_run_refuse_are_not_recommended(monkeypatch):
    own = Loss(critic_wasserstein, generator_by_score, has_targets=False, boundary=0.0)
    monkeypatch.setitem(LOSSES, "own", own)
    for settings, left in (({"loss": "own"}, set()), ({"loss": "lsgan", "real_target": (0.7, 1.0)}, {"label_flip"})):
        doctor = Diagnosis(70.0, wasserstein=False, settings=settings_of(**settings))
        ((_, finding),) = examine(doctor, run((SURE, 9)))
        assert {option.partition("=")[0] for option in finding.options if option.startswith("label_")} == left


UPSIDE_DOWN = {"g_acc": 1.0, "d_fake_acc": 0.0}
LAGGING = {"c_wass_loss": 1.0, "c_loss": 1.0}


@pytest.mark.parametrize("recipe", recipes())
def test_every_proposal_is_accepted_as_typed(recipe, tmp_path):
    config = make_config(recipe, {"data": "photos", "ema_rampup": 0, "dropout": 0.0, "n_critic": 1}
                         if recipe.startswith("dcgan") else {"data": "photos"})  # fmt: skip
    wasserstein = config.loss == "wasserstein"
    bad = SURE | {"d_acc": 1.0, "diversity": 12.0, "contrast": 1.0} | (CRITIC | LAGGING if wasserstein else {})
    swinging = [HEALTHY | bad | {"diversity": 12.0 + 9 * (-1) ** tick} for tick in range(20)]
    doctor = Diagnosis(70.0, data_contrast=60.0, wasserstein=wasserstein, settings=config.model_dump())
    findings = [finding for _, finding in examine(doctor, swinging + [HEALTHY | UPSIDE_DOWN] * 12) if finding.options]
    others = {"discriminator-overpowering", "generator-overpowering"} if wasserstein else {"critic-not-converged"}
    assert {finding.sign for finding in findings} == set(SIGNS) - others
    (tmp_path / "config.json").write_text(config.model_dump_json())
    for finding in findings:
        for option in finding.options + finding.new_run:
            assert f"--set {option.split()[0]}" in str(finding)
            changed = make_config(recipe, config.model_dump() | parse_settings(option.split()))
            if option in finding.options:
                assert changes_on_resume(tmp_path, changed, 10.0)


@pytest.mark.parametrize("recipe", recipes(TRANSLATE))
def test_every_proposal_for_a_translator_is_accepted_in_a_new_run(recipe):
    config = make_translation_config(recipe, {"data": "photos"})
    doctor = TranslationDiagnosis(70.0, wasserstein=False, settings=config.model_dump())
    bad = HEALTHY | SURE | {"moved": 0.01, "checkerboard": 9.0, "diversity": 1.0}
    findings = [finding for _, finding in examine(doctor, [bad] * 9)]
    assert {finding.sign for finding in findings} == set(TranslationDiagnosis.signs)
    for finding in findings:
        assert not finding.options
        assert finding.new_run, finding
        for option in finding.new_run:
            make_translation_config(recipe, {"data": "photos"} | parse_settings(option.split()))


def test_what_is_set_already_is_not_recommended():
    settings = settings_of(loss="hinge", dropout=0.5, augment="color", spectral_norm=True, d_lr=4e-4, d_lr_end=1e-4)
    doctor = Diagnosis(70.0, wasserstein=False, settings=settings)
    ((_, finding),) = examine(doctor, run((SURE, 9)))
    assert finding.options == ("d_lr=0.0002 d_lr_end=5e-05", "instance_noise=0.1", "r1=1")
    assert finding.new_run == ()


@pytest.mark.parametrize(("kimg", "seconds", "tick"), [(20, 10, 1), (2, 10, 4), (0.1, 60, 7), (0.1, 10, 40)])
def test_patience_is_counted_in_images_and_time(kimg, seconds, tick):
    """Two long ticks are enough; a slow machine needs three periods after five minutes; short ticks are joined."""
    doctor = Diagnosis(70.0, wasserstein=False, settings=settings_of())
    records = [HEALTHY | SURE | {"kimg": kimg * n, "seconds": seconds * n} for n in range(1, 60)]
    assert next(n for n, record in enumerate(records) if doctor.examine(record)) == tick


def test_grey_and_single_images_are_told_at_once():
    for changes, sign in (({"contrast": 3.0}, "grey-average"), ({"diversity": 1.0}, "mode-collapse")):
        doctor = Diagnosis(70.0, data_contrast=60.0, wasserstein=False, settings=settings_of(ema_rampup=0.0))
        (tick, finding), *_ = examine(doctor, run(({}, 6), (changes, 6)))
        assert (tick, finding.sign) == (6, sign)
    doctor = Diagnosis(70.0, data_contrast=60.0, wasserstein=False, settings=settings_of(ema_rampup=0.0))
    ((_, grey),) = examine(doctor, run(({"contrast": 3.0}, 4)))
    assert str(grey).endswith(
        "(stop it, then gan-serve train --run-dir RUN --resume): "
        "--set ema_rampup=0.05; --set d_lr=0.0001; --set g_lr=0.0001."
    )
    assert "vary by 3.0 grey levels, those of the training images by 60.0" in grey.what


def test_swings_are_counted_from_turn_to_turn():
    assert count_swings([], 1) == 0
    assert count_swings([1, 1, 1], 1) == 0
    assert count_swings([0, 1, 0, 1, 0], 1) == 4
    assert count_swings([0, 0.5, 1, 0.6, 0.9, 0], 1) == 2


# Diversity, which the doctor reads


def test_diversity_is_the_mean_over_all_pairs():
    images = load_digits()[0][:40, ..., None]
    pairs = [np.abs(images[i].astype(float) - images[j]).mean() for i in range(40) for j in range(i)]
    assert diversity(images) == pytest.approx(np.mean(pairs))
    assert diversity(images[::-1]) == pytest.approx(diversity(images))


def test_diversity_within_classes_sees_a_generator_that_ignores_its_latents():
    images, labels = load_digits()
    images = images[..., None]
    one_each = np.stack([images[labels == digit][0] for digit in range(10) for _ in range(8)])
    rows = np.repeat(np.arange(10), 8)
    assert diversity(one_each) > 0.8 * diversity(images)
    assert diversity(one_each, rows) == 0
    assert 0.5 < diversity(images, labels) / diversity(images) < 1


def test_diversity_of_one_image_is_none():
    assert diversity(np.zeros((1, 8, 8, 1), np.uint8)) == 0


# Where numbers stopped being finite


def networks() -> dict[str, nn.Sequential]:
    torch.manual_seed(0)
    return {
        title: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
        for title in ("generator", "discriminator")
    }


def test_all_finite_is_nothing_to_say():
    assert find_non_finite(networks(), {"kimg": 1.0, "d_loss": 0.5, "doctor": ["x"]}) == ""


def test_the_first_loss_weight_gradient_and_buffer_are_named():
    both = networks()
    assert find_non_finite(both, {"d_loss": 0.5, "g_loss": math.nan}) == "g_loss"

    both["discriminator"][0].weight.grad = torch.tensor([[0.0, math.inf], [0.0, 0.0]])
    assert find_non_finite(both, {}) == "the discriminator's gradient of 0.weight"

    both["generator"][1].running_var[0] = math.inf
    assert find_non_finite(both, {}) == "the generator's buffer 1.running_var; the discriminator's gradient of 0.weight"

    both["generator"][2].weight.data.fill_(math.nan)
    both["generator"][2].bias.data.fill_(math.nan)
    assert find_non_finite(both, {}).startswith("the generator's weight 2.weight; ")


def test_a_step_that_is_too_long_is_found_where_it_landed():
    network = networks()["generator"]
    network(torch.randn(4, 2)).square().mean().backward()
    torch.optim.SGD(network[2].parameters(), lr=math.inf).step()
    assert find_non_finite({"generator": network}, {}) == "the generator's weight 2.weight"
