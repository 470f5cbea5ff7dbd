"""The process that starts and watches the workers: uvicorn's supervisor, which gives up after repeated failures."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from gan_serve.checkpoint.config import PRECISION_FILES
from gan_serve.checkpoint.files import read_any_config, read_verified
from gan_serve.errors import GanServeError
from gan_serve.service import request_log

MAX_FAILURES = 3  # workers in a row that end before they are ready
LAST_CONNECTIONS = 0.1  # seconds before the end of the drain in which connections are still accepted one by one


class Supervisor(Multiprocess):
    """Replaces workers that die. SIGTERM, SIGINT and SIGHUP end them; SIGUSR1 replaces them one by one.

    ``failure`` says why it gave up; it is empty otherwise.
    """

    def __init__(
        self,
        config: Config,
        sockets: list[socket.socket],
        drain: float,
        models: Iterable[Path] = (),
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config, sockets)
        self._on_ready: Callable[[], None] | None = on_ready  # called once
        self.failure = ""
        self._models = tuple(models)
        self._drain = drain
        self._failures = 0
        self._ready: set[int | None] = set()

    def keep_subprocess_alive(self) -> None:
        """Replace each worker that has died, and log it; stop if workers repeatedly die before they are ready."""
        before = list(self.processes)
        for process in before:
            if process.exitcode is None and process.pid not in self._ready and process.is_ready(timeout=1):
                self._ready.add(process.pid)
                self._failures = 0
        if self._on_ready and all(process.pid in self._ready for process in before):
            self._on_ready()
            self._on_ready = None
        super().keep_subprocess_alive()
        for process in before:
            if process.exitcode is not None:
                self._log_death(process)
        if self._failures >= MAX_FAILURES:
            self.failure = f"{self._failures} workers in a row ended before they were ready."
        if self.failure:
            self.should_exit.set()

    def _log_death(self, process: Process) -> None:
        code = process.exitcode or 0
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        request_log.service.error("Worker %d ended %s.", process.pid, how)
        if process.pid in self._ready:
            self._ready.discard(process.pid)
        elif code == STARTUP_FAILURE:
            self.failure = "A worker could not start the service."
        else:
            self._failures += 1

    def handle_hup(self) -> None:
        """End as on SIGTERM: the terminal was closed."""
        self.should_exit.set()

    def handle_usr1(self) -> None:
        """Replace the workers one by one, so that all models are reloaded and no request is dropped.

        The files of all models are verified first: with a damaged one, new workers would not become ready.
        """
        for directory in self._models:
            try:
                config = read_any_config(directory)
                for name in PRECISION_FILES.values():
                    if (directory / name).exists():
                        read_verified(directory, config, name)
            except (GanServeError, OSError) as error:
                request_log.service.error("The workers were not replaced: %s", error)
                return
        request_log.service.info("Replacing the workers.")
        before = set(self.processes)
        self.restart_all()
        if before & set(self.processes):
            request_log.service.error("Not all workers were replaced.")
        else:
            request_log.service.info("The workers were replaced.")

    def terminate_all(self) -> None:
        """End the workers; a second signal skips their wait."""
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            if number := getattr(signal, name, None):  # Windows has no SIGHUP
                signal.signal(number, lambda *_: self._terminate_again())
        super().terminate_all()

    def join_all(self) -> None:
        """Wait for the workers. Close the socket when they close it, so that no client waits for an ended server."""
        deadline = time.monotonic() + self._drain - LAST_CONNECTIONS
        while time.monotonic() < deadline and any(process.exitcode is None for process in self.processes):
            time.sleep(0.05)
        for listening in self.sockets:
            listening.listen(0)  # a short queue: connections in it are reset when the socket closes
        time.sleep(LAST_CONNECTIONS)
        for listening in self.sockets:
            listening.close()
        super().join_all()

    def _terminate_again(self) -> None:
        for process in self.processes:
            if process.exitcode is None and process.pid is not None:
                os.kill(process.pid, signal.SIGTERM)
