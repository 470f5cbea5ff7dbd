"""Decide when a tick of a run ends: by images, and by time."""

from __future__ import annotations

import time
from collections.abc import Callable

# A new run ends its first tick after so many steps, or after so many seconds, so that there is a picture at once.
FIRST_STEPS, FIRST_SECONDS = 4, 15.0


class TickClock:
    """Measures the steps of a run, and says when its tick is over.

    A tick ends at each multiple of ``kimg`` images and after at most ``seconds``; the first one of a new run after at
    most ``FIRST_STEPS`` steps or ``FIRST_SECONDS``. Only the log, grids and snapshots depend on ticks: random numbers,
    schedules and the measurements of quality follow from the images shown.

    Args:
        kimg, seconds: the longest tick, in thousands of real images and in seconds.
        shown: real images shown so far. clock: returns seconds.
    """

    def __init__(self, kimg: float, seconds: float, shown: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._images, self._seconds, self._clock = kimg * 1000, seconds, clock
        self._is_first, self._steps = shown == 0, 0
        self._shown = shown
        self._began = self._step_began = clock()
        self.step_seconds = 0.0  # duration of the last step
        self.tick_seconds = 0.0  # duration of the last log line, grid and snapshot

    def end_step(self) -> None:
        """Note that a step has ended."""
        now = self._clock()
        self.step_seconds, self._step_began = now - self._step_began, now
        self._steps += 1

    def is_full(self, before: int, shown: int) -> bool:
        """Return True if the step from ``before`` to ``shown`` images ends a tick by images, or is the first one."""
        return before // self._images != shown // self._images or (self._is_first and self._steps == FIRST_STEPS)

    @property
    def is_late(self) -> bool:
        """True if another step would exceed the time of a tick."""
        limit = min(self._seconds, FIRST_SECONDS) if self._is_first else self._seconds
        return self._step_began - self._began + self.step_seconds > limit

    def end_tick(self, shown: int) -> tuple[float, float]:
        """Return the seconds of the tick's steps, and its images per second."""
        seconds = max(self._step_began - self._began, 1e-9)
        rate = (shown - self._shown) / seconds
        self._shown, self._is_first = shown, False
        return seconds, rate

    def begin_tick(self) -> None:
        """Note that everything of the last tick is written."""
        now = self._clock()
        self.tick_seconds = now - self._step_began
        self._began = self._step_began = now

    def seconds_left(self) -> float:
        """Return how long the current step and the writing of a tick will still take, in seconds, by the last ones."""
        return max(0.0, self.step_seconds - (self._clock() - self._step_began)) + self.tick_seconds


def duration(seconds: float) -> str:
    """Return a duration in words.

    >>> [duration(seconds) for seconds in (8.2, 75, 4000, 100_000)]
    ['8 s', '1.2 min', '1.1 h', '28 h']
    """
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{seconds:.0f} s"
