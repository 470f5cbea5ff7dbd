"""Measure the memory of one worker under requests that ask for as much as the limits allow.

    python benchmarks/worker_memory.py                      three minutes; writes robustness.md
    python benchmarks/worker_memory.py --seconds 10 --no-report

First the request that once took a worker to 6.3 GB (1,024 frames of a walk through 100,000 seeds) again and again, in
three formats; then all formats at once with images of noise, which no format compresses: responses of up to 64 MB; then
uploads of the largest pictures that are decoded, and of those with the largest outputs.
Eight clients each; the memory (RSS) is read twenty times a second.
"""

from __future__ import annotations

import argparse
import base64
import io
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from overload import MODEL, Server, serving, write_section
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # its checkpoint of noise

CLIENTS = 8
LONG_WALK = {"model": MODEL, "seeds": "0-99999", "start": 0, "stop": 1024}
MOST_FRAMES = {"json": 250, "npz": 330, "png": 330, "zip": 330, "gif": 330, "webp": 330, "ndjson": 1000}
BOUND = 600  # megabytes


def measure(
    server: Server, bodies: list[dict[str, Any]], seconds: float, path: str = "/interpolate"
) -> tuple[float, float, Counter[int], int]:
    """Send the requests in turns; return megabytes before and at most, statuses, and bytes received."""
    end, before, most = time.monotonic() + seconds, max(server.sizes()), 0.0
    statuses: Counter[int] = Counter()
    received = [0]

    def client(number: int) -> None:
        with httpx.Client(base_url=server.url, timeout=300) as http:
            while time.monotonic() < end:
                body = bodies[number % len(bodies)]
                number += 1
                with http.stream("POST", path, json=body) as response:
                    for part in response.iter_bytes():
                        received[0] += len(part)
                statuses[response.status_code] += 1
                if response.status_code == 429:
                    time.sleep(0.2)

    with ThreadPoolExecutor(CLIENTS) as pool:
        working = [pool.submit(client, number) for number in range(CLIENTS)]
        while not all(each.done() for each in working):
            most = max(most, *server.sizes())
            time.sleep(0.05)
        for each in working:
            each.result()
    return before, most, statuses, received[0]


def uploads() -> list[dict[str, Any]]:
    """Return requests for translations of pictures of 16 million pixels, and of a picture with an output of 5.5."""
    clear, opaque = Image.new("RGBA", (4096, 4096), (10, 20, 30, 99)), Image.new("RGB", (4096, 4096))
    small = Image.frombytes("RGB", (1150, 1150), random.Random(0).randbytes(3 * 1150**2))
    png, webp, jpeg = _encoded(clear, "PNG"), _encoded(clear, "WEBP"), _encoded(opaque, "JPEG")
    large = [{"model": "negative", "images": images} for images in ([png], [webp], [jpeg], [png, webp, jpeg, png])]
    photo = _encoded(small, "JPEG")
    return large + [{"model": "doubled", "images": [photo], "format": format} for format in ("png", "zip", "webp")]


def _encoded(image: Image.Image, format: str) -> str:
    out = io.BytesIO()
    image.save(out, format)
    return base64.b64encode(out.getvalue()).decode()


def line(what: str, seconds: float, run: Callable[[], tuple[float, float, Counter[int], int]]) -> tuple[str, bool]:
    """Return the line of the report, and whether the bound held."""
    before, most, statuses, received = run()
    counted = ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))
    text = f"{what}, {seconds:g} s: {counted}; {received / 1e6:,.0f} MB received. The worker had {before:.0f} MB before"
    return f"- {text} and {most:.0f} MB at most.", most < BOUND


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of each of the three parts")
    parser.add_argument("--no-report", action="store_true")
    arguments = parser.parse_args()
    from test_service_memory import noise_checkpoint
    from tiny_translator import write_translator

    seconds = arguments.seconds
    long = [LONG_WALK | {"format": format} for format in ("json", "zip", "ndjson")]
    with serving(MODEL, GAN_SERVE_WORKERS="1") as server:
        first = line("The walk through 100,000 seeds", seconds, lambda: measure(server, long, seconds))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = noise_checkpoint(Path(folder) / "noise")
        mixed = [
            {"model": "noise", "format": format, "seeds": "0,1", "steps": frames - 1}
            for format, frames in MOST_FRAMES.items()
        ]
        with serving(str(checkpoint), GAN_SERVE_WORKERS="1", GAN_SERVE_TIMEOUT="120") as server:
            second = line("All formats with noise", seconds, lambda: measure(server, mixed, seconds))
    with tempfile.TemporaryDirectory() as folder:
        translators = [
            str(write_translator(Path(folder) / name, any_size=name == "doubled")) for name in ("negative", "doubled")
        ]
        with serving(*translators, GAN_SERVE_WORKERS="1", GAN_SERVE_TIMEOUT="120") as server:
            third = line("The largest uploads", seconds, lambda: measure(server, uploads(), seconds, "/translate"))
    parts = (first, second, third)
    held = all(part[1] for part in parts)
    lines = [part[0] for part in parts]
    lines += [f"- {'Yes' if held else '**NO**'}: the worker stays under {BOUND} MB."]
    print("\n".join(lines))
    if not arguments.no_report:
        write_section("Memory of a worker", [f"{time.strftime('%Y-%m-%d')}, {CLIENTS} clients.", "", *lines])
    if not held:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
