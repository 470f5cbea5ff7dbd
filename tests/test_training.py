"""The trainer on real digits: what moves, what is written, and that a killed run ends as an undisturbed one."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_runs import SMALL, same, signal_once_it_trains, train_command, whole_lines

from gan_serve.errors import CannotWrite, DeviceUnavailable, InvalidOption, RunError
from gan_serve.training.config import command_line, make_config, parse_settings, read_config
from gan_serve.training.ema import GeneratorEMA
from gan_serve.training.loop import pick_device, train
from gan_serve.training.monitoring.curves import write_curves
from gan_serve.training.monitoring.run_log import best_kimg, read_log
from gan_serve.training.recipes import recipes
from gan_serve.training.run_info import sole_writer
from gan_serve.training.snapshots import DataOrder, load_snapshot, snapshots


def small_config(digits: Path, **settings: object):
    return make_config("dcgan-28", SMALL | {"data": str(digits), "holdout": 0} | settings)


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "digits"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan_serve.training.monitoring.recorder.write_curves", write_curves)
        train(small_config(digits), run_dir, quiet=True)
    return run_dir


def test_a_run_writes_its_config_log_grids_curves_and_snapshots(run):
    config = json.loads((run / "config.json").read_text())
    assert (config["channels"], config["threads"], config["device"], config["recipe"]) == (1, 1, "cpu", "dcgan-28")
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [record["kimg"] for record in log] == [0.128, 0.512, 1.024, 1.504, 2.016]
    for record in log:
        assert all(math.isfinite(value) for value in record.values() if not isinstance(value, list))
        assert {"d_loss", "g_loss", "d_real_acc", "d_fake_acc", "d_acc", "g_acc", "images_per_s"} <= set(record)
        assert record["value"] == pytest.approx(-2 * record["d_loss"], abs=1e-5)  # plain targets
        assert record["epoch"] == pytest.approx(record["kimg"] / 1.797, abs=1e-3)
        with Image.open(run / "grids" / f"kimg{record['kimg']:010.3f}.png") as grid:
            assert grid.size == (8 * 10 + 2, 8 * 10 + 2)
    with Image.open(run / "curves.png") as curves:
        assert curves.width > 500
    assert [path.name for path in snapshots(run)] == ["kimg000001.504.pt", "kimg000002.016.pt"]


def test_training_changes_the_grid(run):
    first, *_, last = sorted((run / "grids").iterdir())
    assert np.abs(np.asarray(Image.open(first), float) - np.asarray(Image.open(last), float)).mean() > 0.2


def test_a_new_run_does_not_overwrite_another(run, digits):
    with pytest.raises(RunError, match="already has a run") as error:
        train(small_config(digits), run, quiet=True)
    assert "--resume" in error.value.hint


def test_snapshots_without_a_config_are_a_run_too(run, digits, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "config.json").unlink()
    with pytest.raises(RunError, match="already has a run"):
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
    with pytest.raises(RunError, match=r"already shown 2\.016 kimg"):
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


def test_sigterm_writes_a_snapshot_and_leaves(cli, digits, tmp_path):
    signal_once_it_trains(tmp_path / "run", signal.SIGTERM)
    _python, _script, *words = train_command(digits, tmp_path / "run", kimg=1000, kimg_per_tick=2)
    outcome = cli(*words)
    assert outcome.code == 0, outcome.err
    shown = load_snapshot(snapshots(tmp_path / "run")[-1])["shown"]
    assert shown < 1_000_000
    assert shown / 1000 == whole_lines(tmp_path / "run")[-1]["kimg"]


@pytest.mark.slow
def test_a_full_disk_is_one_clear_error_and_leaves_no_half_snapshot(digits, tmp_path):
    """The kernel refuses files beyond a size, as a full disk would."""
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "bash", *train_command(digits, tmp_path / "run", kimg=1)]
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


def test_any_command_line_trains_the_same(tmp_path):
    asked = {
        "data": "x", "labels": "table.csv:kind", "kimg": 1234.5678, "g_lr": 0.000123456789, "channels": 1, "bf16": True,
        "augment": "color,cutout", "flip": True, "minibatch": "std",
    }  # fmt: skip
    config = make_config("dcgan-28", asked)
    words = shlex.split(command_line(config))
    pairs = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    typed = {word.removeprefix("--"): words[at + 1] for at, word in enumerate(words) if word in ("--kimg", "--labels")}
    assert make_config("dcgan-28", {"data": "x"} | parse_settings(pairs) | typed) == config


def test_what_a_recipe_sets_can_be_taken_back_on_the_command_line():
    config = make_config("recommended-64", {"data": "x", "g_lr_end": None, "upsampling": None})
    words = shlex.split(command_line(config))
    pairs = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    assert set(pairs) == {"g_lr_end=null", "upsampling=null"}
    assert make_config("recommended-64", {"data": "x"} | parse_settings(pairs)) == config


def test_a_run_without_a_recipe_takes_the_one_for_small_images(cli, digits, tmp_path):
    sets = [
        word for key, value in (SMALL | {"kimg": 0.032, "width": 0.125}).items() for word in ("--set", f"{key}={value}")
    ]
    outcome = cli("train", "--data", digits, "--run-dir", tmp_path / "run", "--quiet", *sets)
    assert outcome.code == 0, outcome.err
    config = read_config(tmp_path / "run" / "config.json")
    assert config.recipe == "dcgan-28"
    assert config.conditional  # the digits have labels
    assert (config.loss, config.ema_rampup, config.legacy) == ("non-saturating", 0.05, ())


def test_resuming_where_no_run_is_says_so(cli, tmp_path):
    outcome = cli("train", "--resume", "--run-dir", tmp_path / "nothing")
    assert outcome.code == 1
    assert "has no run to resume" in outcome.err


def test_a_run_that_starts_in_place_of_being_resumed_says_so(cli, digits, tmp_path):
    words = ["train", "--resume", "--run-dir", tmp_path / "run", "--recipe", "dcgan-28", "--data", digits]
    outcome = cli(*words, "--kimg", "0.01", "--set", "width=0.0625", "--set", "batch_size=4")
    assert outcome.code == 0, outcome.err
    assert "has no run to resume: a new one starts" in outcome.out
    outcome = cli("generate", tmp_path / "run", "--seeds", "0", "--out", tmp_path / "grid.png")
    assert outcome.code == 1
    assert f"{tmp_path / 'run'} is the folder of a training run" in outcome.err
    assert "gan-serve export" in outcome.err


# The best snapshot


def test_the_best_snapshot_is_kept_beside_the_last(digits, tmp_path):
    qualities = iter([3.0, 1.0, math.nan, 2.0, 5.0, 4.0])
    config = small_config(digits, kimg=3, keep_snapshots=1, ticks_per_evaluation=1)
    train(config, tmp_path / "run", quiet=True, evaluate=lambda _generator: {"mine": next(qualities)})
    kept = [load_snapshot(path)["shown"] for path in snapshots(tmp_path / "run")]
    assert kept == [1024, 3008]
    assert best_kimg(tmp_path / "run") == 1.024


def test_no_quality_is_measured_where_none_is_wanted(digits, tmp_path):
    config = small_config(digits, ticks_per_evaluation=0)
    train(config, tmp_path / "run", quiet=True, evaluate=lambda _generator: pytest.fail("measured"))
    assert best_kimg(tmp_path / "run") is None


def test_a_diversity_is_that_of_the_whole_set_in_any_order(digits, tmp_path):
    with np.load(digits) as arrays:
        order = np.argsort(arrays["labels"], kind="stable")
        np.savez(tmp_path / "sorted.npz", images=arrays["images"][order])
    found = []
    for data in (digits, tmp_path / "sorted.npz"):
        run_dir = tmp_path / f"run-{data.stem}"
        train(small_config(data, kimg=0.1), run_dir, quiet=True)
        metrics = json.loads((run_dir / "run.json").read_text())["data"]["metrics"]
        found.append(metrics["diversity_1000_train"])
    assert found[0] == pytest.approx(found[1], rel=0.05)


def test_a_run_too_short_to_grow_says_so(digits, tmp_path, capsys):
    config = make_config("progressive", SMALL | {"data": str(digits), "kimg": 0.1, "width": 0.1})
    train(config, tmp_path / "run")
    assert "grow to level 0 of 1" in capsys.readouterr().out


def test_parts_of_one_image_are_refused(digits, tmp_path):
    with pytest.raises(InvalidOption, match="each part has one image"):
        train(small_config(digits, accumulate=32), tmp_path / "run", quiet=True)


def test_a_file_that_is_no_snapshot_is_named(tmp_path):
    torch.save([1, 2], tmp_path / "kimg000001.000.pt")
    with pytest.raises(RunError, match="is not a snapshot"):
        load_snapshot(tmp_path / "kimg000001.000.pt")


# Averages against closed forms


def test_the_average_halves_an_influence_every_half_life():
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    ema = GeneratorEMA(network)
    network.weight.data.fill_(1.0)
    for _ in range(10):
        ema.update(network, batch_size=100, half_life_kimg=1.0)
    assert ema.generator.weight.item() == pytest.approx(0.5)


def test_no_average_copies_the_generator():
    network = torch.nn.BatchNorm1d(3)
    ema = GeneratorEMA(network)
    network(torch.randn(8, 3))
    ema.update(network, batch_size=8, half_life_kimg=0)
    assert same(ema.generator.state_dict(), network.state_dict())


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
