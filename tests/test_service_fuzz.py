"""Requests that no client should send, over sockets; afterwards the server responds as before."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import select
import socket
import struct
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any, NamedTuple

import httpx
import psutil
import pytest
from conditional_checkpoint import write_conditional
from hostile_requests import BROKEN, FIELDS, GET, ITEMS, JSON, LARGE, MEGABYTE, STRANGE, VALUES
from servers import KINDS, all_ready, running, workers

MODEL, CONDITIONAL = "fashion-dcgan", "conditional"
SEED = 20260101  # of what is random here
GROWTH = 100 * MEGABYTE  # that a worker may show after a bad client: allocators keep some of what they had
PATIENCE = 30  # seconds for anything to happen
TIMEOUT = 3  # seconds that the server gives a request
GOOD = json.dumps({"model": MODEL, "seed": 5}).encode()
LONG_EVERY_DAY = ("seeds of text", "ranges of seeds", "one long latent", "labels of objects", "digits", "brackets")
FAILED = r'gan_serve_requests_total\{[^}]*status="50[0-3]"'


class Served(NamedTuple):
    """A server under test: a client for it, its workers, and how it answers when it is well."""

    client: httpx.Client
    workers: dict[int, psutil.Process]
    image: bytes

    def connect(self) -> socket.socket:
        return socket.create_connection((self.client.base_url.host, self.client.base_url.port or 80), PATIENCE)

    def memory(self) -> int:
        """Bytes of the largest worker."""
        return max(int(worker.memory_info().rss) for worker in self.workers.values())

    def thought(self) -> float:
        """Seconds of the processor that all workers have used."""
        return sum(sum(worker.cpu_times()[:2]) for worker in self.workers.values())

    def total(self, pattern: str) -> float:
        """The sum of the counts in /metrics whose line begins so."""
        lines = re.findall(rf"^{pattern}\S* (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return sum(map(float, lines))


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    checkpoint = write_conditional(tmp_path_factory.mktemp("conditional"))
    directory = tmp_path_factory.mktemp("server")
    settings = {"GAN_SERVE_TIMEOUT": str(TIMEOUT), "GAN_SERVE_WORKERS": "2"}
    before = set(workers(os.getpid()))
    with running([MODEL, str(checkpoint)], directory, request.param, **settings) as client:
        _until(lambda: all_ready(directory / "log.txt", workers=2, models=2))
        started = {pid: worker for pid, worker in workers(os.getpid()).items() if pid not in before}
        assert len(started) == 2
        for _ in range(20):  # both have drawn
            image = client.post("/sample", content=GOOD, headers={"Content-Type": "application/json"}).content
        yield Served(client, started, image)
    log = (directory / "log.txt").read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]


@pytest.fixture(autouse=True)
def well(server: Served) -> Iterator[None]:
    """After each test: the same bytes for the same seed, the same processes, nothing queued, no 5xx but a 504."""
    before, failures = server.memory(), server.total(FAILED)
    yield
    assert _send(server, _post(GOOD))[1] == server.image
    assert all(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in server.workers.values())
    _until(lambda: server.total("gan_serve_queued_requests") == 0)
    assert server.total(FAILED) == failures
    assert server.memory() - before < GROWTH


def _until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _post(body: bytes, path: str = "/sample", extra: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\n{JSON}Content-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def _send(server: Served, data: bytes) -> tuple[int, bytes]:
    """Send all of it on a connection of its own; the status and body of the first answer."""
    with server.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read whole
            connection.sendall(data)
        return _answer(connection)


def _code(answer: tuple[int, bytes]) -> str:
    """The code of the error in an answer, after a check that it is an envelope."""
    status, body = answer
    assert 400 <= status < 500, answer
    error = json.loads(body)["error"]
    assert sorted(error) == ["code", "hint", "message"]
    assert len(body) < 2000
    return str(error["code"])


ONCE = {field: path for path, fields in reversed(FIELDS.items()) for field in fields}  # the first path of each field
EVERY_DAY = {*ONCE.items(), ("seeds", "/interpolate")}  # whose seeds are keys of a walk
PATHS_AND_FIELDS = [
    pytest.param(path, field, marks=() if (field, path) in EVERY_DAY else pytest.mark.slow)
    for path, fields in FIELDS.items()
    for field in fields
]


@pytest.mark.parametrize(("path", "field"), PATHS_AND_FIELDS, ids=lambda value: value)
def test_any_value_in_any_field_is_drawn_or_refused_in_words(server: Served, path: str, field: str) -> None:
    required = {"/interpolate": {"seeds": '"0,5"'}, "/mix": {"coarse": "0", "fine": "1"}}
    fields = {"model": f'"{CONDITIONAL}"'} | required.get(path, {})
    for value in VALUES:
        body = "{" + ", ".join(f'"{name}": {text}' for name, text in (fields | {field: value}).items()) + "}"
        response = server.client.post(path, content=body.encode(), headers={"Content-Type": "application/json"})
        if response.status_code != 200:
            assert response.status_code in (400, 404, 413, 422), value[:50]
            _code((response.status_code, response.content))


@pytest.mark.parametrize(
    "body",
    [
        b'{"' + b"x" * MEGABYTE + b'": 1}',
        b"{" + b",".join(b'"%d": 1' % number for number in range(100_000)) + b"}",
        b'{"\\ud800": 1}',
        b'{"model": "x", ' * 50_000,
        b'{"model": "fashion-dcgan", "seed": 5, "__proto__": {"n": 1}}',
        b'{"model": "fashion-dcgan", "seed": 5}{}',
        b'{"model": "fashion-dcgan", "seed": 5,}',
        b"{'model': 'fashion-dcgan'}",
        b'"' + b"\\" * 1_000_001,
        b"null",
        b"5",
        b'"text"',
        b"\x00",
        b"\x1f\x8b\x08\x00",
        b"\xff" * 1000,
        b'{"model": "\xed\xa0\x80"}',
    ],
    ids=lambda body: str(body[:20]),
)
def test_a_body_of_any_form_is_refused_in_words(server: Served, body: bytes) -> None:
    for path in FIELDS:
        assert _code(_send(server, _post(body, path)))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in LONG_EVERY_DAY else pytest.mark.slow) for name in ITEMS]
)
def test_four_megabytes_of_anything_are_refused_without_long_thought(server: Served, name: str) -> None:
    start, item, end = ITEMS[name]
    head = f'{{"model": "{CONDITIONAL}", {start}'
    body = head + item * ((LARGE - len(head)) // len(item)) + end + "}"
    before = server.thought()
    assert _code(_send(server, _post(body.encode())))
    assert server.thought() - before < 3  # it was 28; seconds of the processor, whatever else the machine does


def test_of_a_field_that_comes_twice_the_last_counts_as_everywhere_in_python(server: Served) -> None:
    body = b'{"model": "nobody", "seed": [], "model": "fashion-dcgan", "seed": 5}'
    assert _send(server, _post(body)) == (200, server.image)


def test_random_bytes_are_no_request(server: Served) -> None:
    source = random.Random(SEED)
    for _ in range(200):
        noise = source.randbytes(source.choice([1, 10, 100, 1000, 100_000]))
        with server.connect() as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            if answer := connection.recv(65536):
                assert answer.startswith(b"HTTP/1.1 4"), (noise[:50], answer[:100])


@pytest.mark.slow
def test_a_request_with_any_of_its_bytes_changed_is_answered_or_closed(server: Served) -> None:
    source = random.Random(SEED)
    for _ in range(300):
        request = bytearray(_post(GOOD, source.choice(list(FIELDS)), "Connection: close\r\n"))
        for _ in range(source.choice([1, 2, 5, 20])):
            place = source.randrange(len(request))
            match source.randrange(3):
                case 0:
                    request[place] = source.randrange(256)
                case 1:
                    del request[place]
                case _:
                    request.insert(place, source.choice(b'\x00\r\n:" {}[]\\%\xff'))
        with server.connect() as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            if answer := connection.recv(65536):
                assert re.match(rb"HTTP/1\.1 (200|304|4\d\d) ", answer), (bytes(request), answer[:100])


@pytest.mark.parametrize("request_bytes", BROKEN.values(), ids=BROKEN)
def test_broken_http_is_refused(server: Served, request_bytes: bytes) -> None:
    assert _code(_send(server, request_bytes))


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_strange_headers_do_no_harm(server: Served, text: str) -> None:
    assert _send(server, text.encode("latin-1"))[0] == 200


def test_a_request_id_of_the_client_cannot_break_out_of_its_header(server: Served) -> None:
    response = server.client.get("/livez", headers={"X-Request-Id": 'a" b\tc'})
    assert re.fullmatch(r"[0-9a-f]{16}", response.headers["x-request-id"])


def test_no_websockets_here(server: Served) -> None:
    headers = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    status, _ = _send(server, f"{GET}{headers}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    assert 400 <= status < 500


@pytest.mark.parametrize(
    "path",
    [
        "/sample",
        "/models",
        *(
            pytest.param(path, marks=pytest.mark.slow)
            for path in ("/condition", "/interpolate", "/nope", "/livez", "/metrics", "/")
        ),
    ],
)
def test_a_body_of_128_megabytes_is_refused_and_not_kept(server: Served, path: str) -> None:
    before = server.memory()
    with server.connect() as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{JSON}Content-Length: {128 * MEGABYTE}\r\n\r\n".encode())
        with contextlib.suppress(OSError):
            for _ in range(128):
                connection.sendall(bytes(MEGABYTE))
        most = server.memory()
        with contextlib.suppress(ConnectionResetError):  # it was refused long before
            assert _answer(connection)[0] in (404, 405, 413)
    assert most - before < GROWTH


def test_a_body_that_is_announced_as_too_large_is_refused_before_it_is_sent(server: Served) -> None:
    head = f"POST /sample HTTP/1.1\r\n{JSON}Content-Length: {128 * MEGABYTE}\r\n\r\n"
    assert _code(_send(server, head.encode())) == "body_too_large"
    assert (
        _code(_send(server, head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n").encode())) == "body_too_large"
    )


def test_a_body_in_pieces_is_read_up_to_the_limit(server: Served) -> None:
    before = server.memory()
    with server.connect() as connection:
        connection.sendall(f"POST /sample HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n".encode())
        with contextlib.suppress(OSError):
            for _ in range(128):
                connection.sendall(b"100000\r\n" + bytes(MEGABYTE) + b"\r\n")
            pytest.fail("all of it was read")
    assert server.memory() - before < GROWTH


@pytest.mark.parametrize("line", [b"X: a\r\n" * 170_000, b"a" * MEGABYTE], ids=["lines", "one line"])
def test_headers_without_end_are_cut_off(server: Served, line: bytes) -> None:
    before = server.memory()
    with server.connect() as connection:
        connection.sendall(GET.encode() + b"X: ")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(32):
                connection.sendall(line)
            pytest.fail("all of it was read")
    assert server.memory() - before < GROWTH


def test_slow_clients_hold_up_nobody_and_are_sent_away(server: Served) -> None:
    beginnings = [
        b"",
        b"G",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        f"POST /sample HTTP/1.1\r\n{JSON}Content-Length: 500\r\n\r\n{{".encode(),
        f"POST /sample HTTP/1.1\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n5\r\n{{".encode(),
    ]
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(server.connect()) for _ in range(300)]
        for number, connection in enumerate(slow):
            connection.sendall(beginnings[number % len(beginnings)])
        assert _send(server, _post(GOOD)) == (200, server.image)
        open_ones = set(slow)
        deadline = time.monotonic() + PATIENCE
        while open_ones and time.monotonic() < deadline:
            for number, connection in enumerate(slow):  # a byte at a time, as they do
                if connection in open_ones and number % len(beginnings) == 2:
                    with contextlib.suppress(OSError):
                        connection.send(b"a")
            readable, _, _ = select.select(list(open_ones), [], [], 0.5)
            open_ones -= {connection for connection in readable if _is_closed(connection)}
            assert _send(server, _post(GOOD)) == (200, server.image)
        assert not open_ones


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(65536)
    except ConnectionResetError:
        return True


def test_requests_in_one_go_are_answered_in_their_order(server: Served) -> None:
    seeds = [5, 0, 5, 1, 5, 2, 5, 3] * 8
    expected = {seed: _send(server, _post(_seed(seed))) for seed in set(seeds)}
    with server.connect() as connection:
        connection.sendall(b"".join(_post(_seed(seed)) for seed in seeds[:-1]))
        connection.sendall(_post(_seed(seeds[-1]), extra="Connection: close\r\n"))
        stream = connection.makefile("rb")
        for seed in seeds:
            status = int(stream.readline().split()[1])
            headers = dict(line.lower().split(b": ", 1) for line in iter(lambda: stream.readline().strip(), b""))
            assert (status, stream.read(int(headers[b"content-length"]))) == expected[seed]
        stream.close()


def _seed(seed: int) -> bytes:
    return json.dumps({"model": MODEL, "seed": seed}).encode()


def _cut(connection: socket.socket) -> None:
    """Close with a reset, as a client that is killed does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_connections_cut_anywhere_in_a_request_leave_nothing_behind(server: Served) -> None:
    whole = _post(json.dumps({"model": MODEL, "seeds": "0-15"}).encode())
    for length in range(0, len(whole) + 1, 3):
        connection = server.connect()
        connection.sendall(whole[:length])
        _cut(connection)


ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "large": ("/sample", {"seeds": "0-1023", "format": "npz"}),
    "zip": ("/sample", {"seeds": "0-511", "format": "zip"}),
    "gif": ("/interpolate", {"seeds": "0-9", "steps": 50}),
    "stream": ("/interpolate", {"seeds": "0-9", "steps": 1000, "format": "ndjson"}),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "stream" else pytest.mark.slow) for name in ANSWERS]
)
def test_clients_that_leave_in_the_middle_of_an_answer_are_forgotten(server: Served, name: str) -> None:
    path, fields = ANSWERS[name]
    request = _post(json.dumps({"model": MODEL} | fields).encode(), path)
    for number in range(20):
        connection = server.connect()
        connection.sendall(request)
        if number % 2 and name != "large":
            assert connection.recv(100)  # it has begun
        _cut(connection)
    # What nobody waits for any more is not drawn: all of it would take far longer.
    _until(lambda: server.total("gan_serve_queued_requests") == 0)


@pytest.mark.slow
def test_who_does_not_read_an_answer_is_cut_off_in_the_end(server: Served) -> None:
    with server.connect() as connection:
        fields = {"model": MODEL, "seeds": "0-99", "steps": 100, "format": "ndjson"}
        connection.sendall(_post(json.dumps(fields).encode(), "/interpolate"))
        assert connection.recv(100)
        time.sleep(TIMEOUT + 1)
        _until(lambda: server.total("gan_serve_queued_requests") == 0)
