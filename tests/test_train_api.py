"""``gan_serve.training.train``: callbacks, loggers, folders, changes on resume, and what the command prints."""

from __future__ import annotations

import functools
import json
import shlex
import time
from pathlib import Path

import numpy as np
import pytest
from training_runs import SMALL, same, whole_lines

import gan_serve.training
from gan_serve.errors import InvalidOption, RunError
from gan_serve.training import Tick, choose, train
from gan_serve.training.changed_settings import may_change
from gan_serve.training.monitoring import recorder
from gan_serve.training.snapshots import load_snapshot

pytestmark = pytest.mark.usefixtures("fewer_images")
SETTINGS = {key: value for key, value in SMALL.items() if key != "kimg"}
SETTINGS |= {"bf16": False, "ticks_per_evaluation": 1, "width": 0.125}


def small(digits: Path, run_dir: Path | None, kimg: float = 1.0, **more: object) -> gan_serve.training.FinishedRun:
    settings = SETTINGS | dict(more.pop("settings", {}))  # type: ignore[call-overload]
    return train(digits, recipe="dcgan-28", run_dir=run_dir, kimg=kimg, settings=settings, **more)  # type: ignore[arg-type]


def test_callbacks_get_every_tick_with_figures_and_grid(digits, tmp_path):
    ticks: list[Tick] = []
    run = small(digits, tmp_path / "run", callbacks=[ticks.append])
    assert [tick.figures for tick in ticks] == whole_lines(tmp_path / "run")
    assert {tick.grid.shape for tick in ticks} == {(82, 82, 1)}
    assert all(tick.snapshot.name.startswith("kimg") for tick in ticks)
    assert (run.kimg, run.is_complete, run.signal, run.snapshot) == (1.024, True, None, ticks[-1].snapshot)
    assert run.best is not None
    assert run.best["quality"] == min(tick.figures["quality"] for tick in ticks if "quality" in tick.figures)


def test_a_callback_that_returns_true_stops_and_the_run_resumes_bit_for_bit(digits, tmp_path):
    stopped = small(digits, tmp_path / "run", callbacks=lambda tick: np.float64(tick.kimg) > 0.2)
    assert (stopped.kimg, stopped.is_complete) == (0.512, False)
    resumed = train(run_dir=tmp_path / "run", resume=True)
    whole = small(digits, tmp_path / "whole")
    assert same(load_snapshot(resumed.snapshot), load_snapshot(whole.snapshot), ignoring="seconds")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["changes"] == []


def test_a_resumed_run_may_change_what_is_no_network_and_records_it(digits, tmp_path):
    small(digits, tmp_path / "run")
    train(run_dir=tmp_path / "run", resume=True, kimg=1.6, settings={"d_lr": 1e-4, "augment": "cutout"})
    changes = json.loads((tmp_path / "run" / "run.json").read_text())["changes"]
    assert {(change["setting"], change["kimg"]) for change in changes} == {
        ("kimg", 1.024), ("d_lr", 1.024), ("augment", 1.024),
    }  # fmt: skip
    assert next(c for c in changes if c["setting"] == "d_lr") == {
        "kimg": 1.024, "setting": "d_lr", "before": 2e-4, "after": 1e-4,
    }  # fmt: skip
    told = [line["changed"] for line in whole_lines(tmp_path / "run") if "changed" in line]
    assert len(told) == 1
    assert "d_lr=0.0002 -> 0.0001" in told[0]
    for setting, value in (("z_dim", 8), ("dropout", 0.1), ("seed", 1), ("holdout", 0.5)):
        with pytest.raises(RunError, match=f"another {setting}"):
            train(run_dir=tmp_path / "run", resume=True, kimg=1.7, settings={setting: value})


def test_what_may_change_is_what_the_doctor_says():
    assert all(
        may_change(key) for key in ("g_lr", "r1", "gp_weight", "ema_kimg", "augment", "instance_noise", "n_critic")
    )
    assert not any(may_change(key) for key in ("width", "minibatch", "dropout", "spectral_norm", "resolution", "data"))


def test_tensorboard_has_the_figures_and_grids_of_the_log(digits, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    small(digits, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    log = whole_lines(tmp_path / "run")
    for name in ("d_loss", "diversity", "images_per_s"):
        assert [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)] == [
            (round(line["kimg"] * 1000), line[name]) for line in log
        ]
    assert len(events.Images("grid")) == len(log)


def test_wandb_gets_the_run_through_its_own_client(digits, tmp_path, monkeypatch):
    run_of_wandb = pytest.importorskip("wandb.sdk.wandb_run").Run
    logged: list[dict[str, object]] = []
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log = run_of_wandb.log
    monkeypatch.setattr(run_of_wandb, "log", lambda self, data, *rest, **more: (logged.append(data), log(self, data)))
    small(digits, tmp_path / "run", kimg=0.5, wandb="tests")
    assert [data["images"] for data in logged] == [128, 512]
    assert all({"d_loss", "grid", "diversity"} <= data.keys() for data in logged)
    files = list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 1
    assert (tmp_path / "run" / "wandb-id").read_text() in files[0].name
    deadline = time.monotonic() + 60
    while b"d_loss" not in files[0].read_bytes() and time.monotonic() < deadline:
        time.sleep(0.5)  # a process of the client writes the file, and is late on a busy machine
    assert b"d_loss" in files[0].read_bytes()


def test_wandb_that_is_not_installed_is_said_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidOption, match="wandb") as error:
        train(tmp_path / "nothing", wandb="tests")
    assert error.value.hint == "pip install wandb"


def test_without_a_folder_the_run_is_in_runs_and_is_found_again(cli, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sets = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    outcome = cli("train", "--data", digits, "--recipe", "dcgan-28", "--kimg", 0.1, *sets)
    assert outcome.code == 0, outcome.err
    run_dir = Path("runs/digits-dcgan-28")
    assert (run_dir / "run.json").exists()
    for said in (
        f"Grids: {run_dir}/grids, the first after 4 steps",
        "Machine: 1 CPU thread (",
        "Finished: 0.128 kimg, ",
    ):
        assert said in outcome.out
    commands = [line.strip() for line in outcome.out.partition("Next:\n")[2].splitlines()]
    assert commands == [
        f"gan-serve export {run_dir} --out digits-dcgan-28-model",
        shlex.join(["gan-serve", "evaluate", "digits-dcgan-28-model", "--data", str(digits), "--write"]),
    ]
    again = cli("train", "--resume", "--kimg", 0.2)
    assert f"Resuming the last run: {run_dir}" in again.out
    assert whole_lines(run_dir)[-1]["kimg"] == 0.224
    assert f"The last run: {run_dir}" in cli("evaluate", "--features", "nowhere").err
    exported = cli("export", "--out", "mine")
    assert exported.code == 0, exported.err
    assert f"The last run: {run_dir}" in exported.err
    assert "Warning: The generator samples " in exported.err  # after seven steps


def test_a_choice_is_printed_with_its_reasons_and_recorded(cli, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "images_per_second", functools.partial(choose.images_per_second, seconds=0.1))
    outcome = cli("train", "--data", digits, "--run-dir", tmp_path / "my run", "--minutes", 0.02, "--set", "width=0.1")
    assert outcome.code == 0, outcome.err
    info = json.loads((tmp_path / "my run" / "run.json").read_text())
    assert info["length"]["minutes"] == 0.02
    assert info["length"]["kimg"] == json.loads((tmp_path / "my run" / "config.json").read_text())["kimg"]
    for reason in info["chosen"]:
        assert reason in outcome.out
    assert f" at {info['length']['images_per_s_measured']:g} images/s.\n" in outcome.out  # how long it will take
    assert f"--run-dir '{tmp_path / 'my run'}'" in outcome.out
    words = ["train", "--data", digits, "--run-dir", tmp_path / "my run", "--minutes", 0.02, "--resume"]
    assert cli(*words).code == 0  # the same command resumes


def test_a_run_that_will_take_much_longer_than_its_minutes_says_so_once(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(choose, "images_per_second", lambda *_: 20_000.0)  # other programs have started since
    monkeypatch.setattr(recorder, "JUDGED_SECONDS", 0.0)
    settings = {**SETTINGS, "seconds_per_tick": 1e-9}
    train(digits, recipe="dcgan-28", run_dir=tmp_path / "run", minutes=0.0005, settings=settings, quiet=False)
    printed = capsys.readouterr().out
    assert printed.count("The machine is busier than when its speed was measured: ") == 1
    assert "instead of 0.0005 min, since its schedules end at 0.3" in printed
    assert "Writing the curves and the animation." in printed
