"""The doctor at real runs: built to fail, and healthy."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_runs import SMALL, whole_lines

from gan_serve.errors import RunError
from gan_serve.training.config import make_config
from gan_serve.training.loop import train
from gan_serve.training.snapshots import snapshots

LONG = SMALL | {"width": 0.25, "kimg": 12, "kimg_per_tick": 1, "bf16": False, "ticks_per_evaluation": 0}


def signs(run_dir: Path) -> set[str]:
    """Return the findings of the diagnosis in a run."""
    return {finding.partition(":")[0] for record in whole_lines(run_dir) for finding in record.get("doctor", ())}


@pytest.mark.parametrize(
    ("settings", "sign"),
    [
        pytest.param({"d_lr": 2e-3, "g_lr": 1e-6, "dropout": 0}, "discriminator-overpowering", marks=pytest.mark.slow),
        ({"g_lr": 0.05, "d_lr": 1e-3, "g_beta1": 0.9, "kimg": 8}, "mode-collapse"),
    ],
)
def test_a_run_built_to_fail_is_named(settings, sign, digits, tmp_path, capsys):
    train(make_config("dcgan-28", LONG | {"data": str(digits)} | settings), tmp_path / "run")
    assert sign in signs(tmp_path / "run")
    assert sign in capsys.readouterr().out  # tqdm writes above its bar


@pytest.mark.slow
def test_a_critic_that_cannot_follow_is_named(digits, tmp_path):
    settings = {"n_critic": 1, "g_lr": 5e-3, "d_lr": 1e-5}
    train(make_config("wgan-gp", LONG | {"data": str(digits)} | settings), tmp_path / "run", quiet=True)
    assert "critic-not-converged" in signs(tmp_path / "run")


# So small a DCGAN collapses on 1,797 digits; with the deviation of the minibatch it does not.
@pytest.mark.parametrize(
    ("recipe", "settings"), [pytest.param("dcgan-28", {"minibatch": "std"}, marks=pytest.mark.slow), ("wgan-gp", {})]
)
def test_a_healthy_run_is_left_alone(recipe, settings, digits, tmp_path):
    train(make_config(recipe, LONG | {"data": str(digits)} | settings), tmp_path / "run", quiet=True)
    assert signs(tmp_path / "run") == set()


def test_numbers_that_are_not_finite_stop_the_run_and_tell_where_it_began(digits, tmp_path):
    config = make_config("dcgan-28", LONG | {"data": str(digits), "g_lr": 1e30})
    with pytest.raises(RunError, match=r"diverged before .* kimg: not finite: .*It began with \w+ in the step after"):
        train(config, tmp_path / "run", quiet=True)
    assert not snapshots(tmp_path / "run")
