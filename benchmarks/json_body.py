"""The service's own reading of JSON bodies beside FastAPI's: microseconds a request, in turns, no network.

python benchmarks/json_body.py
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import Message, Scope

from gan_serve.service.error_responses import add_error_handlers
from gan_serve.service.json_body import BodyRoute
from gan_serve.service.schemas import SampleRequest
from gan_serve.service.settings import Settings

CALLS, ROUNDS = 2000, 7
BODIES = {
    "a seed": json.dumps({"model": "fashion-dcgan", "seed": 7}).encode(),
    "1,000 latents": json.dumps({"model": "fashion-dcgan", "latents": [[0.125] * 100] * 1000}).encode(),
}


def make(own: bool) -> FastAPI:
    app = FastAPI()
    app.state.settings = Settings()
    add_error_handlers(app)
    if own:
        app.router.route_class = BodyRoute

    @app.post("/sample", response_class=Response)
    async def sample(body: SampleRequest, request: Request) -> Response:
        return Response(b"")

    return app


async def call(app: FastAPI, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope: Scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/sample", "query_string": b""}

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        assert message.get("status", 200) == 200, message

    await app(scope | {"headers": headers}, receive, send)


async def main() -> None:
    apps = {"own": make(True), "FastAPI": make(False)}
    for name, body in BODIES.items():
        calls = CALLS if len(body) < 1000 else 10
        times: dict[str, list[float]] = {kind: [] for kind in apps}
        for _ in range(ROUNDS):
            for kind, app in apps.items():
                began = time.process_time()
                for _ in range(calls):
                    await call(app, body)
                times[kind].append((time.process_time() - began) / calls * 1e6)
        own, theirs = (statistics.median(times[kind]) for kind in apps)
        print(f"{name}: own {own:.0f} µs, FastAPI {theirs:.0f} µs, ratio {theirs / own:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
