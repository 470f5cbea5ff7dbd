"""The app of the service under uvicorn, granian and BentoML, in turns: single images a second, as a ratio to uvicorn.

On two busy cores, int8, medians of four turns of three seconds: granian 0.74 with 8 connections and 0.81 with 32;
bentoml serve 1.14 and 1.07, within what the turns differ by (0.88 to 1.66). An earlier run of three turns had granian
at 0.69 and 0.91, bentoml serve at 1.47 and 0.86.

Needs wrk; granian is installed for it alone: pip install granian.

    python benchmarks/asgi_servers.py --rounds 5 --seconds 4
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

MODEL = "fashion-dcgan"
SCRIPT = Path(__file__).parent / "serving_peers" / "post.lua"
BODY = f'{{"model": "{MODEL}", "seed": %d}}'


def commands(port: int) -> dict[str, list[str]]:
    """The servers by name, each with two workers."""
    run = [sys.executable, "-m"]
    app = "gan_serve.service.app:create"
    return {
        "gan-serve serve (uvicorn)": [*run, "gan_serve.cli", "serve", "--port", str(port)],
        "granian": [
            *(*run, "granian", "--interface", "asgi", "--factory", "--workers", "2", "--port", str(port)),
            *("--loop", "uvloop", "--no-ws", app),
        ],
        "bentoml serve": [
            *(*run, "bentoml", "serve", "gan_serve.service:GanService", "--host", "127.0.0.1", "--port", str(port)),
        ],
    }


@contextlib.contextmanager
def serving(name: str, precision: str) -> Iterator[int]:
    """Start a server and wait until it is ready; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = {"MODELS": MODEL, "WORKERS": "2", "PRECISION": precision, "LOG": "off"}
    environment = {f"GAN_SERVE_{key}": value for key, value in settings.items()} | {"BENTOML_DO_NOT_TRACK": "True"}
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            commands(port)[name],
            env=os.environ | environment,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                    break
                time.sleep(0.2)
            yield port
        finally:
            process.terminate()
            process.wait(60)


def turn(port: int, connections: int, seconds: int, first_seed: int) -> float:
    """Images a second."""
    address = f"http://127.0.0.1:{port}/sample"
    load = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT), address, "--", BODY]
    output = subprocess.run([*load, str(first_seed), "1"], check=True, capture_output=True, text=True).stdout
    counted = json.loads(output.strip().splitlines()[-1])
    if counted["refused"]:
        raise RuntimeError(f"{counted['refused']} requests were refused.")
    return counted["answers"] / counted["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of a turn")
    parser.add_argument("--precision", default="int8")
    options = parser.parse_args()
    names = list(commands(0))
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(serving(name, options.precision)) for name in names}
        for port in ports.values():
            turn(port, 8, 2, 0)
        for connections in (8, 32):
            rates: dict[str, list[float]] = {name: [] for name in names}
            for number in range(options.rounds):
                for name in names if number % 2 else reversed(names):
                    rates[name].append(turn(ports[name], connections, options.seconds, number * 1_000_000))
            base = rates[names[0]]
            for name in names:
                ratios = [rate / other for rate, other in zip(rates[name], base, strict=True)]
                print(
                    f"{options.precision}, {connections} connections, {name}: {statistics.median(rates[name]):.0f} "
                    f"images/s, {statistics.median(ratios):.2f} of uvicorn ({min(ratios):.2f} to {max(ratios):.2f})"
                )


if __name__ == "__main__":
    main()
