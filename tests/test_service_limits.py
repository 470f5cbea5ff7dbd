"""The limits of a server: what is beyond them gets a clear answer, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
from answers import NAME, error, post
from servers import KINDS, running
from uvicorn.server import ServerState

from gan_serve.service import http_limits

MANY = 20_000  # images: half a minute of drawing


@pytest.fixture(scope="module", params=KINDS)
def strained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of one worker with narrow limits."""
    limits = {
        "MAX_IMAGES": "4",
        "MAX_FRAMES": "9",
        "MAX_BODY": "2000",
        "TIMEOUT": "2",
        "MAX_PIXELS": "2500",
    }
    settings = {f"GAN_SERVE_{name}": value for name, value in limits.items()}
    with running([NAME], tmp_path_factory.mktemp("strained"), request.param, **settings) as client:
        yield client


@pytest.fixture(scope="module", params=KINDS)
def patient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of one worker that draws very many images for a request, for three seconds, two requests at a time."""
    limits = {
        "MAX_IMAGES": str(MANY),
        "MAX_QUEUED_IMAGES": str(2 * MANY),
        "TIMEOUT": "3",
        "MAX_QUEUE": "2",
        "MAX_WAIT": "1000",
    }
    settings = {f"GAN_SERVE_{name}": value for name, value in limits.items()}
    with running([NAME], tmp_path_factory.mktemp("patient"), request.param, **settings) as client:
        yield client


def test_images_frames_and_pixels_beyond_the_limit_are_refused(strained: httpx.Client) -> None:
    post(strained, "/sample", n=3)
    error(strained.post("/sample", json={"model": NAME, "n": 5}), 422, "too_many_images")
    told = error(strained.post("/sample", json={"model": NAME, "n": 4}), 422, "too_many_images")
    assert "4 images are 3,136 pixels; this server samples up to 2,500." in told["message"]
    walk = {"model": NAME, "seeds": "0,1", "format": "ndjson"}
    error(strained.post("/interpolate", json=walk | {"steps": 9}), 422, "too_many_images")
    error(strained.post("/interpolate", json=walk | {"steps": 3}), 422, "too_many_images")
    assert strained.post("/interpolate", json=walk | {"steps": 2}).status_code == 200


def test_a_body_beyond_the_limit_is_refused_before_it_is_read_whole(strained: httpx.Client) -> None:
    body = json.dumps({"model": NAME, "seeds": [0] * 1000}).encode()
    headers = {"Content-Type": "application/json"}
    error(strained.post("/sample", content=body, headers=headers), 413, "body_too_large")
    error(strained.post("/sample", content=iter([body]), headers=headers), 413, "body_too_large")  # length unknown
    with _connected(strained) as client:
        client.sendall(_head(content_length=2**27))
        assert _read(client) == (413, "body_too_large")  # with nothing of the body sent


def test_a_body_that_does_not_come_is_504(strained: httpx.Client) -> None:
    with _connected(strained) as client:
        client.sendall(_head(content_length=9))
        assert _read(client) == (504, "timeout")
    post(strained, "/sample", seed=0)


def test_a_large_request_holds_up_no_small_ones_and_is_504_and_leaves_the_queue(patient: httpx.Client) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(patient.post, "/sample", json={"model": NAME, "n": MANY, "format": "npz"})
        time.sleep(0.5)
        for seed in range(5):
            post(patient, "/sample", seed=seed)
        assert not large.done()
        error(large.result(), 504, "timeout")
    assert time.monotonic() - began < 20
    post(patient, "/sample", seed=0)
    assert _queued(patient) == 0


def test_beyond_a_full_queue_requests_are_told_to_come_again(patient: httpx.Client) -> None:
    with ThreadPoolExecutor(2) as pool:
        # Two requests may wait, however small.
        halves = [pool.submit(patient.post, "/sample", json={"model": NAME, "n": MANY // 2}) for _ in range(2)]
        time.sleep(0.7)
        refused = patient.post("/sample", json={"model": NAME})
        told = error(refused, 429, "too_many_requests")
        assert int(refused.headers["retry-after"]) >= 1
        assert "again" in told["hint"]
        for half in halves:
            error(half.result(), 504, "timeout")
    post(patient, "/sample", seed=0)
    assert 'gan_serve_rejected_total{reason="too_many_requests"}' in patient.get("/metrics").text


def test_a_client_that_leaves_takes_its_images_along(patient: httpx.Client) -> None:
    body = json.dumps({"model": NAME, "n": MANY}).encode()
    with _connected(patient) as client:
        client.sendall(_head(content_length=len(body)) + body)
        deadline = time.monotonic() + 2
        while _queued(patient) == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert _queued(patient) == 1
    deadline = time.monotonic() + 5
    while _queued(patient) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _queued(patient) == 0


@pytest.mark.parametrize(("workers", "loop", "turns"), [(1, "uvloop", 0), (2, "asyncio", 0), (2, "uvloop", 3)])
def test_a_worker_leaves_the_next_connection_of_a_burst_to_the_others(
    workers: int, loop: str, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, slept = [100.0], list[float]()
    monkeypatch.setattr(http_limits, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=slept.append))
    monkeypatch.setattr(http_limits, "MAX_TURNS", 2)
    monkeypatch.setattr(http_limits.LimitedProtocol, "_last_connection", 0.0)

    async def no_app(scope: object, receive: object, send: object) -> None:
        """Get no request."""

    async def connect_after(*pauses: float) -> None:
        config = uvicorn.Config(no_app, workers=workers, log_config=None)
        for pause in pauses:
            now[0] += pause
            protocol = http_limits.LimitedProtocol(config, ServerState(), {})
            near, far = socket.socketpair()
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda made=protocol: made, near)
            transport.close()
            far.close()

    soon, later = http_limits.BURST_SECONDS / 2, http_limits.PAUSE_SECONDS * 2
    with asyncio.Runner(loop_factory=pytest.importorskip(loop).new_event_loop) as runner:
        runner.run(connect_after(0, soon, soon, soon, later, soon))  # 2 turns, one too many, and 1 after a pause
    assert slept == [http_limits.TURN_SECONDS] * turns


def _connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), 30)


def _head(content_length: int) -> bytes:
    lines = [
        "POST /sample HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {content_length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _read(client: socket.socket) -> tuple[int, str]:
    """The status of an answer and the code of its error."""
    answer = HTTPResponse(client)  # one recv might bring the head alone
    answer.begin()
    with answer:
        return answer.status, json.loads(answer.read())["error"]["code"]


def _queued(client: httpx.Client) -> float:
    [found] = re.findall(r"^gan_serve_queued_requests (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found)
