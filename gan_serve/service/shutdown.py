"""A graceful shutdown of a worker: after SIGTERM ``/readyz`` is 503 while requests are still accepted, for a while.

Load balancers stop sending clients in that time, and responses carry ``Connection: close``, so that no client keeps a
connection that the server is about to close. Then the server that runs this process does what it does on SIGTERM: it
finishes the requests that it has, and ends.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from gan_serve.service import request_log

LOOK_SECONDS = 0.5  # between looks at whether a network returns
OVERDUE_EXIT = 70  # EX_SOFTWARE
PARENT_SECONDS = 2.0  # between looks at whether the parent runs


class Shutdown:
    """Knows whether this worker is about to end."""

    def __init__(self, seconds: float) -> None:
        self.draining = False
        self._seconds = seconds

    def install(self) -> None:
        """Put the wait before what this process does on SIGTERM so far; called in its event loop."""
        if threading.current_thread() is not threading.main_thread():  # only there signals can be handled
            return
        if multiprocessing.parent_process() is not None:  # a supervisor, which passes Ctrl+C on as SIGTERM
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        loop = asyncio.get_running_loop()
        before = signal.getsignal(signal.SIGTERM)
        if not callable(before):  # no server that would finish its requests
            return

        def stop(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGTERM, before)  # a second signal skips the wait
            self.draining = True
            request_log.service.info("Shutting down in %g s.", self._seconds)
            loop.call_soon_threadsafe(loop.call_later, self._seconds, before, number, None)

        signal.signal(signal.SIGTERM, stop)


async def end_when(overdue: Callable[[], bool], seconds: float) -> None:
    """End this worker once ``overdue``: its supervisor starts another. What other requests have, they keep at first.

    Nothing is ended where no supervisor of gan-serve runs; there ``/readyz`` tells the orchestrator.

    Args:
        overdue: tells whether a network does not return.
        seconds: for the shutdown on SIGTERM; then the process is ended whatever it does.
    """
    while not overdue():
        await asyncio.sleep(LOOK_SECONDS)
    request_log.service.error("A network does not return. This worker is replaced.")
    if multiprocessing.parent_process() is None:
        return
    last = threading.Timer(seconds, _exit)  # a thread: the event loop ends before
    last.daemon = True
    last.start()
    os.kill(os.getpid(), signal.SIGTERM)


def _exit() -> None:
    logging.shutdown()
    os._exit(OVERDUE_EXIT)


async def end_with_the_parent() -> None:
    """Send this process SIGTERM once the process that started it is gone: its port would stay in use."""
    if sys.platform == "win32":
        return
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_SECONDS)
    request_log.service.warning("The process that started this worker is gone.")
    os.kill(os.getpid(), signal.SIGTERM)
