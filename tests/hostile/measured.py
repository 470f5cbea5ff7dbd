"""Run a call in a process of its own and measure its error, its seconds and its memory."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

RUN = """
import json, pathlib, sys, time
import numpy, onnxruntime, PIL.Image
from gan_serve import Generator
from gan_serve.errors import GanServeError
from gan_serve.verify import verify_image
if sys.argv[1] == "images":
    from gan_serve.training.data.load import load_images
    import pyarrow.parquet
else:
    load_images = None
def peak():  # not getrusage: its maximum begins with that of the process that started this one
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
before, started, kind, message = peak(), time.perf_counter(), "", ""
try:
    {"load": Generator.from_pretrained, "verify": verify_image, "images": load_images}[sys.argv[1]](*sys.argv[2:])
except GanServeError as error:
    kind, message = type(error).__name__, str(error)
print(json.dumps([kind, message, time.perf_counter() - started, peak() - before]))
"""


class Measured(NamedTuple):
    """The error of a call (empty if there is none), the seconds and the megabytes that it took."""

    error: str
    message: str
    seconds: float
    megabytes: float


def measure(call: str, *arguments: object) -> Measured:
    """Return what ``load`` (a directory), ``verify`` (a PNG, a directory) or ``images`` (a data set) does."""
    command = [sys.executable, "-c", RUN, call, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return Measured(*json.loads(done.stdout))
