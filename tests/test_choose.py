"""Settings by data and machine, the lengths of a run, and the folders of runs."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gan_serve.errors import InvalidOption, RunError
from gan_serve.training import choose, measure_speed
from gan_serve.training.choose import Length, plan_run
from gan_serve.training.config import command_line, make_config
from gan_serve.training.data.load import load_images
from gan_serve.training.measure_speed import images_per_second
from gan_serve.training.recipes import RECOMMENDED
from gan_serve.training.run_folders import last_run, new_run_dir
from gan_serve.training.step import Training


def photos(tmp_path: Path, n: int = 60, side: int = 72, channels: int = 3, labels: bool = False) -> str:
    arrays = {"images": np.random.RandomState(0).randint(0, 256, (n, side, side, channels), np.uint8)}
    np.savez(tmp_path / "photos.npz", **arrays, **({"labels": np.arange(n) % 3} if labels else {}))
    return str(tmp_path / "photos.npz")


@pytest.fixture
def speed(monkeypatch):
    """A machine of a known speed: images a second of a recipe at width 1, in inverse proportion to the width."""

    def of(rate: float) -> None:
        monkeypatch.setattr(choose, "images_per_second", lambda config, data, device: rate / config.width)
        monkeypatch.setattr(choose.OtherPrograms, "processors", lambda self: 0.0)

    return of


def test_photos_alone_get_the_recommended_recipe_and_say_that_they_are_made_smaller(tmp_path, speed):
    speed(50.0)
    plan = plan_run(None, {"data": photos(tmp_path)})
    config, said = plan.config, "\n".join(plan.reasons)
    assert (config.recipe, config.resolution, config.width, config.kimg) == (RECOMMENDED, 64, 0.5, 100)
    assert config.augment == ("color", "translation", "cutout")
    assert "72x72 and are made smaller" in said
    assert "1,667 passes" in said
    assert plan.data is not None
    assert plan.data.digest == load_images(config.data, resolution=64).digest  # so the printed command trains the same


def test_the_printed_command_repeats_the_choice(tmp_path, speed, monkeypatch):
    speed(50.0)
    monkeypatch.setattr(choose.OtherPrograms, "processors", lambda self: 3.0)
    monkeypatch.setattr(choose.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(choose.torch, "get_num_threads", lambda: 4)
    config = plan_run(None, {"data": photos(tmp_path), "device": "cpu"}, Length(minutes=10)).config
    assert config.threads == 1
    assert "threads" not in command_line(config)  # in a card, for other machines
    words = shlex.split(command_line(config, same_machine=True))
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    assert make_config(words[words.index("--recipe") + 1], {
        "data": config.data, "kimg": float(words[words.index("--kimg") + 1]),
        "width": float(settings.pop("width")),
        "kimg_per_tick": float(settings.pop("kimg_per_tick")),
        "ticks_per_evaluation": int(settings.pop("ticks_per_evaluation")), **settings,
    }) == config  # fmt: skip


def test_small_images_with_labels_get_a_recipe_for_them(tmp_path, speed):
    speed(500.0)
    config = plan_run(None, {"data": photos(tmp_path, side=30, channels=1, labels=True)}).config
    assert (config.recipe, config.resolution, config.conditional) == ("dcgan-28", 28, True)


def test_little_time_means_narrower_networks_and_smaller_batches(tmp_path, speed):
    speed(50.0)
    narrow = plan_run(None, {"data": photos(tmp_path)}, Length(minutes=10))
    assert (narrow.config.width, narrow.config.batch_size) == (0.25, 32)
    assert narrow.length is not None
    assert narrow.length["minutes"] == 10
    assert "this is little" not in narrow.reasons[-1]
    assert 0.5 * 200 * 0.6 < narrow.config.kimg <= 200 * 0.6  # what 200 images/s show in ten minutes, without the rest
    wide = plan_run(None, {"data": photos(tmp_path)}, Length(minutes=100))
    assert wide.config.width == 0.5
    assert plan_run(None, {"data": photos(tmp_path), "width": 1}, Length(minutes=10)).config.width == 1


def test_a_slow_machine_gets_a_run_that_ends(tmp_path, speed):
    speed(0.5)
    plan = plan_run(None, {"data": photos(tmp_path)})
    assert plan.config.width == 0.25
    assert plan.config.kimg == pytest.approx(0.5 / 0.25 * 12 * 3.6, rel=0.01)


def test_many_images_are_not_augmented_and_what_is_set_is_kept(tmp_path, speed, monkeypatch):
    speed(50.0)
    monkeypatch.setattr(choose, "MANY_IMAGES", 60)
    assert plan_run(None, {"data": photos(tmp_path)}).config.augment == ()
    asked = {"data": photos(tmp_path), "augment": "cutout", "resolution": 16, "batch_size": 8, "kimg": 0.5}
    config = plan_run(None, asked).config
    assert (config.augment, config.resolution, config.batch_size, config.kimg) == (("cutout",), 16, 8, 0.5)


def test_epochs_are_passes_and_n_critic_is_explained(tmp_path, speed):
    speed(50.0)
    plan = plan_run("wgan-gp", {"data": photos(tmp_path)}, Length(epochs=20))
    assert plan.config.kimg == 1.2
    assert plan.config.width == make_config("wgan-gp", {"data": "x"}).width  # the recipe's
    assert "one generator step per 3 batches, 6 steps" in plan.reasons[-1]


@pytest.mark.parametrize(
    ("asked", "length", "says"),
    [
        ({"kimg": 5}, Length(minutes=3), "--kimg and --minutes both"),
        ({}, Length(3, 4), "--minutes and --epochs both"),
        ({}, Length(minutes=0), "--minutes is 0"),
        ({}, Length(epochs=float("nan")), "--epochs is nan"),
        ({"widht": 1}, Length(minutes=3), "'widht'"),
    ],
)
def test_a_length_that_does_not_fit_is_refused_before_images_are_read(asked, length, says):
    with pytest.raises(InvalidOption, match=says):
        plan_run("dcgan-28", {"data": "nowhere"} | asked, length)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"resolution": "large"}, "resolution"),
        ({"holdout": "some"}, "holdout"),
        ({"channels": 2}, "channels"),
        ({"device": "gpu"}, "device"),
        ({"widht": 1}, "'widht'"),
    ],
)
def test_a_mistake_is_named_before_the_images_are_read_without_a_recipe_too(asked, says):
    with pytest.raises(InvalidOption, match=says):
        plan_run(None, {"data": "nowhere"} | asked)


def test_the_channels_of_a_recipe_hold_where_the_images_are_read_to_measure(tmp_path, speed):
    speed(50.0)
    plan = plan_run("lesson-dcgan-rgb", {"data": photos(tmp_path, channels=1)}, Length(epochs=1))
    assert plan.data is not None
    assert plan.data.img_channels == plan.config.channels == 3


@pytest.mark.parametrize("recipe", ["wgan-gp", RECOMMENDED, "progressive"])
def test_the_speed_is_measured(recipe, digits):
    config = make_config(recipe, {"data": str(digits), "resolution": 8, "width": 0.1, "batch_size": 8, "channels": 1})
    config = config.model_copy(update={"conditional": False, "bf16": False, "threads": 1})
    rate = images_per_second(config, load_images(digits), torch.device("cpu"), seconds=0.05)
    assert 1 < rate < 1e6


def test_a_step_that_another_program_delays_does_not_count(digits, monkeypatch):
    config = make_config("dcgan-28", {"data": str(digits), "resolution": 8, "width": 0.1, "batch_size": 8})
    config = config.model_copy(update={"conditional": False, "channels": 1, "bf16": False, "threads": 1})
    now, durations = 0.0, iter([9.0, 1.0, 40.0, *[1.0] * 100])  # the first step chooses kernels

    def step(self: Training, batches: object, fresh: object = None) -> None:
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(Training, "step", step)
    monkeypatch.setattr(measure_speed, "time", SimpleNamespace(perf_counter=lambda: now))
    assert images_per_second(config, load_images(digits), torch.device("cpu"), seconds=20) == 8
    now, durations = 0.0, iter([50.0])  # a step so slow that there is no time for another
    assert images_per_second(config, load_images(digits), torch.device("cpu"), seconds=3) == 8 / 50


@pytest.mark.parametrize(("n_critic", "reuses", "lazy_steps"), [(1, False, 1), (2, False, 2), (3, True, 3)])
def test_lazy_penalties_count_as_often_as_they_occur(n_critic, reuses, lazy_steps, digits, monkeypatch):
    """With r1_every=4, a cycle of 4 steps of 1, 2 and 3 updates; those that reuse a batch count it once."""
    settings = {"data": str(digits), "resolution": 8, "width": 0.1, "batch_size": 8, "r1": 1, "r1_every": 4}
    settings |= {"n_critic": n_critic, "critic_reuses_batch": reuses}
    config = make_config("dcgan-28", settings)
    config = config.model_copy(update={"conditional": False, "channels": 1, "bf16": False, "threads": 1})
    now = 0.0

    def step(self: Training, batches: list[object], fresh: object = None) -> None:
        nonlocal now
        began = self.shown
        for _ in batches:
            now += 11 if self.objective.has_gradient_penalty(self.shown) else 1
            self.shown = min(self.shown + 8, began + self.images_a_step)

    monkeypatch.setattr(Training, "step", step)
    monkeypatch.setattr(measure_speed, "time", SimpleNamespace(perf_counter=lambda: now))
    speed = images_per_second(config, load_images(digits), torch.device("cpu"), seconds=500)
    assert speed == pytest.approx(4 * 8 * (1 if reuses else n_critic) / (4 * n_critic + 10 * lazy_steps))


def test_narrower_networks_count_as_no_slower_and_a_short_run_is_called_so(tmp_path, monkeypatch):
    rates = iter([8.0, 2.0])  # other programs started while the narrower ones were measured
    monkeypatch.setattr(choose, "images_per_second", lambda config, data, device: next(rates))
    plan = plan_run(None, {"data": photos(tmp_path)}, Length(minutes=20))
    assert "width 0.25 of the networks' channels: 8.0 images/s measured here" in plan.reasons
    assert (plan.config.d_lr, plan.config.d_lr_end) == (plan.config.g_lr, plan.config.g_lr_end)
    assert "d_lr 0.0006: so narrow a discriminator falls behind at the recipe's 0.0002" in plan.reasons
    assert plan.length is not None
    assert plan.length["images_per_s_measured"] == 8
    assert plan.reasons[-1].startswith("this is little: ")


def test_folders_of_runs_are_named_after_data_and_recipe_and_never_taken_twice(tmp_path):
    assert new_run_dir("hf://datasets/org/my set@v1", "cgan", tmp_path) == tmp_path / "my-set-cgan"
    (tmp_path / "faces-cgan").mkdir()
    assert new_run_dir("data/faces.tar.gz", "cgan", tmp_path) == tmp_path / "faces-cgan-2"


def test_the_last_run_is_the_one_written_to_last(tmp_path):
    with pytest.raises(RunError, match="There is no run in"):
        last_run(runs=tmp_path)
    for age, (name, data) in enumerate({"b": "x", "a": "y", "c": "x"}.items()):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"data": data}))
        os.utime(tmp_path / name / "config.json", (1e9 - age, 1e9 - age))
    (tmp_path / "c" / "log.jsonl").write_text("")
    assert last_run(runs=tmp_path).name == "c"
    assert last_run("y", tmp_path).name == "a"
    with pytest.raises(RunError, match="no run of z"):
        last_run("z", tmp_path)
