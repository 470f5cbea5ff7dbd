"""A network that does not return: its worker is not ready, and is replaced; other requests are answered again."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hostile_networks import slow, write
from server_process import serving, until
from servers import workers
from tiny_checkpoint import write_checkpoint

from gan_serve import Generator
from gan_serve.service.app import create_app
from gan_serve.service.models import Models
from gan_serve.service.settings import Settings


def test_readyz_is_red_while_a_network_does_not_return(tmp_path):
    models = Models()
    models.load(Settings(models=(str(write_checkpoint(tmp_path / "tiny")),)))
    app = create_app(models, Settings(timeout=0.1, threads=1))
    served, entered, leave = models.find("tiny"), threading.Event(), threading.Event()
    real = served.generator
    assert real is not None

    def run(*requests: Any) -> Any:
        entered.set()
        leave.wait(30)
        return Generator.run(real, *requests)

    real.run = run  # type: ignore[method-assign]
    with TestClient(app) as client:
        assert client.get("/readyz").status_code == 200
        asking = threading.Thread(target=client.post, args=("/sample",), kwargs={"json": {"model": "tiny", "seed": 1}})
        asking.start()
        assert entered.wait(30)
        assert client.get("/readyz").status_code == 200  # not overdue yet
        app.state.batcher.max_seconds = 0.0
        until(lambda: client.get("/readyz").status_code == 503)
        leave.set()
        until(lambda: client.get("/readyz").status_code == 200)
        asking.join()


@pytest.mark.slow
def test_a_worker_whose_network_does_not_return_is_replaced(tmp_path):
    """Sixteen images of an honest but slow network are one batch that takes far longer than the timeout."""
    directory = write(write_checkpoint(tmp_path / "tiny"), slow())
    with serving(
        tmp_path / "run", GAN_SERVE_MODELS=str(directory), GAN_SERVE_TIMEOUT="0.4", GAN_SERVE_DRAIN="0.2",
        GAN_SERVE_THREADS="1",
    ) as server:  # fmt: skip
        until(lambda: server.is_live() and server.client.get("/readyz").status_code == 200, server.process)
        before = set(workers(server.process.pid))
        assert server.client.post("/sample", json={"model": "tiny", "seeds": "0-15"}).status_code == 504
        until(lambda: not before & set(workers(server.process.pid)), server.process)
        until(lambda: _is_ready(server.client), server.process)
        assert "A network does not return. This worker is replaced." in server.text()


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_batch_that_returns_or_fails_is_not_overdue(tmp_path):
    models = Models()
    models.load(Settings(models=(str(write_checkpoint(tmp_path / "tiny")),)))
    app = create_app(models, Settings())
    app.state.batcher.max_seconds = 0.0
    real = models.find("tiny").generator
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.post("/sample", json={"model": "tiny", "seed": 1}).status_code == 200
        assert client.get("/readyz").status_code == 200
        assert real is not None
        real._session = SimpleNamespace(run_inputs=lambda _: np.zeros(1)[5])  # type: ignore[assignment]
        assert client.post("/sample", json={"model": "tiny", "seed": 1}).status_code == 500
        time.sleep(0.01)
        assert client.get("/readyz").status_code == 200


def test_an_honest_slow_network_is_loaded(tmp_path: Path):
    assert len(Generator.from_pretrained(write(write_checkpoint(tmp_path / "tiny"), slow(1))).generate(2)) == 2
