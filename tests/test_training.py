"""The trainer on real digits: what moves, what is written, and that a killed run ends as an undisturbed one."""

from __future__ import annotations

import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_serve.errors import CannotWrite, DeviceUnavailable, InvalidOption, RunError
from gan_serve.training import losses
from gan_serve.training.config import command_line, make_config, parse_settings, recipes
from gan_serve.training.ema import GeneratorEMA
from gan_serve.training.monitor import read_log, write_curves
from gan_serve.training.networks import build_discriminator, build_generator
from gan_serve.training.run import sole_writer
from gan_serve.training.state import DataOrder, load_snapshot, snapshots
from gan_serve.training.trainer import Training, pick_device, train

SMALL = {"resolution": 8, "batch_size": 32, "kimg": 2, "kimg_per_tick": 0.5, "z_dim": 16, "threads": 1, "device": "cpu"}


def small_config(digits: Path, **settings: object):
    return make_config("dcgan-28", SMALL | {"data": str(digits)} | settings)


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "digits"
    train(small_config(digits), run_dir, quiet=True)
    return run_dir


def test_a_run_writes_its_config_log_grids_curves_and_snapshots(run):
    config = json.loads((run / "config.json").read_text())
    assert (config["channels"], config["threads"], config["device"], config["recipe"]) == (1, 1, "cpu", "dcgan-28")
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [record["kimg"] for record in log] == [0.512, 1.024, 1.504, 2.016]
    for record in log:
        assert all(math.isfinite(value) for value in record.values())
        assert {"d_loss", "g_loss", "d_real_acc", "d_fake_acc", "d_acc", "g_acc", "images_per_s"} <= set(record)
        with Image.open(run / "grids" / f"kimg{record['kimg']:010.3f}.png") as grid:
            assert grid.size == (8 * 10 + 2, 8 * 10 + 2)
    with Image.open(run / "curves.png") as curves:
        assert curves.width > 500
    assert [path.name for path in snapshots(run)] == ["kimg000001.504.pt", "kimg000002.016.pt"]


def test_training_changes_the_grid(run):
    first, *_, last = sorted((run / "grids").iterdir())
    assert np.abs(np.asarray(Image.open(first), float) - np.asarray(Image.open(last), float)).mean() > 0.2


def test_every_weight_of_both_networks_moves(digits):
    training = Training.start(small_config(digits, channels=1), torch.device("cpu"))
    before = {name: value.clone() for name, value in _parameters(training)}
    training.step(torch.rand(32, 1, 8, 8) * 2 - 1)
    for name, value in _parameters(training):
        assert not torch.equal(value, before[name]), name


def test_a_new_run_does_not_overwrite_another(run, digits):
    with pytest.raises(RunError, match="already holds a run") as error:
        train(small_config(digits), run, quiet=True)
    assert "--resume" in error.value.hint


def test_snapshots_without_a_config_are_a_run_too(run, digits, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "config.json").unlink()
    with pytest.raises(RunError, match="already holds a run"):
        train(small_config(digits), copy, quiet=True)


def test_a_run_that_is_refused_leaves_nothing_in_its_way(digits, tmp_path):
    with pytest.raises(InvalidOption, match="multiple of 4"):
        train(small_config(digits, resolution=10), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    train(small_config(digits, kimg=0.1), tmp_path / "run", quiet=True)


def test_two_processes_cannot_write_to_one_run(run, digits):
    with sole_writer(run), pytest.raises(RunError, match="Another process"):
        train(small_config(digits), run, resume=True, quiet=True)
    train(small_config(digits), run, resume=True, quiet=True)


def test_a_run_cannot_be_shortened(run, digits):
    with pytest.raises(RunError, match=r"shown 2\.016 kimg already"):
        train(small_config(digits, kimg=1), run, resume=True, quiet=True)
    assert json.loads((run / "config.json").read_text())["kimg"] == 2


def test_a_run_that_diverges_stops_before_it_writes_a_snapshot(digits, tmp_path):
    with pytest.raises(RunError, match="diverged before"):
        train(small_config(digits, g_lr=1e30), tmp_path / "run", quiet=True)
    assert not snapshots(tmp_path / "run")


def test_resuming_with_other_images_is_refused(run, tmp_path):
    np.savez(tmp_path / "other.npz", images=np.zeros((40, 8, 8), np.uint8))
    with pytest.raises(RunError, match="other images"):
        train(small_config(tmp_path / "other.npz"), run, resume=True, quiet=True)


def test_resuming_a_finished_run_trains_no_more(run, digits):
    before = (run / "log.jsonl").read_text()
    assert train(small_config(digits), run, resume=True, quiet=True) == snapshots(run)[-1]
    assert (run / "log.jsonl").read_text() == before


def test_the_same_command_resumes(cli, run, digits, monkeypatch):
    words = ["train", "--quiet", "--resume", "--run-dir", run, "--recipe", "dcgan-28", "--set", "device=auto"]
    assert cli(*words, "--data", digits).code == 0
    monkeypatch.chdir(digits.parent)
    assert cli(*words, "--data", digits.name).code == 0
    outcome = cli(*words, "--set", "z_dim=17")
    assert outcome.code == 1
    assert "another z_dim (16)" in outcome.err


def test_a_log_with_foreign_lines_is_read_past(run, tmp_path):
    (tmp_path / "log.jsonl").write_text('7\n{"other": 1}\n{"kimg": 1, "d_loss": 0.5}\n{"kimg": 2, "d_l')
    assert read_log(tmp_path) == [{"kimg": 1, "d_loss": 0.5}]
    write_curves(tmp_path)


def test_a_damaged_snapshot_is_named(tmp_path):
    path = tmp_path / "kimg000001.000.pt"
    path.write_bytes(b"half a snapshot")
    with pytest.raises(RunError, match=r"kimg000001\.000\.pt cannot be read"):
        load_snapshot(path)


def test_sigkill_at_three_random_moments_gives_the_same_weights(digits, tmp_path):
    settings = {"kimg": 16, "kimg_per_tick": 1}
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    reference = subprocess.Popen(_command(digits, undisturbed, settings), stdout=subprocess.DEVNULL)

    seed = random.randrange(2**32)
    print("moments drawn with seed", seed)  # pytest shows it where the test fails
    moments = random.Random(seed)
    for ticks in (3, 3, 3):
        process = subprocess.Popen(_command(digits, killed, settings), stdout=subprocess.DEVNULL)
        before = len(_log(killed))
        while process.poll() is None and len(_log(killed)) < before + ticks:
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.2))  # within a tick, or while its snapshot is written
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert subprocess.run(_command(digits, killed, settings), stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert reference.wait() == 0

    assert _same(load_snapshot(snapshots(undisturbed)[-1]), load_snapshot(snapshots(killed)[-1]), ignoring="seconds")
    kimg = [record["kimg"] for record in _log(killed)]
    assert kimg == [record["kimg"] for record in _log(undisturbed)]
    assert not list(killed.rglob("*.part"))


def test_sigterm_writes_a_snapshot_and_leaves(digits, tmp_path):
    process = subprocess.Popen(
        _command(digits, tmp_path / "run", {"kimg": 10_000, "kimg_per_tick": 2}), stdout=subprocess.DEVNULL
    )
    while not _log(tmp_path / "run"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    shown = load_snapshot(snapshots(tmp_path / "run")[-1])["shown"]
    assert shown / 1000 == _log(tmp_path / "run")[-1]["kimg"]


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_snapshot(digits, tmp_path):
    """The kernel refuses files beyond a size, as a full disk would."""
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "bash", *_command(digits, tmp_path / "run", {"kimg": 1})]
    outcome = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    assert "Error: Cannot write" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not list((tmp_path / "run" / "snapshots").iterdir())


def test_a_run_dir_that_is_a_file_is_refused(digits, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        train(small_config(digits), tmp_path / "file", quiet=True)
    with pytest.raises(CannotWrite):
        train(small_config(digits), tmp_path / "file" / "run", quiet=True)


def test_cuda_without_cuda_is_refused():
    if torch.cuda.is_available():
        assert pick_device("auto").type == "cuda"
        return
    assert pick_device("auto").type == "cpu"
    with pytest.raises(DeviceUnavailable):
        pick_device("cuda")


# Config and recipes


def test_settings_override_the_recipe():
    config = make_config("dcgan-28", {"data": "x", **parse_settings(["batch_size=64", "label_noise=0.1", "data=2024"])})
    assert (config.batch_size, config.label_noise, config.data) == (64, 0.1, "2024")


@pytest.mark.parametrize(
    ("settings", "says", "hint"),
    [
        ({"bach_size": 3}, "'bach_size'", "batch_size"),
        ({"batch_size": 1}, "batch_size", ""),
        ({"batch_size": "many"}, "batch_size", ""),
        ({"kimg": float("nan")}, "kimg", ""),
        ({"dropout": 1.0}, "dropout", ""),
        ({"resolution": 2}, "resolution", ""),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(settings, says, hint):
    with pytest.raises(InvalidOption, match=says) as error:
        make_config("dcgan-28", {"data": "x"} | settings)
    assert hint in error.value.hint


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(InvalidOption, match="dcgan28") as error:
        make_config("dcgan28", {"data": "x"})
    assert "dcgan-28" in error.value.hint


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_is_valid_and_says_where_it_comes_from(name):
    assert make_config(name, {"data": "x"}).recipe == name
    assert recipes()[name].source


def test_the_command_line_of_a_config_makes_it_again():
    config = make_config("dcgan-28", {"data": "my photos", "kimg": 5, "g_lr": 1e-4})
    words = command_line(config)
    assert words == "gan-serve train --recipe dcgan-28 --data 'my photos' --run-dir RUN --kimg 5 --set g_lr=0.0001"


# Networks


@pytest.mark.parametrize(("resolution", "channels"), [(28, 1), (32, 3), (8, 1), (64, 3)])
def test_networks_are_built_from_resolution_and_channels(resolution, channels):
    generator = build_generator("dcgan28", z_dim=100, img_resolution=resolution, img_channels=channels)
    discriminator = build_discriminator("dcgan28", img_resolution=resolution, img_channels=channels)
    images = generator(torch.randn(2, 100))
    assert images.shape == (2, channels, resolution, resolution)
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (2,)


def test_the_generator_of_the_lesson_has_its_layers():
    generator = build_generator("dcgan28", z_dim=100, img_resolution=28, img_channels=1)
    weights = {name: tuple(value.shape) for name, value in generator.named_parameters() if "norm" not in name}
    assert weights == {
        "layers.dense.weight": (12544, 100),
        "layers.conv1.weight": (256, 128, 5, 5),
        "layers.conv2.weight": (128, 64, 5, 5),
        "layers.conv3.weight": (64, 1, 5, 5),
        "layers.conv3.bias": (1,),
    }


@pytest.mark.parametrize("resolution", [4, 30])
def test_a_resolution_that_cannot_be_built_is_refused(resolution):
    with pytest.raises(InvalidOption, match="multiple of 4"):
        build_generator("dcgan28", z_dim=100, img_resolution=resolution, img_channels=1)


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(InvalidOption, match="dcgan29"):
        build_generator("dcgan29")


# Losses and averages against closed forms


def test_losses_are_ln_2_where_the_discriminator_cannot_tell():
    zero = torch.zeros(5)
    real, fake = losses.soft_targets(5, smoothing=0, noise=0, like=zero)
    assert losses.discriminator_bce(zero, zero, real, fake).item() == pytest.approx(math.log(2))
    assert losses.generator_non_saturating(zero).item() == pytest.approx(math.log(2))


def test_a_sure_discriminator_has_no_loss_and_the_generator_still_a_gradient():
    sure = torch.full((5,), 20.0)
    real, fake = losses.soft_targets(5, smoothing=0, noise=0, like=sure)
    assert losses.discriminator_bce(sure, -sure, real, fake).item() == pytest.approx(0, abs=1e-6)
    logits = (-sure).requires_grad_()
    losses.generator_non_saturating(logits).backward()
    assert logits.grad.sum().item() == pytest.approx(-1, abs=1e-6)


def test_soft_targets_are_one_sided_or_noisy():
    like = torch.zeros(1000)
    real, fake = losses.soft_targets(1000, smoothing=0.1, noise=0, like=like)
    assert (real.unique().tolist(), fake.unique().tolist()) == ([pytest.approx(0.9)], [0.0])
    real, fake = losses.soft_targets(1000, smoothing=0, noise=0.1, like=like)
    assert 0.9 <= real.min() < 0.91 < 0.99 < real.max() <= 1
    assert 0 <= fake.min() < 0.01 < 0.09 < fake.max() <= 0.1


def test_the_average_halves_an_influence_every_half_life():
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    ema = GeneratorEMA(network, half_life_kimg=1.0)
    network.weight.data.fill_(1.0)
    for _ in range(10):
        ema.update(network, batch_size=100)
    assert ema.generator.weight.item() == pytest.approx(0.5)


def test_no_average_copies_the_generator():
    network = torch.nn.BatchNorm1d(3)
    ema = GeneratorEMA(network, half_life_kimg=0)
    network(torch.randn(8, 3))
    ema.update(network, batch_size=8)
    assert _same(ema.generator.state_dict(), network.state_dict())


# Data order


def test_every_pass_shows_each_image_once_in_a_new_order():
    order = DataOrder(10, seed=0)
    shown = torch.cat([order.batch(start, 4) for start in range(0, 40, 4)])
    passes = shown.split(10)
    assert all(sorted(one.tolist()) == list(range(10)) for one in passes)
    assert len({tuple(one.tolist()) for one in passes}) == 4


def test_the_order_follows_from_seed_and_position_alone():
    continued, fresh = DataOrder(7, seed=3), DataOrder(7, seed=3)
    for start in range(0, 60, 5):
        last = continued.batch(start, 5)
    assert torch.equal(last, fresh.batch(55, 5))
    assert not torch.equal(last, DataOrder(7, seed=4).batch(55, 5))


def test_a_set_smaller_than_a_batch_is_shown_several_times():
    assert sorted(DataOrder(3, seed=0).batch(0, 9).tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def _parameters(training: Training):
    yield from training.generator.named_parameters(prefix="generator")
    yield from training.discriminator.named_parameters(prefix="discriminator")


def _command(digits: Path, run_dir: Path, settings: dict[str, object]) -> list[str]:
    words = [sys.executable, "-m", "gan_serve.cli", "train", "--quiet", "--resume", "--run-dir", run_dir]
    values = SMALL | settings | {"data": digits, "recipe": "dcgan-28"}
    words += ["--recipe", values.pop("recipe"), "--data", values.pop("data")]
    return [str(word) for word in words] + [f"--set={key}={value}" for key, value in values.items()]


def _log(run_dir: Path) -> list[dict[str, float]]:
    path = run_dir / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []


def _same(one: object, other: object, ignoring: str = "") -> bool:
    """Bit for bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k], ignoring) for k in one if k != ignoring)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_same(a, b, ignoring) for a, b in zip(one, other, strict=True))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return one == other
