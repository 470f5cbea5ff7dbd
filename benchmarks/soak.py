"""Run gan-serve under a long mixed load: all endpoints, formats and models, invalid requests, disconnecting clients.

    python benchmarks/soak.py --model fashion-dcgan --model DIR --minutes 30       writes robustness.md
    python benchmarks/soak.py --model fashion-dcgan --model avatars-sr4 --minutes 10
    python benchmarks/soak.py --minutes 4 --no-report

With a translator among the models, pictures are uploaded too, a third of them damaged; the report has its own section.

A few clients send random requests one after the other. Memory in the last minute is compared with that in the minute
after the first five minutes (in a short run, after its first quarter).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import io
import json
import os
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
from overload import MODEL, Server, serving, write_section
from PIL import Image
from timing import describe_cpu

CLIENTS = 6
PAUSE = 0.02  # longest pause of a client in seconds
SETTLING = 300  # seconds until memory is measured
MEASURED_EVERY = 5  # seconds
FORMATS = ("png", "webp", "npz", "json", "zip")
PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
WALK_FORMATS = (*FORMATS, "gif", "ndjson")


@dataclass
class Record:
    """The results of a run."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds since the start, megabytes
    largest: float = 0.0  # megabytes of the largest worker at any time


class Client:
    """One of the clients."""

    def __init__(self, url: str, models: list[dict[str, Any]], record: Record, number: int, pause: float) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=120)
        self.models = generators(models)
        self.translators = [model["name"] for model in models if model["task"] == "translate"]
        self.record = record
        self.random = random.Random(number)
        self.pause = pause

    async def run(self, end: float) -> None:
        kinds = [self.draw, self.draw, self.draw, self.walk, self.walk, self.look, self.err, self.ask_again, self.leave]
        kinds += [self.upload, self.upload] if self.translators else []
        async with self.http:
            while time.monotonic() < end:
                try:
                    await self.random.choice(kinds)()
                except httpx.TransportError as error:
                    self.record.unexpected.append(repr(error))
                await asyncio.sleep(self.random.random() * self.pause)

    async def _expect(self, kind: str, expected: set[int], method: str, path: str, **options: Any) -> httpx.Response:
        response = await self.http.request(method, path, **options)
        self.record.statuses[kind, response.status_code] += 1
        if response.status_code not in expected:
            self.record.unexpected.append(f"{method} {path}: {response.status_code} {response.text[:200]}")
        return response

    async def draw(self) -> None:
        """Sample images from seeds or latents, with labels."""
        model = self.random.choice(self.models)
        n = self.random.choice([1, 1, 1, 2, 7, 16, 64, 200])
        body: dict[str, Any] = {"model": model["name"], "format": self.random.choice(FORMATS)}
        body |= self.random.choice([{"n": n}, {"n": n, "seed": self.random.randrange(2**31)}, {"seeds": f"0-{n - 1}"}])
        body["truncation"] = self.random.choice([1.0, 0.7])
        if self.random.random() < 0.1:
            body = {"model": model["name"], "latents": [[self.random.gauss() for _ in range(model["z_dim"])]] * n}
        if model["c_dim"] and self.random.random() < 0.3:
            labels = None if n <= 64 else model["class_names"][:2]
            await self._expect("/condition", {200, 429}, "POST", "/condition", json=body | {"labels": labels})
            return
        if model["c_dim"]:
            body["label"] = self.random.choice(model["class_names"])
        await self._expect("/sample", {200, 429}, "POST", "/sample", json=body)

    async def walk(self) -> None:
        model = self.random.choice(self.models)
        body = {
            "model": model["name"],
            "seeds": [self.random.randrange(2**31) for _ in range(self.random.randint(2, 5))],
            "steps": self.random.choice([1, 4, 16]),
            "loop": self.random.random() < 0.5,
            "method": self.random.choice(["slerp", "lerp"]),
            "format": self.random.choice(WALK_FORMATS),
        }
        response = await self._expect("/interpolate", {200, 429}, "POST", "/interpolate", json=body)
        if body["format"] == "ndjson" and response.status_code == 200:
            lines = [json.loads(line) for line in response.text.splitlines()]
            if [line.get("frame") for line in lines] != list(range(lines[0]["frames"])):
                self.record.unexpected.append(f"A stream of {len(lines)} lines: {lines[-1]}"[:300])

    async def upload(self) -> None:
        """Translate pictures, some of them damaged, as a form or as JSON."""
        side = self.random.choice([8, 16, 40, 200])
        out = io.BytesIO()
        Image.frombytes("RGB", (side, side), self.random.randbytes(3 * side**2)).save(out, self.random.choice(PICTURES))
        content, expected = bytearray(out.getvalue()), {200, 429}
        if self.random.random() < 0.3:
            for _ in range(20):
                content[self.random.randrange(len(content))] = self.random.randrange(256)
            expected |= {422}
        fields = {"model": self.random.choice(self.translators), "format": self.random.choice(FORMATS)}
        if self.random.random() < 0.5:
            options: dict[str, Any] = {"data": fields, "files": {"images": ("picture", bytes(content))}}
        else:
            options = {"json": fields | {"images": [base64.b64encode(content).decode()]}}
        await self._expect("/translate", expected, "POST", "/translate", **options)

    async def look(self) -> None:
        name = self.random.choice(self.models)["name"]
        paths = ["/", "/models", f"/models/{name}", "/docs.json", "/livez", "/readyz", "/metrics"]
        path = self.random.choice([*paths, f"/models/{name}/samples.png"])
        await self._expect("GET", {200} | ({404} if path.endswith(".png") else set()), "GET", path)

    async def err(self) -> None:
        """Send a request that must be refused."""
        name = self.models[0]["name"]
        bodies: list[tuple[set[int], dict[str, Any]]] = [
            ({422}, {"json": {"model": name, "n": 0}}),
            ({422}, {"json": {"model": name, "n": 10**6}}),
            ({422}, {"json": {"model": name, "sedes": "0"}}),
            ({422}, {"json": {"model": name, "latents": [[0.0]]}}),
            ({422}, {"json": {"model": name, "truncation": -1}}),
            ({422}, {"json": {"model": name, "label": "nobody"}}),
            ({404}, {"json": {"model": "nobody"}}),
            ({400}, {"content": b"{", "headers": {"Content-Type": "application/json"}}),
            ({422}, {"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}),
            ({415}, {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
            ({413}, {"content": self._endless(), "headers": {"Content-Type": "application/json"}}),
        ]
        expected, options = self.random.choice(bodies)
        with contextlib.suppress(httpx.WriteError, httpx.ReadError if 413 in expected else httpx.WriteError):
            await self._expect("refused", expected, "POST", "/sample", **options)
        await self._expect("refused", {404, 405}, "GET", self.random.choice(["/nope", "/sample", "/models/nobody"]))

    @staticmethod
    async def _endless() -> Any:
        for _ in range(8):
            yield bytes(2**20)

    async def ask_again(self) -> None:
        """Repeat a request with the ETag of the response."""
        body = {"model": self.models[0]["name"], "seed": self.random.randrange(2**31)}
        first = await self._expect("/sample", {200, 429}, "POST", "/sample", json=body)
        if first.status_code == 200:
            headers = {"If-None-Match": first.headers["etag"]}
            await self._expect("/sample", {304}, "POST", "/sample", json=body, headers=headers)

    async def leave(self) -> None:
        """Disconnect in the middle of a stream, or before the response."""
        body = {"model": self.models[0]["name"], "seeds": "0-9", "steps": 100, "format": "ndjson"}
        async with self.http.stream("POST", "/interpolate", json=body) as response:
            self.record.statuses["left", response.status_code] += 1
            async for _ in response.aiter_raw():
                break
        with contextlib.suppress(httpx.TimeoutException):
            body = {"model": self.models[0]["name"], "seeds": "0-500", "format": "zip"}
            await self.http.post("/sample", json=body, timeout=0.05)


def generators(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [model for model in models if model["task"] == "generate"]


def digests(server: Server, models: list[dict[str, Any]]) -> dict[str, str]:
    """Return the sha256 of responses that must never change, by request."""
    asked: list[tuple[str, dict[str, Any]]] = []
    for model in generators(models):
        name = {"model": model["name"]}
        asked += [("/sample", name | {"seed": seed}) for seed in range(8)]
        asked += [("/sample", name | {"seeds": "0-99", "format": format, "truncation": 0.8}) for format in FORMATS]
        asked += [("/interpolate", name | {"seeds": [0, 5, 9], "format": format}) for format in WALK_FORMATS]
        if model["c_dim"]:
            asked.append(("/condition", name | {"seeds": "0-9"}))
    found = {}
    with httpx.Client(base_url=server.url, timeout=120) as client:
        for path, body in asked:
            response = client.post(path, json=body)
            response.raise_for_status()
            found[f"{path} {json.dumps(body)}"] = hashlib.sha256(response.content).hexdigest()
    return found


async def soak(server: Server, models: list[dict[str, Any]], seconds: float, pause: float) -> Record:
    """Run all clients for so many seconds."""
    record = Record()
    began = time.monotonic()
    clients = [Client(server.url, models, record, number, pause).run(began + seconds) for number in range(CLIENTS)]
    working = asyncio.gather(*clients)
    while not working.done():
        sizes = server.sizes()
        record.memory.append((time.monotonic() - began, sum(sizes)))
        record.largest = max(record.largest, *sizes)
        await asyncio.wait([working], timeout=MEASURED_EVERY)
    await working
    return record


def report(record: Record, same: bool, workers: tuple[set[int], set[int]], seconds: float) -> list[str]:
    """Return the lines of the report."""
    settled = min(SETTLING, seconds / 4)
    minute = round(min(60, seconds / 4) / MEASURED_EVERY)
    # Counted in measurements, since a pause of the whole process leaves minutes without any.
    early = statistics.mean([size for when, size in record.memory if when >= settled][:minute])
    late = statistics.mean([size for _, size in record.memory][-minute:])
    kinds = sorted({kind for kind, _ in record.statuses})
    counts = {
        kind: ", ".join(f"{status}: {n:,}" for (of, status), n in sorted(record.statuses.items()) if of == kind)
        for kind in kinds
    }
    answered = record.statuses.total()
    checks = {
        "no 5xx": not any(status >= 500 for _, status in record.statuses),
        "only expected responses": not record.unexpected,
        "memory grew by less than 5 %": late < 1.05 * early,
        "the same seeds gave the same bytes at the end as at the beginning": same,
        "the workers are the same processes": workers[0] == workers[1],
    }
    return [
        f"- {seconds / 60:g} minutes, {CLIENTS} clients, {answered:,} responses ({answered / seconds:.0f}/s).",
        *(f"- {kind}: {text}" for kind, text in counts.items()),
        f"- Memory of {len(workers[0])} workers: {record.memory[0][1]:.0f} MB at the start, {early:.0f} MB after "
        f"{settled / 60:g} minutes, {late:.0f} MB in the end ({late / early - 1:+.1%}), at most "
        f"{max(size for _, size in record.memory):.0f} MB; the largest worker had {record.largest:.0f} MB at most.",
        f"- Memory of all workers every five minutes, MB: {', '.join(every_five_minutes(record.memory))}.",
        *(f"- {'Yes' if met else '**NO**'}: {claim}." for claim, met in checks.items()),
        *(f"- Unexpected: `{text}`" for text in record.unexpected[:10]),
    ]


def every_five_minutes(memory: list[tuple[float, float]]) -> list[str]:
    """Return the first size of each five minutes."""
    return [
        f"{size:.0f}"
        for number, (when, size) in enumerate(memory)
        if when // 300 > memory[number - 1][0] // 300 or not number
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--model", action="append", help="served models; one with labels should be among them")
    parser.add_argument("--pause", type=float, default=PAUSE, help="the longest pause of a client, in seconds")
    parser.add_argument("--no-report", action="store_true")
    arguments = parser.parse_args()
    with serving(*(arguments.model or [MODEL]), GAN_SERVE_LOG="json") as server:
        models = httpx.get(f"{server.url}/models").json()["models"]
        workers = {worker.pid for worker in server.workers()}
        first = digests(server, models)
        seconds = 60 * arguments.minutes
        record = asyncio.run(soak(server, models, seconds, arguments.pause))
        same = digests(server, models) == first
        lines = report(record, same, (workers, {worker.pid for worker in server.workers()}), seconds)
    print("\n".join(lines))
    if not arguments.no_report:
        machine = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {describe_cpu()}, shared with the server."
        title = "Soak with uploads" if len(generators(models)) < len(models) else "Soak"
        write_section(title, [machine, "", f"Models: {', '.join(model['name'] for model in models)}.", "", *lines])
    if any("**NO**" in line for line in lines):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
