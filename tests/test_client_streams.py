"""Walks that are streamed to the clients, and streams that break: what goes on, and what is said."""

from __future__ import annotations

import asyncio
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np
import pytest
from clients import BOTH
from scripted_server import (
    BUSY,
    DIGEST,
    NAME,
    frame_line,
    hang_up,
    samples_of,
    scripted,
    send_head,
    stream,
)

from gan_serve import AsyncClient
from gan_serve.errors import (
    RequestTimeout,
    ServerError,
    ServerUnreachable,
)


@BOTH
@pytest.mark.parametrize(
    "cut",
    [
        stream(4),
        stream(4, b'{"frame": 4, "fra'),
        stream(4, whole=True),
        stream(4, b'{"error": {"code": "not_ready", "message": "It drains.", "hint": ""}}\n', whole=True),
        stream(4, b'{"error": 1}\n', whole=True),
    ],
    ids=["between lines", "within a line", "ended early", "drained", "nonsense"],
)
def test_a_stream_that_is_cut_goes_on_at_the_next_frame(kind, cut, generator):
    with scripted(cut, hang_up, BUSY, cut, stream(whole=True)) as asked, kind(asked.address) as client:
        frames = list(client.iter_frames(NAME, [0, 5, 9], steps=4))
        assert [body.get("start", 0) for body in asked] == [0, 4, 4, 4, 8]
    assert [(frame.number, frame.total) for frame in frames] == [(number, 9) for number in range(9)]
    expected = generator.interpolate([0, 5, 9], steps=4)
    for frame, image in zip(frames, expected, strict=True):
        assert frame.image.info == image.info
        np.testing.assert_array_equal(np.asarray(frame.image), np.asarray(image))


@BOTH
def test_frames_come_before_the_walk_is_drawn(kind):
    asked_for_more = threading.Event()

    def wait(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        samples = samples_of(body)
        send_head(handler, 200, "application/x-ndjson", {"Connection": "close"})
        handler.wfile.write(frame_line(samples, 0, ""))
        assert asked_for_more.wait(20)
        for index in range(1, len(samples)):
            handler.wfile.write(frame_line(samples, index, ""))
        handler.close_connection = True

    with scripted(wait) as asked, kind(asked.address) as client:
        frames = client.iter_frames(NAME, [0, 5], steps=8)
        assert next(frames).number == 0
        asked_for_more.set()
        assert [frame.number for frame in frames] == list(range(1, 9))


@BOTH
def test_a_stream_that_never_gets_on_is_given_up(kind):
    with scripted(stream(3), stream(0)) as asked, kind(asked.address, retries=1) as client:
        frames = client.iter_frames(NAME, [0, 5], steps=8)
        assert [next(frames).number for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ServerUnreachable):
            next(frames)
        assert len(asked) == 3


@BOTH
def test_what_goes_wrong_within_a_walk_is_raised_after_its_frames(kind):
    late = stream(2, b'{"error": {"code": "timeout", "message": "Too long.", "hint": "Go on later."}}\n', whole=True)
    with scripted(late) as asked, kind(asked.address) as client:
        frames = client.iter_frames(NAME, [0, 5], steps=8)
        assert [next(frames).number for _ in range(2)] == [0, 1]
        with pytest.raises(RequestTimeout, match="Too long"):
            next(frames)
        assert len(asked) == 1


@BOTH
def test_a_walk_does_not_go_on_with_another_checkpoint(kind):
    with scripted(stream(2), stream(digest=DIGEST)) as asked, kind(asked.address) as client:
        frames = client.iter_frames(NAME, [0, 5], steps=8)
        with pytest.raises(ServerError, match="changed its checkpoint"):
            list(frames)


@BOTH
def test_a_server_that_begins_anew_is_not_believed(kind):
    def anew(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        stream()(handler, body | {"start": 0})

    with scripted(stream(2), anew) as asked, kind(asked.address, retries=1) as client:
        frames = client.iter_frames(NAME, [0, 5], steps=8)
        assert [next(frames).number for _ in range(2)] == [0, 1]
        with pytest.raises(ServerError, match="it has frame 0 in place of 2"):
            next(frames)


def test_an_async_walk_may_be_left_in_the_middle():
    async def leave(address: str) -> int:
        async with AsyncClient(address) as client:
            async for frame in client.iter_frames(NAME, [0, 5], steps=8):
                if frame.number == 2:
                    return frame.number
        raise AssertionError

    with scripted(stream(whole=True)) as asked:
        assert asyncio.run(leave(asked.address)) == 2
