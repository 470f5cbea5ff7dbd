"""Ticks by images and by time, and stopping a run."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys

import pytest
from training_runs import SMALL, same, signal_once_it_trains, train_command, whole_lines

from gan_serve.cli import main
from gan_serve.training.config import make_config
from gan_serve.training.loop import train
from gan_serve.training.snapshots import load_snapshot
from gan_serve.training.ticks import FIRST_SECONDS, FIRST_STEPS, TickClock


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def log_lines(step_seconds: float, *, kimg: float = 20.0, steps: int = 200, batch: int = 64, shown: int = 0):
    """Return (seconds, images) at the end of each tick of a run whose steps take ``step_seconds``."""
    clock = Clock()
    ticks = TickClock(kimg, 60.0, shown, clock)
    lines = []
    for _ in range(steps):
        clock.now += step_seconds
        before, shown = shown, shown + batch
        ticks.end_step()
        if ticks.is_full(before, shown) or ticks.is_late:
            ticks.end_tick(shown)
            ticks.begin_tick()
            lines.append((clock.now, shown))
    return lines


@pytest.mark.parametrize("step_seconds", [0.001, 0.7, 13, 29, 55, 200])
def test_a_line_comes_after_a_few_steps_and_then_at_least_every_minute(step_seconds):
    lines = log_lines(step_seconds)
    times = [0.0, *(seconds for seconds, _ in lines)]
    assert lines[0][1] <= FIRST_STEPS * 64
    assert lines[0][0] <= max(FIRST_SECONDS, step_seconds)
    assert max(b - a for a, b in itertools.pairwise(times)) <= max(60.0, step_seconds) + 1e-6


def test_fast_machines_have_ticks_by_images_and_resumed_runs_no_first_tick():
    assert [shown for _, shown in log_lines(0.001, kimg=1.6, steps=100)] == [256, 1600, 3200, 4800, 6400]
    assert [shown for _, shown in log_lines(0.001, kimg=1.6, steps=50, shown=3200)] == [4800, 6400]


def test_the_rate_leaves_out_what_a_tick_writes():
    clock = Clock()
    ticks = TickClock(1.0, 60.0, 0, clock)
    for _ in range(2):
        clock.now += 2.0
        ticks.end_step()
    assert ticks.end_tick(1000) == (4.0, 250.0)
    clock.now += 5.0
    ticks.begin_tick()
    assert ticks.tick_seconds == 5.0
    clock.now += 0.5
    assert ticks.seconds_left() == pytest.approx(1.5 + 5.0)


def test_nothing_that_a_run_computes_depends_on_its_ticks(digits, tmp_path):
    settings = SMALL | {
        "data": str(digits),
        "kimg": 1.0,
        "kimg_per_tick": 0.48,
        "ticks_per_evaluation": 1,
        "bf16": False,
    }
    states, qualities = [], []
    for seconds in (60, 1e-9):  # a tick after each step
        run_dir = tmp_path / f"{seconds}"
        last = train(make_config("dcgan-28", settings | {"seconds_per_tick": seconds}), run_dir, quiet=True)
        states.append(load_snapshot(last))
        lines = whole_lines(run_dir)
        qualities.append([(line["kimg"], line["quality"]) for line in lines if "quality" in line])
        assert (len(lines) > 30) is (seconds < 1)
    assert same(states[0], states[1], ignoring="seconds")
    assert qualities[0] == qualities[1]
    assert [kimg for kimg, _ in qualities[0]] == [0.48, 0.96, 1.024]


def test_ctrl_c_answers_at_once_and_ends_with_130_and_the_next_commands(digits, tmp_path, monkeypatch, capfd):
    signal_once_it_trains(tmp_path / "my run", signal.SIGINT)
    _python, _script, *words = train_command(digits, tmp_path / "my run", kimg=1000, kimg_per_tick=2)
    monkeypatch.setattr("sys.argv", ["gan-serve", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert ended.value.code == 130
    assert "Finishing this step" in err
    assert "Ctrl-C again to leave now" in err
    assert f"gan-serve train --run-dir '{tmp_path / 'my run'}' --resume" in out
    assert load_snapshot(sorted((tmp_path / "my run" / "snapshots").iterdir())[-1])["shown"] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_second_ctrl_c_leaves_now(digits, tmp_path):
    script = (
        "import os, signal, time\n"
        "from gan_serve.training.stopping import stop_on_signal\n"
        "with stop_on_signal() as stop:\n"
        "    stop.seconds_left = lambda: 12.2\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    assert stop.is_set\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.returncode == 130
    assert done.stderr == "\nFinishing this step, about 12 s; Ctrl-C again to leave now.\n"
