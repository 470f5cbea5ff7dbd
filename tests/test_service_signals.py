"""SIGTERM, SIGINT and SIGKILL while clients are served: what they see of it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from servers import all_ready, free_port, serve_command
from servers import workers as workers_of

MODEL = "fashion-dcgan"
CLIENTS = 8
PAUSE = 0.05  # seconds between the requests of a client
PATIENCE = 60  # seconds for anything to happen
BODY = json.dumps({"model": MODEL, "seed": 3}).encode()


class Load:
    """Clients that ask again and again: half of them on one connection, half with a connection for each request."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: Counter[int] = Counter()  # by status
        self.lost: list[str] = []  # requests of connections that were made, without a whole answer
        self.refused = 0  # connections that were not made
        self.stopped = False
        self._clients = [asyncio.create_task(self._client(keep=bool(number % 2))) for number in range(CLIENTS)]

    async def stop(self) -> None:
        self.stopped = True
        await asyncio.wait_for(asyncio.gather(*self._clients), PATIENCE)

    async def until(self, answers: int) -> None:
        """Wait for so many more answers."""
        wanted = self.answers.total() + answers
        await _until(lambda: self.answers.total() >= wanted)

    async def _client(self, keep: bool) -> None:
        while not self.stopped:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self.refused += 1
                await asyncio.sleep(0.05)
                continue
            with contextlib.suppress(OSError):
                await self._ask_until_closed(reader, writer, keep)
            writer.close()

    async def _ask_until_closed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: bool) -> None:
        closing = False
        while not closing and not self.stopped:
            try:
                status, headers, _ = await _ask(reader, writer, "POST /sample", BODY, keep=keep)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.lost.append(repr(error))
                return
            self.answers[status] += 1
            await asyncio.sleep(PAUSE)
            closing = headers.get("connection") == "close" or not keep


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: str, body: bytes = b"", *, keep: bool = False
) -> tuple[int, dict[str, str], bytes]:
    """Ask on a connection; raise where the answer is not whole."""
    lines = [f"{what} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [] if keep else ["Connection: close"]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def _get(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), PATIENCE)
    try:
        status, _, body = await asyncio.wait_for(_ask(reader, writer, f"GET {path}"), PATIENCE)
    finally:
        writer.close()
    return status, body.decode()


async def _until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _serving(workers: int, directory: Path, **settings: str) -> AsyncIterator[tuple[int, psutil.Popen]]:
    """A server in a process group of its own, as a shell starts it."""
    port = free_port()
    environment = os.environ | {"GAN_SERVE_LOG": "off", "GAN_SERVE_WORKERS": str(workers)} | settings
    log = directory / "log.txt"
    with log.open("wb") as output:
        process = psutil.Popen(
            [*serve_command(port), "--model", MODEL],
            cwd=directory,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:

        async def ready() -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                return (await _get(port, "/readyz"))[0] == 200
            return False

        await _until(ready)
        await _until(lambda: all_ready(log, workers))
        yield port, process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
    assert "Traceback" not in log.read_text(), log.read_text()
    assert "/sample" not in log.read_text()  # GAN_SERVE_LOG=off leaves out requests


def _workers(process: psutil.Popen) -> dict[int, psutil.Process]:
    return workers_of(process.pid)


async def _ended(process: psutil.Popen) -> int:
    return int(await asyncio.to_thread(process.wait, PATIENCE))


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        pytest.param(signal.SIGTERM, 1, marks=pytest.mark.slow),
        (signal.SIGTERM, 2),
        pytest.param(signal.SIGINT, 2, marks=pytest.mark.slow),
    ],
    ids=["term-1", "term-2", "int-2"],
)
def test_no_accepted_request_is_lost_when_the_server_is_asked_to_end(
    number: signal.Signals, workers: int, tmp_path: Path
) -> None:
    async def run() -> None:
        async with _serving(workers, tmp_path) as (port, process):
            load = Load(port)
            await load.until(100)
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # Ctrl+C goes to all processes of the terminal
            else:
                process.send_signal(number)
            answered = load.answers.total()
            assert await _ended(process) == 0
            await load.stop()
            assert len(load.lost) <= 1  # a connection that nobody had accepted when the socket closed
            assert set(load.answers) == {200}
            assert load.answers.total() > answered  # while it drained
            assert load.refused  # after it had drained

    asyncio.run(run())


def test_while_the_server_drains_readyz_is_red_and_open_and_new_connections_get_their_responses(tmp_path: Path) -> None:
    async def run() -> None:
        async with _serving(1, tmp_path, GAN_SERVE_DRAIN="3") as (port, process):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            status, headers, _ = await _ask(reader, writer, "GET /readyz", keep=True)
            assert (status, headers.get("connection")) == (200, None)
            new_reader, new_writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await _get(port, "/livez"))[0] == 200  # the worker has accepted it
            process.terminate()

            async def red() -> bool:
                return (await _get(port, "/readyz"))[0] == 503

            await _until(red)
            status, headers, _ = await _ask(reader, writer, "POST /sample", BODY, keep=True)
            assert (status, headers["connection"]) == (200, "close")
            writer.close()
            assert (await _get(port, "/livez"))[0] == 200
            with contextlib.suppress(OSError, EOFError):
                while True:
                    await _get(port, "/livez")
            assert (await _ask(new_reader, new_writer, "POST /sample", BODY))[0] == 200
            new_writer.close()
            assert await _ended(process) == 0

    asyncio.run(run())


def test_a_long_answer_and_a_stream_are_finished_after_sigterm_and_nobody_hangs_meanwhile(tmp_path: Path) -> None:
    images = {"model": MODEL, "seeds": "0-599", "format": "npz"}
    walk = {"model": MODEL, "seeds": "0,1", "steps": 700, "format": "ndjson"}

    async def run() -> None:
        async with (
            _serving(1, tmp_path, GAN_SERVE_DRAIN="0") as (port, process),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client,
            client.stream("POST", "/interpolate", json=walk) as stream,
        ):
            long = asyncio.create_task(client.post("/sample", json=images))

            async def drawing() -> bool:
                return "gan_serve_queued_requests 2.0" in (await _get(port, "/metrics"))[1]

            await _until(drawing)
            process.terminate()
            await _until(lambda: _refuses(port))
            assert process.poll() is None  # nobody waits in vain for a server that only finishes what it has
            assert [json.loads(line)["frame"] async for line in stream.aiter_lines()] == list(range(701))
            answer = await long
            assert answer.status_code == 200
            with np.load(io.BytesIO(answer.content)) as arrays:
                assert len(arrays["images"]) == 600
            assert await _ended(process) == 0

    asyncio.run(run())


async def _refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), PATIENCE)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_worker_that_is_ended_or_killed_comes_back_and_takes_only_its_own_requests_along(
    workers: int, tmp_path: Path
) -> None:
    async def run() -> None:
        async with _serving(workers, tmp_path, GAN_SERVE_DRAIN="0.3") as (port, process):

            async def replaced(worker: psutil.Process) -> None:
                """Wait for a new process; then all clients get responses as before."""
                await _until(lambda: len(_workers(process)) == workers and worker.pid not in _workers(process))
                await load.until(100)
                assert (await _get(port, "/readyz"))[0] == 200

            load = Load(port)
            await load.until(100)
            ended = next(iter(_workers(process).values()))
            ended.terminate()
            await replaced(ended)
            assert set(load.answers) == {200}
            if workers > 1:
                assert load.refused == 0
            load.lost, load.refused = [], 0

            before = _workers(process)
            assert len(before) == workers
            killed = next(iter(before.values()))
            killed.kill()
            await _until(lambda: f"Worker {killed.pid} ended by signal SIGKILL." in (tmp_path / "log.txt").read_text())
            await replaced(killed)
            await load.stop()
            assert len(load.lost) <= CLIENTS  # those that the killed one was answering
            assert set(load.answers) == {200}
            assert load.refused == 0

            async def empty() -> bool:
                return "gan_serve_queued_requests 0.0" in (await _get(port, "/metrics"))[1]

            await _until(empty)
            survivors = set(before) - {killed.pid}
            assert survivors <= set(_workers(process))
            process.terminate()
            assert await _ended(process) == 0

    asyncio.run(run())


def test_asked_twice_the_server_ends_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with _serving(1, tmp_path, GAN_SERVE_DRAIN="600") as (_, process):
            [worker] = _workers(process).values()
            process.terminate()
            await _until(lambda: "Shutting down" in (tmp_path / "log.txt").read_text())
            worker.terminate()
            assert await _ended(process) == 0

    asyncio.run(run())
