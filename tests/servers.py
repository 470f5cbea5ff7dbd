"""Start real servers on loopback, for the tests that speak HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

GAN_SERVE, BENTOML = "gan-serve", "bentoml"
KINDS = (GAN_SERVE, pytest.param(BENTOML, marks=pytest.mark.slow))  # of servers that run the same app
CHECKOUT = Path(__file__).parents[1]
_WORKERS = ("multiprocessing.spawn", "_bentoml_impl.worker.service")  # in the command line of a worker


@contextlib.contextmanager
def running(models: list[str], directory: Path, kind: str = GAN_SERVE, **settings: str) -> Iterator[httpx.Client]:
    """A server of one worker in another process and another folder, and a client for it; it ends without a drain."""
    port = free_port()
    command = serve_command(port) if kind == GAN_SERVE else bentoml_command(port)
    settings = {"GAN_SERVE_WORKERS": "1", "GAN_SERVE_DRAIN": "0", "GAN_SERVE_MODELS": json.dumps(models)} | settings
    with started(command, port, directory, **settings) as client:
        yield client


def serve_command(port: int) -> list[str]:
    return [sys.executable, "-m", "gan_serve.cli", "serve", "--port", str(port)]


def bentoml_command(port: int) -> list[str]:
    target = ["gan_serve.service:GanService", "--working-dir", str(CHECKOUT)]
    return [sys.executable, "-m", "bentoml", "serve", *target, "--host", "127.0.0.1", "--port", str(port)]


@contextlib.contextmanager
def started(command: list[str], port: int, directory: Path, **settings: str) -> Iterator[httpx.Client]:
    """The server that ``command`` starts on ``port``, run in ``directory``, and a client for it."""
    log = directory / "log.txt"
    environment = os.environ | {"BENTOML_DO_NOT_TRACK": "True"} | settings
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=output, stderr=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait_until_alive(client, process, log)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    with pytest.raises(ConnectionRefusedError):  # no worker outlives it
        socket.create_connection(("127.0.0.1", port), 1)


def workers(process: int) -> dict[int, psutil.Process]:
    """The workers of the server that runs as ``process``, by their number."""
    found = {}
    for child in psutil.Process(process).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any(part in argument for argument in child.cmdline() for part in _WORKERS):
                found[child.pid] = child
    return found


def all_ready(log: Path, workers: int, models: int = 1) -> bool:
    """Return True once every worker has loaded every model."""
    return log.read_text().count(" is ready on ") >= workers * models


def _wait_until_alive(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300  # a busy machine
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if client.get("/livez").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def free_port() -> int:
    """A port that nothing listens on, below those that the system gives to clients of other tests meanwhile."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
