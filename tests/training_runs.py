"""Helpers of the tests of training runs: the command that starts one, its log, and comparing states bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import torch

SMALL = {"resolution": 8, "batch_size": 32, "kimg": 2, "kimg_per_tick": 0.5, "z_dim": 16, "threads": 1, "device": "cpu"}
SMALL |= {"width": 0.25}
WITHOUT_PLOTS = str(Path(__file__).with_name("without_plots.py"))
OPTIONS = {"recipe": "--recipe", "init_from": "--init-from"}  # settings that have an option of their own


def train_command(data: Path, run_dir: Path, **settings: object) -> list[str]:
    """The command line of a small run, to be started as a process; it resumes what is there."""
    settings = {"recipe": "dcgan-28"} | SMALL | settings
    return [sys.executable, *_train(data, run_dir, settings), "--quiet", "--resume"]


def _train(data: Path, run_dir: Path, settings: dict[str, object]) -> list[str]:
    words = [WITHOUT_PLOTS, "train", "--run-dir", str(run_dir), "--data", str(data)]
    for key, value in settings.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words += [OPTIONS[key], text] if key in OPTIONS else ["--set", f"{key}={text}"]
    return words


def torchrun(*words: object) -> subprocess.Popen[str]:
    """``torchrun --nproc-per-node 2 ...``, over loopback whatever the machine calls itself."""
    command = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "localhost", "--nproc-per-node", "2"]
    return _over_loopback(*command, *words)


def _over_loopback(*words: object) -> subprocess.Popen[str]:
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return subprocess.Popen(
        [str(word) for word in (sys.executable, *words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | loopback | {"OMP_NUM_THREADS": "1"},
    )


def start_two(data: Path, run_dir: Path, settings: dict[str, object]) -> subprocess.Popen[str]:
    """``gan-serve train`` as two processes."""
    return torchrun(*_train(data, run_dir, settings))


def fork_two(data: Path, run_dir: Path, settings: dict[str, object]) -> subprocess.Popen[str]:
    """The same without torchrun: torch is imported once in place of three times."""
    _without_plots, *words = _train(data, run_dir, settings)
    return _over_loopback(Path(__file__).with_name("two_processes.py"), *words)


def end(process: subprocess.Popen[str], within: float = 100) -> tuple[int, str, str]:
    """Its exit status, stdout and stderr; killed, with its own processes, where it takes longer."""
    try:
        out, err = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        kill(process)
        raise AssertionError(f"Not ended within {within} s: {process.communicate()}") from None
    return process.returncode, out, err


def kill(process: subprocess.Popen[str]) -> None:
    """End it and the processes that it started, at once, where it still runs."""
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()


def whole_lines(run_dir: Path) -> list[dict[str, float]]:
    """The log of a run that may be writing to it right now."""
    path = run_dir / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []


def signal_once_it_trains(run_dir: Path, number: signal.Signals) -> None:
    """Send this process a signal as soon as its run, which is about to start, has a line in its log."""

    def send() -> None:
        while not whole_lines(run_dir):
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


def same(one: object, other: object, ignoring: str = "") -> bool:
    """Bit for bit, but for the dictionary key ``ignoring``."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k], ignoring) for k in one if k != ignoring)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b, ignoring) for a, b in zip(one, other, strict=True))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return one == other
