"""The processors that other programs keep busy, and the threads that a run then takes."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from gan_serve.training import choose, machine_load
from gan_serve.training.choose import plan_run
from gan_serve.training.machine_load import OtherPrograms

HERTZ = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that sets the seconds that all programs have used: of normal, and of lower priority."""
    monkeypatch.setattr(machine_load, "STAT", tmp_path / "stat")
    monkeypatch.setattr(os, "nice", lambda increment: 0)

    def used(normal: float, lower: float = 0.0) -> None:
        fields = [int(normal * HERTZ), int(lower * HERTZ), 0, 12345, 678, 0, 0, 0, 0, 0]
        (tmp_path / "stat").write_text(f"cpu  {' '.join(map(str, fields))}\ncpu0 {fields[0]}\nintr 1 2\n")

    return used


def test_programs_of_normal_priority_count_and_those_of_lower_priority_do_not(machine, monkeypatch):
    now = 10.0
    monkeypatch.setattr(machine_load.time, "perf_counter", lambda: now)
    monkeypatch.setattr(os, "times", lambda: (now, 0.0, 0.0, 0.0, now))  # this program uses one processor
    machine(100, lower=50)
    others = OtherPrograms()
    now = 12.0
    machine(105, lower=53)  # 2 of these 5 seconds are our own
    assert others.processors() == pytest.approx(1.5)


def test_without_proc_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_load, "STAT", tmp_path / "none")
    assert OtherPrograms().processors() == 0


@pytest.mark.parametrize(("busy", "asked", "threads"), [(0.1, None, None), (3.0, None, 1), (3.0, 4, 4)])
def test_a_run_on_a_busy_machine_takes_fewer_threads_and_says_so(tmp_path, monkeypatch, busy, asked, threads):
    np.savez(tmp_path / "photos.npz", images=np.random.RandomState(0).randint(0, 256, (40, 32, 32, 3), np.uint8))
    monkeypatch.setattr(choose, "images_per_second", lambda config, data, device: 50.0)
    monkeypatch.setattr(OtherPrograms, "processors", lambda self: busy)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    plan = plan_run(None, {"data": str(tmp_path / "photos.npz")} | ({"threads": asked} if asked else {}))
    assert plan.config.threads == threads
    told = [reason for reason in plan.reasons if reason.startswith("threads 1 of 4: other programs keep 3.0 ")]
    assert bool(told) == (threads == 1)


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "3000"), ({"OMP_WAIT_POLICY": "active"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_waiting_threads_soon_give_way_unless_the_user_chose_otherwise(given, spins):
    unset = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    code = "import os, gan_serve.training; print(os.environ.get('GOMP_SPINCOUNT'))"
    printed = subprocess.run(
        [sys.executable, "-c", code], env=unset | given, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == str(spins)
