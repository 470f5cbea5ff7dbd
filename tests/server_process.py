"""``gan-serve serve`` as a process that a test may signal, kill, and read the log of."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
from answers import NAME
from servers import free_port, serve_command

PATIENCE = 60  # seconds for anything to happen


class Server:
    """``gan-serve serve`` as a process, with its log."""

    def __init__(self, process: psutil.Popen, port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)

    def text(self) -> str:
        return self.log.read_text()

    def is_live(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/livez").status_code == 200
        return False


@contextlib.contextmanager
def serving(
    folder: Path, command: list[str] | None = None, port: int | None = None, **settings: str
) -> Iterator[Server]:
    """A server that runs in ``folder``."""
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    log = folder / "log.txt"
    environment = os.environ | {"GAN_SERVE_WORKERS": "1", "GAN_SERVE_MODELS": NAME} | settings
    with log.open("wb") as output:
        process = psutil.Popen(
            command or serve_command(port),
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Server(process, port, log)
    try:
        yield server
    finally:
        server.client.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)


def until(condition: Callable[[], bool], process: psutil.Popen | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.1)
