"""A server that answers by a script, for the tests of what the clients do when something fails."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback import serving

from gan_serve import Generator
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
        send_head(handler, status, media_type, {"Content-Length": str(len(body))} | headers)
        handler.wfile.write(body)

    return give


def refusal(status: int, code: str, message: str = "No.", hint: str = "", **headers: str) -> Answer:
    """The envelope of a gan-serve server. ``Retry_After`` is a header."""
    body = json.dumps({"error": {"code": code, "message": message, "hint": hint}}).encode()
    return answer(status, body, **{name.replace("_", "-"): value for name, value in headers.items()})


def send_head(handler: BaseHTTPRequestHandler, status: int, media_type: str, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": media_type, "X-Gan-Serve-Digest": DIGEST, **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()


HTML = b"<!doctype html><title>It works!</title>"
DIGEST = f"sha256:{'0' * 64}"
BUSY = refusal(429, "too_many_requests", "Busy.", "Try again soon.", Retry_After="0")
NOT_READY = refusal(503, "not_ready", "It starts.", "GET /models says more.")


def drawing(change: Callable[[bytes], bytes] = bytes, *, length: bool = True, digest: str = DIGEST) -> Answer:
    """The right answer after ``change``; ``length`` says how long it is before the change."""

    def give(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        content = encode(samples_of(body), body["format"])
        headers = {"Content-Length": str(len(content))} if length else {"Connection": "close"}
        send_head(handler, 200, FORMATS[body["format"]].media_type, headers | {"X-Gan-Serve-Digest": digest})
        changed = change(content)
        handler.wfile.write(changed)
        handler.close_connection = not length or len(changed) < len(content)

    return give


_generators: list[Generator] = []


def samples_of(body: dict[str, Any]) -> Samples:
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
        samples = samples_of(body)
        send_head(handler, 200, "application/x-ndjson", {"Transfer-Encoding": "chunked"})
        lines = [frame_line(samples, index, digest) for index in range(len(samples))][:frames]
        for chunk in (*lines, *([tail] if tail else [])):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if whole:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            hang_up(handler, body)

    return give


def frame_line(samples: Samples, index: int, digest: str) -> bytes:
    receipt = samples.receipt(index).as_dict() | ({"digest": digest} if digest else {})
    number = (samples.walk.start or 0) + index
    frame = {"frame": number, "frames": 9, "png": base64.b64encode(samples.png(index)).decode()}
    return json.dumps(frame | {"receipt": receipt}).encode() + b"\n"
