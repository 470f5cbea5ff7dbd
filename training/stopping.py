"""Stop a run after a step: on Ctrl-C, on SIGTERM, or when a callback asks for it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

FIRST = os.environ.get("RANK", "0") == "0"  # only the first process that torchrun started prints


class Stop:
    """A request to stop. ``signal``: the number of the signal, or None; ``seconds_left``: estimates the wait."""

    def __init__(self) -> None:
        self.is_set = False
        self.signal: int | None = None
        self.seconds_left: Callable[[], float] = lambda: 0.0

    def request(self) -> None:
        """Stop the run after the current step."""
        self.is_set = True

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Ask the run to stop, and say on SIGINT how long it takes; a second SIGINT ends the process at once."""
        if self.signal is not None and number == signal.SIGINT:  # SIGTERM may come twice: torchrun, a scheduler
            os._exit(128 + number)
        self.signal = number
        self.request()
        if number == signal.SIGINT and FIRST:
            left = self.seconds_left()
            wait = f", about {left:.0f} s" if left >= 1 else ""
            os.write(sys.stderr.fileno(), f"\nFinishing this step{wait}; Ctrl-C again to leave now.\n".encode())


@contextlib.contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Yield the request that SIGINT and SIGTERM set; outside the main thread, signals are left as they are."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.signal(number, stop.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
