"""Measure gan-serve at several times its capacity: responses, latencies, and the time to recover.

    python benchmarks/overload.py                                a minute at four times capacity; writes robustness.md
    python benchmarks/overload.py --seconds 20 --no-report

Clients in a closed loop first measure the capacity. Then requests are sent at a fixed rate (an open loop), each on a
new connection. A request asks for 64 images, so that the load generator, which shares the cores, needs little of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from timing import describe_cpu

REPORT = Path(__file__).with_name("robustness.md")
HEADING = "# Overload and soak"
MODEL = "fashion-dcgan"
IMAGES = 64
CAPACITY_CLIENTS = 16
CAPACITY_SECONDS = 8
FACTOR = 4
CALM = 20  # consecutive requests that must be as fast as before the overload
TOLERANCE = 3  # a latency of up to so many times the earlier median counts as normal
MEGABYTE = 2**20


@dataclass
class Server:
    """A running server."""

    port: int
    process: psutil.Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> list[psutil.Process]:
        found = []
        for child in self.process.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if any("multiprocessing.spawn" in part for part in child.cmdline()):
                    found.append(child)
        return found

    def sizes(self) -> list[float]:
        """Return the memory (RSS) of each worker in megabytes."""
        return [worker.memory_info().rss / MEGABYTE for worker in self.workers()]

    def megabytes(self) -> float:
        """Return the memory (RSS) of all workers."""
        return sum(self.sizes())


@contextlib.contextmanager
def serving(*models: str, **settings: str) -> Iterator[Server]:
    """Start ``gan-serve serve`` with its defaults but without a log, and yield it when it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-c", "from gan_serve.cli import main; main()", "serve", "--port", str(port)]
    for model in models:
        command += ["--model", str(Path(model).resolve()) if Path(model).exists() else model]
    environment = os.environ | {"GAN_SERVE_LOG": "off", "BENTOML_DO_NOT_TRACK": "True"} | settings
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as elsewhere:
        process = subprocess.Popen(command, cwd=elsewhere, env=environment, stdout=log, stderr=log)
        try:
            server = Server(port, psutil.Process(process.pid))
            deadline = time.monotonic() + 120
            while not _ready(server):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"The server did not start:\n{log.read().decode()}")
                time.sleep(0.2)
            yield server
        finally:
            process.terminate()
            process.wait(60)


def _ready(server: Server) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{server.url}/readyz").status_code == 200 and len(server.workers()) > 0
    return False


@dataclass
class Outcome:
    """The responses in a phase: latencies in seconds by status; ``lost`` counts requests without a response."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)

    def add(self, status: str, seconds: float) -> None:
        self.seconds.setdefault(status, []).append(seconds)


async def ask(port: int, outcome: Outcome, source: random.Random) -> None:
    """Send one request on a new connection."""
    body = json.dumps({"model": MODEL, "seed": source.randrange(2**31), "n": IMAGES, "format": "png"}).encode()
    head = "POST /sample HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    began = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            first, *_ = (answer_head := await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            [length] = re.findall(rb"content-length: (\d+)", answer_head.lower())
            await reader.readexactly(int(length))
        finally:
            writer.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        outcome.lost[type(error).__name__] += 1
    else:
        outcome.add(first.split()[1].decode(), time.perf_counter() - began)


async def closed_loop(port: int, clients: int, seconds: float) -> float:
    """Return the responses per second with so many clients that wait for each response."""
    outcome, source, end = Outcome(), random.Random(1), time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < end:
            await ask(port, outcome, source)

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(clients)))
    return len(outcome.seconds.get("200", [])) / (time.monotonic() - began)


async def open_loop(port: int, rate: float, seconds: float, normal: float) -> tuple[Outcome, float, float]:
    """Send requests at ``rate`` per second; return the outcome, the actual rate, and the time to recover."""
    outcome, source = Outcome(), random.Random(2)
    began = time.monotonic()
    waiting: set[asyncio.Task[None]] = set()
    sent = 0
    while (now := time.monotonic() - began) < seconds:
        while sent < now * rate:
            task = asyncio.create_task(ask(port, outcome, source))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            sent += 1
        await asyncio.sleep(0.002)
    elapsed = time.monotonic() - began
    recovered = await seconds_until_normal(port, normal)  # while the last requests still wait
    await asyncio.gather(*waiting)
    return outcome, sent / elapsed, recovered


async def seconds_until_normal(port: int, normal: float) -> float:
    """Return the time until the first of CALM consecutive responses within the normal time."""
    began = time.monotonic()
    source = random.Random(3)
    since: float | None = None
    calm = 0
    while calm < CALM and time.monotonic() - began < 60:
        outcome, sent = Outcome(), time.monotonic() - began
        await ask(port, outcome, source)
        if outcome.seconds.get("200", [normal + 1])[0] <= normal:
            since = sent if calm == 0 else since
            calm += 1
        else:
            calm = 0
    return since if since is not None and calm == CALM else float("inf")


async def measure(server: Server, seconds: float) -> list[str]:
    """Run all phases; return the lines of the report."""
    await closed_loop(server.port, CAPACITY_CLIENTS, 2)
    calm, source = Outcome(), random.Random(4)
    for _ in range(CALM):
        await ask(server.port, calm, source)
    alone = statistics.median(calm.seconds["200"])
    capacity = await closed_loop(server.port, CAPACITY_CLIENTS, CAPACITY_SECONDS)
    before = server.megabytes()
    most = before
    workers = {worker.pid for worker in server.workers()}

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, server.megabytes())
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    outcome, rate, recovered = await open_loop(server.port, FACTOR * capacity, seconds, TOLERANCE * alone)
    watching.cancel()
    after = server.megabytes()
    total = sum(map(len, outcome.seconds.values())) + outcome.lost.total()
    accepted = sorted(outcome.seconds.get("200", [float("nan")]))
    statuses = ", ".join(f"{status}: {len(times):,}" for status, times in sorted(outcome.seconds.items()))
    refused = sorted(outcome.seconds.get("429", []) + outcome.seconds.get("503", []))
    checks = {
        "only 200, 429 and 503, and a response to every request": set(outcome.seconds) <= {"200", "429", "503"}
        and not outcome.lost,
        "the workers are the same processes": {worker.pid for worker in server.workers()} == workers,
        "memory flat (under 5 % more after than before)": after < 1.05 * before,
        "normal again within 5 s": recovered <= 5,
    }
    return [
        f"- Capacity: {capacity:.0f} requests/s of {IMAGES} images each ({capacity * IMAGES:,.0f} images/s), "
        f"{CAPACITY_CLIENTS} clients in a closed loop; a request alone takes {1000 * alone:.0f} ms.",
        f"- Offered: {rate:.0f} requests/s ({rate / capacity:.1f} times capacity) for {seconds:g} s, {total:,} in all, "
        "each on a new connection.",
        f"- Responses: {statuses}; requests without a response: {dict(outcome.lost) or 0}. Accepted: "
        f"{len(accepted) / seconds:.0f}/s ({len(accepted) / seconds / capacity:.0%} of capacity).",
        f"- Accepted requests: p50 {_ms(accepted, 0.5)}, p99 {_ms(accepted, 0.99)}, slowest {_ms(accepted, 1)}."
        + (f" Refused ones: p50 {_ms(refused, 0.5)}, p99 {_ms(refused, 0.99)}." if refused else ""),
        f"- Memory of {len(workers)} workers: {before:.0f} MB before, {most:.0f} MB at most, {after:.0f} MB after.",
        f"- Normal again ({CALM} consecutive responses within {TOLERANCE} times the latency of a single request): "
        f"{recovered:.1f} s after the last request was sent.",
        *(f"- {'Yes' if met else '**NO**'}: {claim}." for claim, met in checks.items()),
    ]


def _ms(ordered: list[float], share: float) -> str:
    return f"{1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]:.0f} ms"


def write_section(title: str, lines: list[str]) -> None:
    """Replace the section with this title in the report, or append it."""
    text = REPORT.read_text() if REPORT.exists() else HEADING
    sections = dict(section.split("\n", 1) for section in text.split("\n## ")[1:])
    sections[title] = "\n" + "\n".join(lines) + "\n"
    parts = [f"## {name}\n\n{sections[name].strip()}\n" for name in sorted(sections)]
    REPORT.write_text(
        f"{HEADING}\n\nWritten by overload.py, soak.py, bursts.py and worker_memory.py, which explain the measurements."
        "\n\n" + "\n".join(parts)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--no-report", action="store_true")
    arguments = parser.parse_args()
    with serving(MODEL) as server:
        lines = asyncio.run(measure(server, arguments.seconds))
    print("\n".join(lines))
    if not arguments.no_report:
        machine = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {describe_cpu()}, shared with the server."
        write_section("Overload", [machine, "", *lines])
    if any("**NO**" in line for line in lines):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
