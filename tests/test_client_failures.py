"""The clients against a server that fails on purpose: what is tried again, what goes on, and what is said."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import email.utils
import io
import json
import pickle
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np
import pytest
from clients import BOTH
from loopback import serving
from servers import free_port

from gan_serve import AsyncClient, Client, Generator, GoldenSampleMismatch, UnknownLabel
from gan_serve.errors import (
    BodyTooLarge,
    InvalidOption,
    RequestTimeout,
    ServerError,
    ServerNotReady,
    ServerUnreachable,
    TooManyImages,
    TooManyRequests,
    Unauthorized,
    error_class,
)
from gan_serve.sampling.formats import FORMATS, encode
from gan_serve.sampling.result import Samples

NAME = "fashion-dcgan"
Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class Asked(list[dict[str, Any]]):
    """The bodies of the requests that a scripted server got, and when each came."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.times: list[float] = []


@contextlib.contextmanager
def scripted(*answers: Answer) -> Iterator[Asked]:
    """A server that gives these answers, one a request; the last one again and again."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "{}")
            answer = answers[min(len(asked), len(answers) - 1)]
            asked.append(body)
            asked.times.append(time.monotonic())
            answer(self, body)

        do_GET = do_POST = _answer  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        asked = Asked(address)
        yield asked


def answer(status: int, body: bytes, media_type: str = "application/json", **headers: str) -> Answer:
    def give(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        _head(handler, status, media_type, {"Content-Length": str(len(body))} | headers)
        handler.wfile.write(body)

    return give


def refusal(status: int, code: str, message: str = "No.", hint: str = "", **headers: str) -> Answer:
    """The envelope of a gan-serve server. ``Retry_After`` is a header."""
    body = json.dumps({"error": {"code": code, "message": message, "hint": hint}}).encode()
    return answer(status, body, **{name.replace("_", "-"): value for name, value in headers.items()})


def _head(handler: BaseHTTPRequestHandler, status: int, media_type: str, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": media_type, "X-Gan-Serve-Digest": DIGEST, **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()


def _id(value: object) -> str:
    return value.__name__ if isinstance(value, type) else "" if callable(value) else str(value)[:40]


HTML = b"<!doctype html><title>It works!</title>"
DIGEST = f"sha256:{'0' * 64}"
BUSY = refusal(429, "too_many_requests", "Busy.", "Try again soon.", Retry_After="0")
NOT_READY = refusal(503, "not_ready", "It starts.", "GET /models says more.")


@pytest.fixture(scope="module")
def drawn() -> Answer:
    """What a gan-serve server answers to /sample and /interpolate in formats that are not streamed."""
    return drawing()


def drawing(change: Callable[[bytes], bytes] = bytes, *, length: bool = True, digest: str = DIGEST) -> Answer:
    """The right answer after ``change``; ``length`` says how long it is before the change."""

    def give(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        content = encode(_samples(body), body["format"])
        headers = {"Content-Length": str(len(content))} if length else {"Connection": "close"}
        _head(handler, 200, FORMATS[body["format"]].media_type, headers | {"X-Gan-Serve-Digest": digest})
        changed = change(content)
        handler.wfile.write(changed)
        handler.close_connection = not length or len(changed) < len(content)

    return give


_generators: list[Generator] = []


def _samples(body: dict[str, Any]) -> Samples:
    if not _generators:
        _generators.append(Generator.from_pretrained(NAME, device="cpu"))
    options = {name: value for name, value in body.items() if name not in ("model", "format")}
    draw = _generators[0].sample_walk if "steps" in body else _generators[0].sample
    return draw(**options)


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def hang_up(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def stream(frames: int | None = None, tail: bytes = b"", *, whole: bool = False, digest: str = "") -> Answer:
    """The first ``frames`` of a walk that is streamed, then ``tail``; ended as HTTP wants it where ``whole``."""

    def give(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        assert body["format"] == "ndjson"
        samples = _samples(body)
        _head(handler, 200, "application/x-ndjson", {"Transfer-Encoding": "chunked"})
        lines = [_line(samples, index, digest) for index in range(len(samples))][:frames]
        for chunk in (*lines, *([tail] if tail else [])):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if whole:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            hang_up(handler, body)

    return give


def _line(samples: Samples, index: int, digest: str) -> bytes:
    receipt = samples.receipt(index).as_dict() | ({"digest": digest} if digest else {})
    frame = {"frame": receipt["walk"]["frame"], "frames": 9, "png": base64.b64encode(samples.png(index)).decode()}
    return json.dumps(frame | {"receipt": receipt}).encode() + b"\n"


SHORT_LIVED = {
    "429": BUSY,
    "503": NOT_READY,
    "502 of a proxy": answer(502, HTML, "text/html"),
    "503 of a proxy": answer(503, HTML, "text/html"),
    "hung up": hang_up,
    "shorter than its Content-Length": drawing(half),
    "shorter, and no Content-Length": drawing(half, length=False),
    "damaged": drawing(lambda content: content[:-9] + b"x" * 9),
}


@BOTH
@pytest.mark.parametrize(
    ("failure", "output"),
    [*((name, "pil") for name in SHORT_LIVED), *((name, "numpy") for name in list(SHORT_LIVED)[-2:])],
)
def test_what_may_pass_is_tried_again(kind, failure, output, drawn, generator):
    with scripted(SHORT_LIVED[failure], drawn) as asked, kind(asked.address) as client:
        pixels = [np.asarray(image).reshape(28, 28, 1) for image in client.generate(NAME, 2, output=output)]
        assert len(asked) == 2
        assert asked[0] == asked[1]  # the same seeds, though nobody named any
        np.testing.assert_array_equal(pixels, generator.generate(seeds=asked[0]["seeds"], output="numpy"))


LASTING: list[tuple[Answer, type[ServerError], str]] = [
    (BUSY, TooManyRequests, "Busy."),
    (NOT_READY, ServerNotReady, "It starts."),
    (answer(502, HTML, "text/html"), ServerNotReady, "responded with 502 Bad Gateway, but not as gan-serve does"),
    (hang_up, ServerUnreachable, "The connection to ADDRESS broke"),
    (drawing(half), ServerUnreachable, "The connection to ADDRESS broke"),
    (drawing(half, length=False), ServerError, "A response from ADDRESS is damaged: it cannot be read"),
    (answer(200, b"[]"), ServerError, "is damaged"),
    (answer(200, b'{"images": []}'), ServerError, "is damaged"),
    (answer(200, b'{"images": [{"png": "AAAA", "receipt": {}}]}'), ServerError, "is damaged"),
    (answer(200, b'{"images": [{"png": "=!", "receipt": {}}]}'), ServerError, "is damaged"),
    (answer(200, b'{"images": [1, 2]}'), ServerError, "is damaged"),
    (answer(200, b"x", **{"Content-Encoding": "gzip"}), ServerError, "is damaged"),
]


@BOTH
@pytest.mark.parametrize(("failure", "error", "message"), LASTING, ids=_id)
def test_what_does_not_pass_is_said_in_the_end(kind, failure, error, message):
    with scripted(failure) as asked, kind(asked.address, retries=1) as client:
        with pytest.raises(ServerError, match=re.escape(message.replace("ADDRESS", asked.address))) as raised:
            client.generate(NAME, seed=1)
        assert type(raised.value) is error
        assert raised.value.hint
        assert len(asked) == 2


FINAL: list[tuple[Answer, type[Exception], str]] = [
    (refusal(422, "unknown_label", "No label 'x'.", "Did you mean 'y'?"), UnknownLabel, "No label 'x'."),
    (refusal(401, "unauthorized", "No key."), Unauthorized, "No key."),
    (refusal(413, "body_too_large", "Too large."), BodyTooLarge, "Too large."),
    (refusal(504, "timeout", "Too long."), RequestTimeout, "Too long."),
    (refusal(503, "golden_sample_mismatch", "Another sample."), GoldenSampleMismatch, "Another sample."),
    (refusal(500, "internal_error", "A mistake."), ServerError, "A mistake."),
    (answer(504, HTML, "text/html"), RequestTimeout, "responded with 504"),
    (answer(404, HTML, "text/html"), ServerUnreachable, "is not a gan-serve server: it responded with 404"),
    (answer(200, HTML, "text/html"), ServerUnreachable, "is not a gan-serve server: it responded with 200"),
    (answer(404, b'{"detail": "Not Found"}'), ServerUnreachable, "is not a gan-serve server"),
    (answer(400, b'{"error": "x"}'), ServerUnreachable, "is not a gan-serve server"),
    (answer(400, b'{"error": {"code": 1}}'), ServerUnreachable, "is not a gan-serve server"),
    (answer(400, b"[" * 100_000), ServerUnreachable, "is not a gan-serve server"),
    (answer(204, b""), ServerUnreachable, "is not a gan-serve server"),
    (answer(308, b"", Location="https://example.org/sample"), ServerUnreachable, "https://example.org/sample"),
]


@BOTH
@pytest.mark.parametrize(("failure", "error", "message"), FINAL, ids=_id)
def test_what_would_fail_again_is_said_at_once(kind, failure, error, message):
    with scripted(failure) as asked, kind(asked.address) as client:
        for call in (lambda: client.generate(NAME, seed=1), lambda: list(client.iter_frames(NAME, [0, 5]))):
            del asked[:]
            with pytest.raises(error, match=re.escape(message)) as raised:
                call()
            assert type(raised.value) is error
            assert len(asked) == 1


@BOTH
def test_the_hint_of_the_server_is_kept(kind):
    with scripted(refusal(422, "unknown_label", "No label 'x'.", "Did you mean 'y'?")) as asked:
        with kind(asked.address) as client, pytest.raises(UnknownLabel) as raised:
            client.generate(NAME)
        assert raised.value.hint == "Did you mean 'y'?"


@BOTH
def test_a_code_of_a_later_version_is_told(kind):
    with scripted(refusal(418, "teapot", "It is a teapot.")) as asked, kind(asked.address) as client:
        with pytest.raises(ServerError, match="teapot") as raised:
            client.generate(NAME)
        assert (raised.value.code, raised.value.status) == ("teapot", 418)
    assert error_class("teapot") is ServerError


@BOTH
def test_it_waits_as_long_as_the_server_asks_for(kind, drawn):
    busy = refusal(429, "too_many_requests", Retry_After="1")
    with scripted(busy, drawn) as asked, kind(asked.address) as client:
        client.generate(NAME)
        assert asked.times[1] - asked.times[0] >= 1


@BOTH
@pytest.mark.parametrize("as_date", [False, True])
def test_it_does_not_wait_for_an_hour(kind, as_date):
    hour = email.utils.formatdate(time.time() + 3600, usegmt=True) if as_date else "3600"
    with scripted(refusal(503, "not_ready", Retry_After=hour)) as asked, kind(asked.address) as client:
        with pytest.raises(ServerNotReady) as raised:
            client.generate(NAME)
        assert len(asked) == 1
        assert raised.value.retry_after == pytest.approx(3600, abs=60)
        for copied in (copy.copy(raised.value), pickle.loads(pickle.dumps(raised.value))):
            assert (copied.message, copied.retry_after) == (raised.value.message, raised.value.retry_after)


@BOTH
def test_a_retry_after_that_makes_no_sense_is_passed_over(kind, drawn):
    with scripted(refusal(429, "too_many_requests", Retry_After="soon"), drawn) as asked, kind(asked.address) as client:
        assert len(client.generate(NAME)) == 1


@BOTH
def test_without_retries_every_failure_is_final(kind):
    with scripted(BUSY) as asked, kind(asked.address, retries=0) as client:
        with pytest.raises(TooManyRequests) as raised:
            client.generate(NAME)
        assert (len(asked), raised.value.retry_after) == (1, 0)


@BOTH
def test_nobody_at_the_address(kind):
    address = f"http://127.0.0.1:{free_port()}"
    with kind(address, retries=0) as client:
        for call in (client.models, lambda: client.generate(NAME), lambda: list(client.iter_frames(NAME, [0, 5]))):
            with pytest.raises(ServerUnreachable, match=re.escape(address)) as raised:
                call()
            assert "gan-serve serve" in raised.value.hint


@BOTH
def test_a_server_that_never_answers(kind):
    over = threading.Event()
    with scripted(lambda *_: over.wait(20) and None) as asked:
        try:
            with kind(asked.address, timeout=0.3) as client:
                for call in (client.models, lambda: list(client.iter_frames(NAME, [0, 5]))):
                    with pytest.raises(RequestTimeout) as raised:
                        call()
                    assert "timeout" in raised.value.hint
            assert len(asked) == 2
        finally:
            over.set()


@BOTH
@pytest.mark.parametrize("output", ["pil", "numpy"])
def test_other_images_than_were_asked_for_are_refused(kind, output):
    another = drawing()

    def one_of_two(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        another(handler, body | {"seeds": "1"})

    with (
        scripted(one_of_two) as asked,
        kind(asked.address, retries=0) as client,
        pytest.raises(ServerError, match="1 images"),
    ):
        client.generate(NAME, 2, output=output)


@BOTH
@pytest.mark.parametrize(
    "arrays", [{}, {"images": np.zeros((1, 28, 28, 1))}, {"images": np.zeros((1, 28), np.uint8)}, {"images": [None]}]
)
def test_an_npz_of_something_else_is_refused(kind, arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    with (
        scripted(answer(200, out.getvalue(), "application/x-npz")) as asked,
        kind(asked.address, retries=0) as client,
        pytest.raises(ServerError, match="damaged"),
    ):
        client.generate(NAME, output="numpy")


TOO_MANY = refusal(422, "too_many_images", "Too many.")


@BOTH
@pytest.mark.parametrize(
    ("models", "parts"),
    [(b'{"limits": {"max_images": 3}}', ["0-2", "3"]), (b"{}", ["0-1", "2-3"]), (b'{"limits": {}}', ["0-1", "2-3"])],
)
def test_parts_are_as_large_as_the_server_says_or_else_half(kind, models, parts, drawn, generator):
    with scripted(TOO_MANY, answer(200, models), drawn, BUSY, drawn) as asked, kind(asked.address) as client:
        pixels = client.generate(NAME, seeds="0-3", output="numpy")
        np.testing.assert_array_equal(pixels, generator.generate(seeds="0-3", output="numpy"))
        assert [body.get("seeds") for body in asked] == ["0-3", None, *parts, parts[-1]]
        client.generate(NAME, seeds="0-3", output="numpy")  # it knows the limit now
        assert [body.get("seeds") for body in asked[5:]] == parts


@BOTH
def test_a_server_that_draws_not_even_one_image(kind):
    with scripted(TOO_MANY) as asked, kind(asked.address) as client, pytest.raises(TooManyImages, match="Too many"):
        client.generate(NAME)
    halved = [TOO_MANY, answer(200, b"{}"), TOO_MANY]
    with scripted(*halved) as asked, kind(asked.address) as client, pytest.raises(TooManyImages, match="Too many"):
        client.generate(NAME, 2)
    with scripted(TOO_MANY) as asked, kind(asked.address) as client, pytest.raises(TooManyImages):
        list(client.iter_frames(NAME, [0, 5]))


@BOTH
@pytest.mark.parametrize("output", ["pil", "numpy"])
def test_parts_of_two_checkpoints_are_not_put_together(kind, output):
    other = DIGEST.replace("0", "1")
    replaced = drawing(lambda content: content.replace(b'"digest": "sha256:', b'"digest": "SHA256:'), digest=other)
    limits = answer(200, b'{"limits": {"max_images": 1}}')
    with (
        scripted(TOO_MANY, limits, drawing(), replaced) as asked,
        kind(asked.address) as client,
        pytest.raises(ServerError, match="changed its checkpoint"),
    ):
        client.generate(NAME, 2, output=output)


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
        samples = _samples(body)
        _head(handler, 200, "application/x-ndjson", {"Connection": "close"})
        handler.wfile.write(_line(samples, 0, ""))
        assert asked_for_more.wait(20)
        for index in range(1, len(samples)):
            handler.wfile.write(_line(samples, index, ""))
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


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        {"address": "localhost:3000"},
        {"address": "ftp://localhost"},
        {"address": "http://"},
        {"address": "http://localhost:port"},
        {"address": "http://localhost?x=1"},
        {"address": None},
        {"api_key": "line\nbreak"},
        {"api_key": " key"},
        {"api_key": "clé"},
        {"api_key": 1},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": "1"},
        {"retries": -1},
        {"retries": 1.5},
        {"retries": True},
    ],
    ids=str,
)
def test_a_client_is_not_made_of_nonsense(kind, options):
    with pytest.raises(InvalidOption) as raised:
        kind(**({"address": "http://localhost:3000"} | options))
    assert raised.value.hint


def test_a_key_stays_out_of_messages():
    with pytest.raises(InvalidOption) as raised:
        Client("http://localhost:3000", api_key="open\nsesame")
    assert "sesame" not in raised.value.message + raised.value.hint


def test_a_client_shows_its_address_and_no_secret():
    with Client("http://me:secret@localhost:3000/gan/", api_key="secret") as client:
        assert repr(client) == "Client('http://localhost:3000/gan')"


@BOTH
def test_a_server_may_lie_under_a_path_and_gets_the_key(kind):
    seen = []

    def models(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        seen.append((handler.path, handler.headers["authorization"]))
        answer(200, b'{"models": []}')(handler, body)

    with scripted(models) as asked, kind(f"{asked.address}/gan/", api_key="secret", timeout=None) as client:
        assert client.models() == []
    assert seen == [("/gan/models", "Bearer secret")]
