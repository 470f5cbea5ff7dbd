"""The graceful shutdown of a worker: for a while after SIGTERM, ``/readyz`` is 503 and requests are still accepted.

Meanwhile load balancers stop sending clients, and responses carry ``Connection: close``, so that no client keeps a
connection that the server is about to close. Then the server's own handler of SIGTERM runs: it finishes pending
requests and ends the process.
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

LOOK_SECONDS = 0.5  # between checks whether a network hangs
OVERDUE_EXIT = 70  # EX_SOFTWARE
PARENT_SECONDS = 2.0  # between checks whether the parent runs


class Shutdown:
    """The shutdown of this worker: whether it has begun, and its handler of SIGTERM."""

    def __init__(self, seconds: float) -> None:
        self.draining = False
        self._seconds = seconds

    def install(self) -> None:
        """Install a handler of SIGTERM that waits and then calls the present one; call this in the event loop."""
        if threading.current_thread() is not threading.main_thread():  # signals can be handled there only
            return
        if multiprocessing.parent_process() is not None:  # its supervisor passes Ctrl+C on as SIGTERM
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
    """End this worker once ``overdue`` is True, by a graceful shutdown; its supervisor starts another.

    Without a supervisor of gan-serve the worker stays, and ``/readyz`` tells the orchestrator.

    Args:
        overdue: returns True if a network hangs.
        seconds: time for the shutdown; after it, the process exits in any case.
    """
    while not overdue():
        await asyncio.sleep(LOOK_SECONDS)
    request_log.service.error("A network does not return. This worker is replaced.")
    if multiprocessing.parent_process() is None:
        return
    last = threading.Timer(seconds, _exit)  # a thread, since the event loop ends earlier
    last.daemon = True
    last.start()
    os.kill(os.getpid(), signal.SIGTERM)


def _exit() -> None:
    logging.shutdown()
    os._exit(OVERDUE_EXIT)


async def end_with_the_parent() -> None:
    """Send this process SIGTERM once its parent has ended; otherwise the port would stay in use."""
    if sys.platform == "win32":
        return
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_SECONDS)
    request_log.service.warning("The process that started this worker is gone.")
    os.kill(os.getpid(), signal.SIGTERM)
