"""Two processes on one run: they compute what one does, and end well. In `make test-slow` torchrun starts them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from training_runs import end, fork_two, kill, start_two, torchrun, whole_lines

from gan_serve.errors import InvalidOption
from gan_serve.training.config import make_config
from gan_serve.training.distributed import Processes
from gan_serve.training.loop import _check_processes, train
from gan_serve.training.snapshots import load_snapshot, snapshots

SMALL = {"resolution": 8, "z_dim": 16, "width": 0.25, "batch_size": 16, "threads": 1, "device": "cpu", "bf16": False}
SMALL |= {"ticks_per_evaluation": 0, "ema_kimg": 1, "holdout": 0}
STEPS = 50
WGAN_GP = SMALL | {"recipe": "wgan-gp", "kimg_per_tick": 0.048, "kimg": STEPS * 0.048}
DCGAN = SMALL | {"recipe": "dcgan-28", "kimg_per_tick": 0.016, "kimg": STEPS * 0.016, "dropout": 0}
LONG = DCGAN | {"kimg": 10_000}


def train_alone(digits: Path, run_dir: Path, settings: dict[str, object], *, resume: bool = False) -> Path:
    """The same in this process; the last snapshot."""
    values = settings | {"data": str(digits)}
    return train(make_config(str(values.pop("recipe")), values), run_dir, resume=resume, quiet=True)


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
        kill(process)
        process.communicate()


@pytest.mark.parametrize(
    ("start", "settings"),
    [
        pytest.param(start_two, WGAN_GP, marks=pytest.mark.slow),
        pytest.param(start_two, DCGAN, marks=pytest.mark.slow),
        pytest.param(fork_two, DCGAN | {"kimg": 10 * 0.016}, marks=pytest.mark.long(8)),
    ],
    ids=["wgan-gp", "dcgan-28", "ten steps of dcgan-28"],
)
def test_two_processes_compute_what_one_does(digits, tmp_path, start, settings):
    """Each tick is one step. BatchNorm, gradient penalty and the average are those of the whole batch."""
    code, out, err = end(start(digits, tmp_path / "two", settings))
    assert code == 0, err
    train_alone(digits, tmp_path / "one", settings)

    one, two = whole_lines(tmp_path / "one"), whole_lines(tmp_path / "two")
    assert len(one) == len(two) == round(settings["kimg"] / settings["kimg_per_tick"])
    names = [name for name in one[0] if name.endswith(("loss", "acc", "c_gp"))]
    assert len(names) >= 4
    difference = {name: max(abs(a[name] - b[name]) for a, b in zip(one, two, strict=True)) for name in names}
    assert max(difference.values()) <= 1e-5, difference

    ours, theirs = (load_snapshot(snapshots(tmp_path / name)[-1]) for name in ("one", "two"))
    assert ours["shown"] == theirs["shown"]
    for network in ("generator", "discriminator", "ema"):
        torch.testing.assert_close(theirs[network], ours[network], atol=1e-4, rtol=1e-4)

    # Only the first process prints.
    assert (out.count("Snapshot: "), out.count("Next:")) == (1, 1)
    assert err.count("[00:00<?]") == 1  # where a progress bar begins
    assert "Warning:" not in err


@pytest.mark.slow
def test_a_lost_process_ends_the_run_with_a_message_and_a_snapshot(digits, tmp_path):
    """Even before its first tick."""
    settings = LONG | {"kimg_per_tick": 20_000}
    with long_run(digits, tmp_path / "run", settings) as process:
        time.sleep(0.5)
        workers = {child.environ()["RANK"]: child for child in psutil.Process(process.pid).children()}
        workers["1"].kill()
        code, out, err = end(process, within=25)
    assert code != 0
    assert "Snapshot: " not in out
    messages = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(messages) == 1, err
    assert messages[0].startswith("Error: Process 0 of 2 lost another process of this run")
    assert "--resume" in err

    assert load_snapshot(snapshots(tmp_path / "run")[-1])["shown"] in (0, 64)  # the first tick is after four steps
    last = train_alone(digits, tmp_path / "run", settings | {"kimg": 0.1}, resume=True)
    assert load_snapshot(last)["shown"] >= 100


@pytest.mark.slow
def test_sigterm_to_torchrun_ends_all_with_a_snapshot(digits, tmp_path):
    with long_run(digits, tmp_path / "run", LONG) as process:
        while not whole_lines(tmp_path / "run"):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, out, err = end(process, within=25)
    assert out.count("Snapshot: ") == 1
    assert "Error: " not in err
    shown = load_snapshot(snapshots(tmp_path / "run")[-1])["shown"]
    assert shown / 1000 == whole_lines(tmp_path / "run")[-1]["kimg"]


def test_a_batch_that_cannot_be_shared_is_refused():
    config = make_config("dcgan-28", {"data": "x", "batch_size": 15})
    with pytest.raises(InvalidOption, match="A batch of 15 cannot be split between 2 processes"):
        _check_processes(config, Processes(rank=0, world=2))


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused_once(digits, tmp_path):
    code, _, err = end(start_two(digits, tmp_path / "run", DCGAN | {"batch_size": 15}))
    assert code != 0
    assert err.count("Error: A batch of 15 cannot be split between 2 processes") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_group_and_its_threads_end_with_it(tmp_path):
    """A thread of it that lives on can abort the process at its exit, after all was done."""
    script = tmp_path / "script.py"
    script.write_text(
        """
import time
import psutil
import torch
from gan_serve.training.distributed import barrier, process_group

count = psutil.Process().num_threads
before = count()
with process_group(torch.device("cpu")):
    torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])  # torch imports much when it builds the first one
    barrier()
    assert count() > before
until = time.monotonic() + 5  # the system may list a thread that has ended for a moment
while count() > before and time.monotonic() < until:
    time.sleep(0.01)
assert count() == before, f"{before} threads before, {count()} after"
"""
    )
    code, _, err = end(torchrun(script))
    assert code == 0, err
