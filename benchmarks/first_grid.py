"""Measure the time to the first grid of a run: ``python benchmarks/first_grid.py photos/ --busy 2``.

Starts ``gan-serve train --data DATA --minutes 20`` beside busy processes, prints what it prints with the seconds since
the start, and ends it after its first grid.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--busy", type=int, default=0, help="processes that compute meanwhile")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds")
    arguments = parser.parse_args()
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(arguments.busy)]
    command = [sys.executable, "-m", "gan_serve", "train", "--data", str(arguments.data.resolve()), "--minutes", "20"]
    try:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            run = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

            def repeat() -> None:
                for line in run.stdout or ():
                    print(f"{time.perf_counter() - start:6.1f} {line.rstrip()}", flush=True)

            reader = threading.Thread(target=repeat)
            reader.start()
            while not list(Path(folder).glob("runs/*/grids/*.png")):
                if run.poll() is not None or time.perf_counter() - start > arguments.limit:
                    break
                time.sleep(0.05)
            print(f"first grid after {time.perf_counter() - start:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
            run.send_signal(signal.SIGINT)
            run.wait()
            reader.join()
    finally:
        for other in others:
            other.kill()


if __name__ == "__main__":
    main()
