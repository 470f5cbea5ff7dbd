"""Start real servers on loopback, for the tests that speak HTTP."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


@contextlib.contextmanager
def running(models: list[str], directory: Path, **settings: str) -> Iterator[httpx.Client]:
    """A server in another process and another folder, as ``gan-serve serve`` would start it, and a client for it."""
    port = free_port()
    start = f"from gan_serve.service.server import serve; serve(host='127.0.0.1', port={port}, models={models})"
    with started([sys.executable, "-c", start], port, directory, **settings) as client:
        yield client


@contextlib.contextmanager
def started(command: list[str], port: int, directory: Path, **settings: str) -> Iterator[httpx.Client]:
    """The server that ``command`` starts on ``port``, run in ``directory``, and a client for it."""
    log = directory / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=directory, env=os.environ | settings, stdout=output, stderr=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait_until_alive(client, process, log)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    with pytest.raises(ConnectionRefusedError):  # no worker outlives it
        socket.create_connection(("127.0.0.1", port), 1)


def _wait_until_alive(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if client.get("/livez").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
