"""Every recipe on real digits: it trains, resumes to the same weights and exports; and what its settings combine to."""

from __future__ import annotations

import math
import multiprocessing
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pairwise import pairwise
from training_runs import SMALL, same, whole_lines

from gan_serve import Generator
from gan_serve.errors import InvalidOption
from gan_serve.exports.export import export_run
from gan_serve.training.config import TrainConfig, make_config
from gan_serve.training.data.batch_loader import Loader
from gan_serve.training.data.load import load_images
from gan_serve.training.loop import train
from gan_serve.training.random_numbers import StepRandom
from gan_serve.training.recipes import recipes
from gan_serve.training.snapshots import load_snapshot, snapshots
from gan_serve.training.step import Training

GROWING = {"stage_kimg": 0.3, "fade_kimg": 0.3}
TINY = {"width": 0.125, "batch_size": 16, "bf16": False}


def small(recipe: str, data: Path, **settings: object) -> TrainConfig:
    growing = GROWING if recipe.endswith("progressive") else {}
    return make_config(recipe, SMALL | TINY | growing | {"data": str(data)} | settings)


def start(recipe: str, data: Path, **settings: object) -> tuple[Training, Loader]:
    config = small(recipe, data, channels=1, **settings)
    c_dim = 10 if config.conditional else 0
    loader = Loader(load_images(data), seed=0, labels=config.conditional, device=torch.device("cpu"))
    return Training.start(config, torch.device("cpu"), c_dim=c_dim), loader


def step(training: Training, loader: Loader) -> None:
    config = training.config
    training.step([loader.batch(training.shown, config.batch_size) for _ in range(config.n_critic)])


LABELS_IN_EVERY_LAYER = {"conditional": True, "g_conditioning": "batchnorm"}
VARIANTS = {
    "dcgan-28 with labels in every layer": ("dcgan-28", LABELS_IN_EVERY_LAYER),
    "sngan-hinge with labels in every layer": ("sngan-hinge", LABELS_IN_EVERY_LAYER),
    "biggan with convolutions above its blocks": ("biggan", {"block_size": 4, "upsampling": "transposed"}),
    "biggan without labels": ("biggan", {"conditional": False}),
    "r3gan with convolutions above its blocks": ("r3gan", {"block_size": 4}),
    "blocks of SNGAN": ("biggan", {"block": "sngan", "skip_z": False, "g_spectral_norm": False}),
}


EVERY_DAY = "dcgan-28 with labels in every layer"  # StyleGAN: test_export_inputs.py; wgan-gp: test_doctor_runs.py
LONG = {"r3gan": 63, "progressive": 44, "lesson-progressive": 22}  # seconds


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.slow] if name != EVERY_DAY else []
    return [*marks, pytest.mark.long(LONG[name])] if name in LONG else marks


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name)) for name in [*recipes(), *VARIANTS]])
@pytest.mark.usefixtures("fewer_images")
def test_a_recipe_trains_resumes_and_exports(name, digits, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    recipe, settings = VARIANTS.get(name, (name, {}))
    config = small(recipe, digits, kimg=0.48, kimg_per_tick=0.24, **settings)
    train(config, whole, quiet=True)
    shutil.copytree(whole, resumed)
    snapshots(resumed)[-1].unlink()
    train(config, resumed, resume=True, quiet=True)

    first, *_, last = whole_lines(whole)
    assert all(math.isfinite(value) for value in last.values() if isinstance(value, float))
    assert {"g_loss", "g_grad_norm", "d_grad_norm", "images_per_s", "memory_mb", "diversity"} <= last.keys()
    assert (
        {"c_loss", "c_wass_loss"} <= last.keys() if config.loss == "wasserstein" else {"d_loss", "d_acc"} <= last.keys()
    )
    assert first["kimg"] < last["kimg"]
    assert same(load_snapshot(snapshots(whole)[-1]), load_snapshot(snapshots(resumed)[-1]), ignoring="seconds")
    grids = sorted((whole / "grids").iterdir())
    assert grids[0].read_bytes() != grids[-1].read_bytes()

    checkpoint = export_run(whole, tmp_path / "checkpoint", precisions=["fp32"] if name == EVERY_DAY else None)
    generator = Generator.from_pretrained(checkpoint, device="cpu")
    drawn = generator.generate(seeds=[0, 1], output="numpy")
    assert drawn.shape == (2, 8, 8, config.channels or 1)
    assert (drawn[0] != drawn[1]).any()
    assert generator.c_dim == (0 if config.conditional is False else 10)  # None: where there are labels


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(name, marks=pytest.mark.slow if name.startswith("lesson-") else ()) for name in recipes()],
)
def test_each_step_moves_its_own_network_and_all_of_it(recipe, digits):
    training, loader = start(recipe, digits)
    grown = {"stage_kimg": None, "fade_kimg": None} if recipe.endswith("progressive") else {}
    training.config = training.config.model_copy(update=grown)  # all levels take part
    generator, discriminator = _weights(training.generator), _weights(training.discriminator)
    batch, draws = loader.batch(0, 16), StepRandom(0, 0, torch.device("cpu"))

    for _ in range(3):  # what lies behind a zero weight moves once that has moved
        fakes = training.discriminator_gradient(batch, draws)
        training.move_discriminator()
    assert _moved(training.generator, generator) == set()
    # The last bias cancels in a difference of logits.
    moved = _moved(training.discriminator, discriminator) | ({"logit.bias"} & _in_use(training.discriminator))
    assert moved == _in_use(training.discriminator)

    discriminator = _weights(training.discriminator)
    for _ in range(3):
        training.generator_step(batch, fakes, draws)
    assert _moved(training.discriminator, discriminator) == set()
    assert _moved(training.generator, generator) == _in_use(training.generator)


FAMILY_RECIPES = {
    "mlp": "mlp-gan", "dcgan28": "dcgan-28", "dcgan": "wgan-gp",
    "resnet": "biggan", "progressive": "progressive", "stylegan": "stylegan",
}  # fmt: skip
LOSSES = {
    "non-saturating": {},
    "saturating": {"loss": "saturating"},
    "least squares": {"loss": "lsgan"},
    "hinge": {"loss": "hinge"},
    "relativistic": {"loss": "relativistic", "flip": True},
    "gradient penalty": {"loss": "wasserstein", "gp_weight": 10.0},
    "clipping": {"loss": "wasserstein", "clip": 0.01},
}
BATCHES = {
    "plain batch": {},
    "feature matching": {"feature_matching": 1.0},
    "minibatch discrimination": {"minibatch": "discrimination"},
    "minibatch deviation": {"minibatch": "std"},
    "mode seeking": {"mode_seeking": 1.0},
}
REGULARIZERS = {
    "not regularized": {},
    "r1": {"r1": 1.0, "r1_every": 2},
    "r1 and r2 by finite differences": {"r1": 1.0, "r2": 1.0, "penalty_method": "finite-differences", "dropout": 0},
    "drift": {"drift": 0.001},
    "spectral norm": {"spectral_norm": True},
    "dropout": {"dropout": 0.2},
    "nearly all dropped": {"dropout": 0.999},
}
OPTIMIZERS = {
    "Adam": {},
    "RMSprop": {"optimizer": "rmsprop"},
    "betas": {"g_beta1": 0.0, "d_beta2": 0.9},
    "falling learning rates": {"decay_kimg": 0.02},
    "cosines": {"g_lr_end": 1e-5, "d_lr_end": 1e-5, "g_beta2_end": 0.9, "d_beta2_end": 0.9, "ema_kimg_end": 1},
    "no average": {"ema_kimg": 0},
    "several critic steps": {"n_critic": 3},
    "several critic steps on one batch": {"n_critic": 3, "critic_reuses_batch": True},
    "both networks at once": {"simultaneous": True},
    "a narrow discriminator": {"d_width": 0.05},
    "accumulation": {"accumulate": 4},
}
INPUTS = {
    "plain images": {},
    "augmentation": {"augment": "color,translation,cutout", "flip": True},
    "augmentation of some": {"augment": "color,cutout", "augment_p": 0.2, "augment_p_end": 0.8},
    "instance noise": {"instance_noise": 0.1, "instance_noise_kimg": 1},
    "soft targets": {"label_smoothing": 0.1, "label_noise": 0.1, "label_flip": 0.05},
    "target ranges": {"real_target": [0.7, 1.0], "fake_target": [-0.1, 0.0]},
    "bfloat16": {"bf16": True},
    "labels as planes": {"conditional": True},
    "labels by projection": {"conditional": True, "conditioning": "projection"},
}
FACTORS = [FAMILY_RECIPES, LOSSES, BATCHES, REGULARIZERS, OPTIMIZERS, INPUTS]
WITHOUT_TARGETS = {"hinge", "relativistic", "gradient penalty", "clipping"}
PENALTIES = {"gradient penalty", "r1", "r1 and r2 by finite differences"}


def may_combine(names: list[str]) -> bool:
    """Return False for combinations that are refused, of as many of the factors as are named."""
    chosen = set(names)
    refused = {"soft targets": WITHOUT_TARGETS, "target ranges": WITHOUT_TARGETS, "minibatch discrimination": PENALTIES}
    return not any(name in chosen and chosen & others for name, others in refused.items())


@pytest.mark.parametrize("names", pairwise(*FACTORS, allowed=may_combine), ids=", ".join)
def test_options_combine_with_each_other_and_every_family(names, digits):
    """Every two options meet in some case, and every option meets every family."""
    family, *options = names
    plain = {"loss": "non-saturating", "gp_weight": 0, "r1": 0, "n_critic": 1, "kimg_per_tick": 1}
    for factor, name in zip(FACTORS[1:], options, strict=True):
        plain |= factor[name]
    training, loader = start(FAMILY_RECIPES[family], digits, **plain)
    before = _weights(training.generator)
    for _ in range(2):
        step(training, loader)
    assert training.tick_means.first_not_finite() is None
    assert _moved(training.generator, before) or "nearly all dropped" in names  # then D may give no gradient
    assert training.shown == 2 * training.images_a_step


@pytest.mark.parametrize("eps", [1e-7, 0])
def test_clipped_probabilities_bound_the_losses_of_both_networks(eps, digits):
    training, loader = start("lesson-bricks-dcgan", digits, real_target=[1.6, 1.6], bce_eps=eps)
    with torch.no_grad():
        training.discriminator.logit.weight *= 1e6
    step(training, loader)
    found = training.tick_means.pop()
    largest = max(abs(found["d_loss"]), abs(found["g_loss"]))
    assert largest <= 16.2 if eps else largest > 1000


@pytest.mark.parametrize("simultaneous", [True, False])
def test_at_once_the_generator_follows_the_discriminator_before_its_step(simultaneous, digits):
    """Then it does not matter to the generator how far the discriminator moves."""
    moved = []
    for d_lr in (1e-6, 0.1):
        training, loader = start("dcgan-28", digits, simultaneous=simultaneous, d_lr=d_lr)
        before = _weights(training.discriminator)
        step(training, loader)
        assert _moved(training.discriminator, before)
        moved.append(training.generator.state_dict())
    assert same(*moved) == simultaneous


def test_a_batch_that_all_critic_steps_see_is_counted_once(digits, tmp_path):
    config = small("lesson-faces-wgan-gp", digits, kimg=0.064, kimg_per_tick=0.032)
    state = load_snapshot(train(config, tmp_path / "run", quiet=True))
    assert state["shown"] == 64
    steps = {key: next(iter(state[f"{key}_optimizer"]["state"].values()))["step"].item() for key in "gd"}
    assert steps == {"g": 4, "d": 12}


def test_learning_rates_fall_in_a_line_at_the_end(digits):
    training, loader = start("dcgan-28", digits, kimg=1, decay_kimg=0.5, g_lr=4e-4, d_lr=2e-4)

    def rates_at(shown: int) -> list[float]:
        training.shown = shown
        step(training, loader)
        return [optimizer.param_groups[0]["lr"] for optimizer in (training.g_optimizer, training.d_optimizer)]

    assert rates_at(0) == rates_at(496) == [4e-4, 2e-4]
    assert "g_lr" in training.record()
    assert rates_at(752) == pytest.approx([4e-4 * 0.496, 2e-4 * 0.496])
    before = _weights(training.generator)
    assert rates_at(1000) == [0, 0]
    assert not _moved(training.generator, before)
    training.config = training.config.model_copy(update={"decay_kimg": 0.0})  # as a run that goes on without
    assert rates_at(1008) == [4e-4, 2e-4]


def test_parts_of_a_batch_add_up_to_the_whole(digits):
    """Without anything that looks at the whole batch, cutting it into parts changes nothing but rounding."""
    gradients = []
    for parts in (1, 4):
        training, loader = start("mlp-gan", digits, accumulate=parts)
        batch, draws = loader.batch(0, 16), StepRandom(0, 0, torch.device("cpu"))
        training.generator.eval()  # BatchNorm would see the parts
        training.discriminator_gradient(batch, draws)
        gradients.append([weight.grad.clone() for weight in training.discriminator.parameters()])
    for whole, cut in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, cut)


def test_a_conditional_run_without_labels_is_refused(digits, tmp_path):
    with np.load(digits) as arrays:
        np.savez(tmp_path / "bare.npz", images=arrays["images"])
    with pytest.raises(InvalidOption, match="no labels") as error:
        train(small("cgan", tmp_path / "bare.npz"), tmp_path / "run", quiet=True)
    assert "conditional=false" in error.value.hint


@pytest.mark.parametrize(
    ("recipe", "settings", "says"),
    [
        ("wgan-gp", {"label_noise": 0.1}, "no targets"),
        ("dcgan-28", {"accumulate": 3}, "equal parts"),
        ("dcgan-28", {"upsampling": "nearest"}, "no upsampling"),
        ("dcgan-28", {"fade_kimg": 5}, "do not grow"),
        ("dcgan-28", {"family": "dcgan29"}, "dcgan29"),
        ("dcgan-28", {"augment": "colour"}, "augment"),
        ("dcgan-28", {"r1_every": 4}, "no effect without r1"),
        ("dcgan-28", {"instance_noise_kimg": 4}, "no effect without instance_noise"),
        ("stylegan", {"init_std": 0.02}, "scale their weights"),
        ("wgan-gp", {"compile": True}, "differentiates twice"),
        ("dcgan-28", {"decay_kimg": 5}, "last 5 kimg of a run of 2"),
    ],
)
def test_settings_without_effect_are_refused(recipe, settings, says, digits):
    with pytest.raises(InvalidOption, match=says):
        small(recipe, digits, **settings)


def test_a_penalty_on_each_image_is_refused_beside_batch_norm(digits):
    with pytest.raises(InvalidOption, match="BatchNorm") as error:
        start("dcgan-64-upsample", digits, gp_weight=10, resolution=16)
    assert "d_norm=layer" in error.value.hint


@pytest.mark.parametrize(
    ("recipe", "kills"),
    [
        pytest.param("wgan-gp", 1, marks=pytest.mark.long(8)),
        pytest.param("progressive", 10, marks=[pytest.mark.slow, pytest.mark.long(93)]),
        pytest.param("dcgan-28", 10, marks=[pytest.mark.slow, pytest.mark.long(58)]),
        pytest.param("wgan-gp", 10, marks=[pytest.mark.slow, pytest.mark.long(47)]),
    ],
)
def test_sigkill_again_and_again_gives_the_same_weights(recipe, kills, digits, tmp_path):
    growing = {"stage_kimg": 2, "fade_kimg": 4} if recipe.endswith("progressive") else {}
    length = {"kimg": 12, "kimg_per_tick": 0.35} if growing else {"kimg": 2.4 * kills, "kimg_per_tick": 0.7}
    config = small(recipe, digits, width=0.125, decay_kimg=length["kimg"], **length, **growing)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    processes = multiprocessing.get_context("forkserver")
    # Imported once, not by each; the optimisers of torch import torch._dynamo.
    processes.set_forkserver_preload(["without_plots", "torch._dynamo", "gan_serve.training.loop"])

    def begin(run_dir: Path) -> multiprocessing.process.BaseProcess:
        process = processes.Process(target=train, args=(config, run_dir), kwargs={"resume": True, "quiet": True})
        process.start()
        return process

    begin(undisturbed).join()
    seed = random.randrange(2**32)
    print("moments drawn with seed", seed)  # pytest shows it where the test fails
    moments = random.Random(seed)
    done = 0
    while done < kills:
        process = begin(killed)
        before = len(whole_lines(killed))
        while process.is_alive() and len(whole_lines(killed)) < before + 1:
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.1))  # within a tick, or while its snapshot is written
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:  # on a busy machine it ends before this process looks again
            break
        done += 1
    assert done >= kills / 2, "the run ended before it could be killed: give it more kimg"
    begin(killed).join()

    assert same(load_snapshot(snapshots(undisturbed)[-1]), load_snapshot(snapshots(killed)[-1]), ignoring="seconds")
    shown = [record["kimg"] for record in whole_lines(killed)]  # ticks fall by time too, so only the last is the same
    assert shown == sorted(set(shown))
    assert shown[-1] == whole_lines(undisturbed)[-1]["kimg"]
    assert not list(killed.rglob("*.part"))


def _weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def _moved(network: torch.nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}


def _in_use(network: torch.nn.Module) -> set[str]:
    """All weights but those of levels that a grown network has left behind."""
    return {name for name, weight in network.named_parameters() if weight.grad is not None}
