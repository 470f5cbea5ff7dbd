"""CPU time of a request in one process: uvicorn's protocol with a transport that discards, the app, a sampling thread.

On a busy machine it is steadier than images a second. If PYTHONPATH has another gan_serve, that one is measured.

    python benchmarks/request_cpu.py                       gan-serve
    python benchmarks/request_cpu.py --app fastapi         the peer of serving.py
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

HERE = Path(__file__).parent
MODEL = HERE.parent / "gan_serve" / "checkpoints" / "faces-wgan-gp"
HEAD = b"POST /sample HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Transport(asyncio.Transport):
    """A transport that keeps the first line of each response only."""

    status = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 5000), "sockname": ("127.0.0.1", 3000)}.get(name, default)

    def write(self, data: Any) -> None:
        if data[:4] == b"HTTP":
            self.status = data[:12]

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass


class Load:
    """Connections that send one request after the other, each with another seed."""

    def __init__(self, kind: type[HttpToolsProtocol], app: Any) -> None:
        self.seed = 0
        config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="off")
        config.load()
        load = self

        class Protocol(kind):  # type: ignore[valid-type, misc]
            def on_response_complete(self) -> None:
                super().on_response_complete()
                load.responses += 1
                if load.responses < load.requests:
                    self.loop.call_soon(load.send, self)
                elif load.responses == load.requests + load.connections - 1:
                    load.done.set_result(None)

        self.connect = lambda: Protocol(config, ServerState(), {})

    def send(self, protocol: HttpToolsProtocol) -> None:
        self.seed += 1
        body = b'{"seed": %d}' % self.seed
        protocol.data_received(HEAD % len(body) + body)

    async def run(self, connections: int, requests: int) -> tuple[float, float]:
        """Return the CPU time of a request in microseconds: of the process, and of the event loop's thread."""
        self.responses, self.requests, self.connections = 0, requests, connections
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        protocols = [self.connect() for _ in range(connections)]
        for protocol in protocols:
            protocol.connection_made(Transport())
        process, thread = time.process_time(), time.thread_time()
        for protocol in protocols:
            self.send(protocol)
        await self.done
        seconds = time.process_time() - process, time.thread_time() - thread
        for protocol in protocols:
            assert protocol.transport.status.endswith(b"200"), protocol.transport.status
            protocol.connection_lost(None)
        return seconds[0] / requests * 1e6, seconds[1] / requests * 1e6


async def start(app: Any) -> None:
    """Run the app's startup."""
    messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    started = asyncio.Event()

    async def send(_: Any) -> None:
        started.set()

    messages.put_nowait({"type": "lifespan.startup"})
    asyncio.get_running_loop().create_task(app({"type": "lifespan", "state": {}}, messages.get, send))
    await started.wait()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", choices=["gan-serve", "fastapi"], default="gan-serve")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    settings = {"MODELS": str(MODEL), "PRECISION": "int8", "THREADS": "1", "LOG": "json"}
    os.environ |= {f"GAN_SERVE_{name}": value for name, value in settings.items()}
    os.environ |= {"CHECKPOINT": str(MODEL), "NETWORK": "generator.int8.onnx", "OMP_NUM_THREADS": "1"}
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # the log costs what it costs, but is not shown
    if options.app == "fastapi":
        sys.path.insert(0, str(HERE / "serving_peers"))
        app, kind = importlib.import_module("fastapi_app").app, HttpToolsProtocol
    else:
        from gan_serve.service.app import create
        from gan_serve.service.http_limits import LimitedProtocol

        app, kind = create(), LimitedProtocol
    await start(app)
    load = Load(kind, app)
    await load.run(options.connections, options.requests)
    for _ in range(options.rounds):
        process, loop = await load.run(options.connections, options.requests)
        print(f"{options.app}: {process:.0f} µs a request, {loop:.0f} of it in the event loop", flush=True)
    os._exit(0)  # without the app's shutdown


if __name__ == "__main__":
    uvloop.run(main())
