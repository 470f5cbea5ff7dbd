"""Measure how many processors other programs keep busy."""

from __future__ import annotations

import os
import time
from pathlib import Path

STAT = Path("/proc/stat")  # only Linux has it


class OtherPrograms:
    """Measures the processors that other programs keep busy, from now on.

    Programs of low priority do not count, since they give way, unless this program is one. Without ``/proc/stat``,
    nothing is measured.
    """

    def __init__(self) -> None:
        self._is_low = hasattr(os, "nice") and os.nice(0) > 0
        self._before = self._seconds(), time.perf_counter()

    def processors(self) -> float:
        """Return how many processors other programs kept busy since this object was made, on average."""
        seconds, now = self._seconds(), time.perf_counter()
        return max(0.0, seconds - self._before[0]) / max(now - self._before[1], 1e-3)

    def _seconds(self) -> float:
        """Return the seconds of processors that all programs but this one have used since the machine started."""
        if not STAT.exists():
            return 0.0
        user, nice, system, _idle, _iowait, *others = map(int, STAT.read_text().split("\n", 1)[0].split()[1:9])
        own = os.times()
        busy = (user + self._is_low * nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")
        return busy - sum(own[:4])


def free_threads(most: int, busy: float, processors: int) -> int:
    """Return how many of ``most`` threads have a processor of their own, at least 1.

    The threads of an operation wait for the slowest, which is late each time where another program takes its processor:
    more threads than free processors train many times slower, not faster.

    >>> free_threads(2, 0.1, 2), free_threads(2, 1.3, 2), free_threads(8, 16.0, 64), free_threads(4, 9.0, 4)
    (2, 1, 6, 1)
    """
    return max(1, most - round(busy * min(1.0, most / processors)))
