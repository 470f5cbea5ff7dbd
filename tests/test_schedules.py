"""Settings that change over a run, against closed forms, and as a run follows them."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from training_runs import SMALL, same

from gan_serve.errors import InvalidOption
from gan_serve.training.config import TrainConfig, make_config
from gan_serve.training.data.batch_loader import Loader
from gan_serve.training.data.load import load_images
from gan_serve.training.loop import train
from gan_serve.training.schedules import cosine, ema_half_life, learning_rate, scheduled
from gan_serve.training.snapshots import load_snapshot, snapshots
from gan_serve.training.step import Training

EVERYTHING = {
    "kimg": 0.32, "kimg_per_tick": 0.16, "width": 0.125, "batch_size": 16, "bf16": False, "ticks_per_evaluation": 0,
    "r1_every": 3, "augment": "color,translation,cutout", "augment_p": 0, "augment_p_end": 0.6, "flip": True,
    "penalty_method": "finite-differences", "minibatch": "std", "ema_kimg": 0, "ema_kimg_end": 0.1,
    "feature_matching": 0.1,
}  # fmt: skip


def config(**settings: object) -> TrainConfig:
    return make_config("dcgan-28", {"data": "x", "kimg": 100} | settings)


def test_a_cosine_begins_and_ends_flat_and_is_halfway_in_the_middle():
    assert [cosine(1.0, 0.0, at) for at in (-1, 0, 1, 2)] == [1, 1, 0, 0]
    assert cosine(2e-4, 5e-5, 0.5) == pytest.approx(1.25e-4)
    assert cosine(0.9, 0.99, 0.25) == pytest.approx(0.99 - 0.09 * (1 + math.sqrt(0.5)) / 2)
    assert cosine(0.3, 0.3, 0.123) == 0.3


def test_a_setting_without_an_end_stays():
    assert scheduled(config(r1=2), "r1", 60_000) == 2
    assert scheduled(config(r1=2, r1_end=0.2), "r1", 50_000) == pytest.approx(1.1)


def test_the_line_to_zero_multiplies_the_cosine():
    both = config(g_lr=2e-4, g_lr_end=1e-4, decay_share=0.5)
    assert learning_rate(both, "g_lr", 50_000) == pytest.approx(1.5e-4)
    assert learning_rate(both, "g_lr", 75_000) == pytest.approx(0.5 * cosine(2e-4, 1e-4, 0.75))
    assert learning_rate(both, "g_lr", 100_000) == 0


def test_the_averages_half_life_is_a_share_of_what_was_shown_and_then_its_own():
    assert ema_half_life(config(ema_kimg=2), 10_000) == pytest.approx(0.5)
    assert ema_half_life(config(ema_kimg=2), 90_000) == 2
    assert ema_half_life(config(ema_kimg=2, ema_rampup=0), 0) == 2
    assert ema_half_life(config(ema_kimg=0), 10_000) == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"decay_share": 0.3, "decay_kimg": 10}, "both set"),
        ({"r2_end": 1}, "no effect without r2"),
        ({"augment_p": 0.5}, "no effect without augment"),
        ({"penalty_method": "finite-differences"}, "no effect without r1 or r2"),
        ({"penalty_method": "finite-differences", "r1": 1, "dropout": 0.3}, "Dropout"),
        ({"optimizer": "rmsprop", "g_beta2_end": 0.9}, "for Adam"),
        ({"r1": 1, "compile": True}, "differentiates twice"),
    ],
)
def test_schedules_and_penalties_that_cannot_work_are_refused(settings, says):
    with pytest.raises(InvalidOption, match=says):
        config(dropout=0, **settings) if "dropout" not in settings else config(**settings)


def test_compile_is_allowed_beside_finite_differences():
    assert config(r1=1, r2=1, compile=True, dropout=0, penalty_method="finite-differences").compile


def test_the_optimisers_and_the_average_follow_the_schedules(digits):
    settings = SMALL | EVERYTHING | {"data": str(digits), "channels": 1, "conditional": True}
    run = make_config("recommended-64", settings)
    training = Training.start(run, torch.device("cpu"), c_dim=10)
    loader = Loader(load_images(digits), seed=0, labels=True, device=torch.device("cpu"))
    training.shown = 160
    training.step([loader.batch(160, 16)], loader.fresh_batch(160, 16))
    for optimizer, lr in ((training.g_optimizer, 3.75e-4), (training.d_optimizer, 1.25e-4)):
        group = optimizer.param_groups[0]
        assert group["lr"] == pytest.approx(lr)
        assert group["betas"] == pytest.approx((0.0, 0.945))
    record = training.record()
    assert record["g_lr"] == pytest.approx(3.75e-4)
    assert {"d_loss", "d_acc", "g_acc", "g_feature_matching"} <= record.keys()
    assert "d_r1" not in record  # step 10 is none of every third


def test_a_run_with_every_schedule_resumes_to_the_same_bits(digits, tmp_path):
    run = make_config("recommended-64", SMALL | EVERYTHING | {"data": str(digits)})
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(run, whole, quiet=True)
    shutil.copytree(whole, resumed)
    snapshots(resumed)[-1].unlink()
    train(run, resumed, resume=True, quiet=True)
    assert same(load_snapshot(snapshots(whole)[-1]), load_snapshot(snapshots(resumed)[-1]), ignoring="seconds")
    record = json.loads((whole / "log.jsonl").read_text().splitlines()[-1])
    assert {"d_r1", "d_r2"} <= record.keys()


def test_a_fresh_batch_has_other_images_of_the_same_pass(digits):
    data = load_images(digits)
    loader = Loader(data, seed=0, labels=True, device=torch.device("cpu"))
    half = len(data) // 2
    assert torch.equal(loader.fresh_batch(0, 16).images, loader.batch(half, 16).images)
    assert not torch.equal(loader.fresh_batch(0, 16).images, loader.batch(0, 16).images)


@pytest.mark.parametrize(("rampup", "least", "most"), [(0.05, 0.5, 1.1), (0.0, 0.0, 0.05)])
def test_with_a_ramp_the_average_leaves_the_random_weights_at_once(rampup, least, most, digits):
    """Its way from the first weights as a share of the generator's own, after 320 images and a half-life of 10 kimg."""
    settings = {"data": str(digits), "channels": 1, "ema_rampup": rampup}
    run = make_config("dcgan-28", SMALL | settings | {"width": 0.125, "batch_size": 16, "bf16": False})
    training = Training.start(run, torch.device("cpu"))
    loader = Loader(load_images(digits), seed=0, labels=False, device=torch.device("cpu"))
    first = training.generator.layers.dense.weight.detach().clone()
    for _ in range(20):
        training.step([loader.batch(training.shown, 16)])
    way = [network.layers.dense.weight.detach() - first for network in (training.ema.generator, training.generator)]
    assert least <= (way[0].norm() / way[1].norm()).item() < most
