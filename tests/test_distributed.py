"""Two processes on one run, started by torchrun as a user would: they compute what one does, and end well."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from gan_serve.training.config import make_config
from gan_serve.training.state import load_snapshot, snapshots
from gan_serve.training.trainer import train

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gan_serve.cli", "train"]
SMALL = {"resolution": 8, "z_dim": 16, "width": 0.25, "batch_size": 16, "threads": 1, "device": "cpu", "bf16": False}
SMALL |= {"ticks_per_evaluation": 0, "ema_kimg": 1}
STEPS = 50
WGAN_GP = SMALL | {"recipe": "wgan-gp", "kimg_per_tick": 0.048, "kimg": STEPS * 0.048}
DCGAN = SMALL | {"recipe": "dcgan-28", "kimg_per_tick": 0.016, "kimg": STEPS * 0.016, "dropout": 0}
LONG = DCGAN | {"kimg": 10_000}


def start_two(digits: Path, run_dir: Path, settings: dict[str, object]) -> subprocess.Popen[str]:
    """``torchrun --nproc-per-node 2 ... gan-serve train``."""
    values = {key: str(value).lower() if isinstance(value, bool) else value for key, value in settings.items()}
    words = [sys.executable, *TORCHRUN, "--run-dir", run_dir, "--data", digits, "--recipe", values.pop("recipe")]
    return subprocess.Popen(
        [str(word) for word in words] + [f"--set={key}={value}" for key, value in values.items()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def train_alone(digits: Path, run_dir: Path, settings: dict[str, object], *, resume: bool = False) -> Path:
    """The same in this process; the last snapshot."""
    values = settings | {"data": str(digits)}
    return train(make_config(str(values.pop("recipe")), values), run_dir, resume=resume, quiet=True)


def end(process: subprocess.Popen[str], within: float = 100) -> tuple[int, str, str]:
    """Its exit status, stdout and stderr."""
    out, err = process.communicate(timeout=within)
    return process.returncode, out, err


def read_log(run_dir: Path) -> list[dict[str, float]]:
    path = run_dir / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []


@contextlib.contextmanager
def long_run(digits: Path, run_dir: Path, settings: dict[str, object]) -> Iterator[subprocess.Popen[str]]:
    """A run of two processes that has written its first snapshot; whatever is left of it at the end is killed."""
    process = start_two(digits, run_dir, settings)
    try:
        while not snapshots(run_dir):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        yield process
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
        process.communicate()


@pytest.mark.parametrize("settings", [WGAN_GP, DCGAN], ids=["wgan-gp", "dcgan-28"])
def test_two_processes_compute_what_one_does(digits, tmp_path, settings):
    """Each tick is one step. BatchNorm, gradient penalty and the average are those of the whole batch."""
    code, out, err = end(start_two(digits, tmp_path / "two", settings))
    assert code == 0, err
    train_alone(digits, tmp_path / "one", settings)

    one, two = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert len(one) == len(two) == STEPS
    names = [name for name in one[0] if name.endswith(("loss", "acc", "c_gp"))]
    assert len(names) >= 4
    difference = {name: max(abs(a[name] - b[name]) for a, b in zip(one, two, strict=True)) for name in names}
    assert max(difference.values()) <= 1e-5, difference

    ours, theirs = (load_snapshot(snapshots(tmp_path / name)[-1]) for name in ("one", "two"))
    assert ours["shown"] == theirs["shown"]
    for network in ("generator", "discriminator", "ema"):
        torch.testing.assert_close(theirs[network], ours[network], atol=1e-4, rtol=1e-4)

    # Only the first process prints.
    assert (out.count("Snapshot: "), out.count("Next: ")) == (1, 1)
    assert err.count("[00:00<?]") == 1  # where a progress bar begins
    assert "Warning:" not in err


def test_a_lost_process_ends_the_run_with_a_message_and_a_snapshot(digits, tmp_path):
    """Even before its first tick."""
    settings = LONG | {"kimg_per_tick": 20_000}
    with long_run(digits, tmp_path / "run", settings) as torchrun:
        time.sleep(0.5)
        workers = {child.environ()["RANK"]: child for child in psutil.Process(torchrun.pid).children()}
        workers["1"].kill()
        code, out, err = end(torchrun, within=25)
    assert code != 0
    assert "Snapshot: " not in out
    messages = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(messages) == 1, err
    assert messages[0].startswith("Error: Another process of this run was lost, says process 0 of 2")
    assert "--resume" in err

    assert load_snapshot(snapshots(tmp_path / "run")[-1])["shown"] == 0
    last = train_alone(digits, tmp_path / "run", settings | {"kimg": 0.1}, resume=True)
    assert load_snapshot(last)["shown"] >= 100


def test_sigterm_to_torchrun_ends_all_with_a_snapshot(digits, tmp_path):
    with long_run(digits, tmp_path / "run", LONG) as torchrun:
        while not read_log(tmp_path / "run"):
            time.sleep(0.02)
        torchrun.send_signal(signal.SIGTERM)
        _, out, err = end(torchrun, within=25)
    assert out.count("Snapshot: ") == 1
    assert "Error: " not in err
    shown = load_snapshot(snapshots(tmp_path / "run")[-1])["shown"]
    assert shown / 1000 == read_log(tmp_path / "run")[-1]["kimg"]


def test_a_batch_that_cannot_be_shared_is_refused_once(digits, tmp_path):
    code, _, err = end(start_two(digits, tmp_path / "run", DCGAN | {"batch_size": 15}))
    assert code != 0
    assert err.count("Error: A batch of 15 cannot be shared by 2 processes") == 1
    assert not (tmp_path / "run").exists()
