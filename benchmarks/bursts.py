"""Measure how the connections that a client opens at once are spread over the workers, and what that is worth.

    python benchmarks/bursts.py          writes a section of robustness.md
    PYTHONPATH=OTHER python benchmarks/bursts.py --title "Bursts of connections, before"      for another gan_serve

It needs wrk. Each run of it opens its connections in a burst and keeps them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import socket
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from overload import Server, serving, write_section
from timing import describe_cpu

MODEL = Path(__file__).parents[1] / "gan_serve" / "checkpoints" / "faces-wgan-gp"  # a DCGAN, 64x64x3
BURSTS = 40
CONNECTIONS = 8
SECONDS = 2  # of a run of wrk
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local seed = 0
request = function() seed = seed + 1; return wrk.format(nil, "/sample", nil, '{"seed":' .. seed .. '}') end
"""


def accepted_by_the_busiest(server: Server) -> int:
    """Return the number of connections of one burst that the busiest worker accepts."""
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", server.port))
        time.sleep(0.2)
        counts: Counter[int] = Counter()
        for worker in server.workers():
            open_here = worker.net_connections("tcp")
            counts[worker.pid] = sum(c.status == "ESTABLISHED" and c.laddr.port == server.port for c in open_here)
    time.sleep(0.1)
    return max(counts.values())


def images_per_second(server: Server, script: str) -> float:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}", "-s", script, server.url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None or "Non-2xx" in output:
        raise SystemExit(output)
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--title", default="Bursts of connections")
    parser.add_argument("--rounds", type=int, default=10, help="runs of wrk")
    options = parser.parse_args()
    with serving(str(MODEL), GAN_SERVE_PRECISION="int8") as server, tempfile.NamedTemporaryFile("w") as script:
        script.write(SCRIPT)
        script.flush()
        busiest = Counter(accepted_by_the_busiest(server) for _ in range(BURSTS))
        speeds = [images_per_second(server, script.name) for _ in range(options.rounds)]
        workers = len(server.workers())
    counts = ", ".join(f"{accepted}: {count}" for accepted, count in sorted(busiest.items()))
    lines = [
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {describe_cpu()}, shared with the clients.",
        "",
        f"- {BURSTS} bursts of {CONNECTIONS} connections to {workers} workers; how many the busiest worker accepted, "
        f"and in how many bursts: {counts}.",
        f"- {options.rounds} runs of wrk with {CONNECTIONS} connections, one int8 PNG a request: "
        f"{statistics.median(speeds):.0f} images/s in the median, {min(speeds):.0f} to {max(speeds):.0f}.",
    ]
    print("\n".join(lines))
    write_section(options.title, lines)


if __name__ == "__main__":
    main()
