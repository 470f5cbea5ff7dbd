"""Write docs/tour.ipynb, which shows every step of the package, with its outputs: python docs/tour.py.

It runs top to bottom in tests/test_notebooks.py. It reads Fashion-MNIST, trains for a minute and starts a server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from learn import cell, notebook, run

from gan_serve.atomic_files import write_atomically

OUT = Path(__file__).with_suffix(".ipynb")

CELLS = (
    (
        "markdown",
        """# The tour

Every step of gan-serve in one notebook: sample, choose a class, walk, verify, evaluate, train, export, serve.
The first half needs `pip install gan-serve`; from "Evaluate" on, it needs the extra `[train]`.
It writes to a temporary folder, and takes a few minutes.""",
    ),
    (
        "code",
        """import os
import tempfile

os.chdir(tempfile.mkdtemp())""",
    ),
    (
        "markdown",
        """## Sample
A seed is an image: seed 7 gives the same pixels each time, alone or beside others.""",
    ),
    (
        "code",
        """import gan_serve

gan_serve.generate("fashion-dcgan", n=8, seed=0)""",
    ),
    ("markdown", "## Choose a class\nThe same latents under three labels, a list of images for each."),
    (
        "code",
        """rows = gan_serve.condition("fashion-cgan", seeds="0-7", labels=["Sneaker", "Bag", "Coat"])
rows["Sneaker"]""",
    ),
    ("markdown", "## Walk\nFrames along the sphere through three seeds, and back to the first one."),
    ("code", """gan_serve.interpolate("fashion-dcgan", seeds=[0, 5, 9], steps=8, loop=True)"""),
    ("markdown", "## A grid, and its receipt\nThe PNG says how to make it again, and `verify_image` does so."),
    (
        "code",
        """from gan_serve.verify import verify_image

generator = gan_serve.Generator.from_pretrained("fashion-dcgan")
samples = generator.sample(seeds="0-63", truncation=0.8)
with open("grid.png", "wb") as file:
    file.write(samples.grid_png())
verification = verify_image("grid.png")
assert verification.max_difference == 0
verification.receipt.seeds[:4], verification.receipt.truncation, verification.max_difference""",
    ),
    ("code", "samples"),
    (
        "markdown",
        """## Evaluate
The checkpoint against images that its training did not see.
With 500 images the numbers are rough; `gan-serve evaluate` takes 10,000.""",
    ),
    (
        "code",
        """from gan_serve.exports.evaluate_model import RealImages, evaluate_model
from gan_serve.training.evaluation.evaluate import EvaluationOptions

options = EvaluationOptions(images=500, truncations=False, neighbour_pairs=False, quiet=True)
evaluation = evaluate_model("fashion-cgan", RealImages("fashion-mnist"), options=options)
{name: round(value, 3) for name, value in evaluation.metrics.items() if name.startswith(("fd", "recall"))}""",
    ),
    (
        "markdown",
        "## Train for a minute\nThe recipe, the size and the length are chosen by the images and this machine.",
    ),
    (
        "code",
        """from gan_serve.training import train

finished = train("fashion-mnist", minutes=1, run_dir="run")
assert finished.is_complete
finished.run_dir.name, finished.kimg > 0""",
    ),
    (
        "markdown",
        """## Export
ONNX is compared with torch before anything is written.
The result is a checkpoint like those in the package.""",
    ),
    (
        "code",
        """from gan_serve.exports.export import export_run

checkpoint = export_run("run", "mine", precisions=["fp32"])
mine = gan_serve.Generator.from_pretrained(checkpoint)
mine.generate(n=8, seed=0)""",
    ),
    ("markdown", "## Serve it\nA server in a process of its own, and a client with the same calls."),
    (
        "code",
        """import socket
import subprocess
import sys
import time

import httpx

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{free.getsockname()[1]}"
command = [sys.executable, "-m", "gan_serve", "serve", "--port", address.rpartition(":")[2], "--model", "mine"]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
deadline = time.monotonic() + 120
while True:
    try:
        if httpx.get(f"{address}/readyz").is_success:
            break
    except httpx.TransportError:
        pass
    assert server.poll() is None, "the server ended"
    assert time.monotonic() < deadline, "the server did not start"
    time.sleep(0.5)""",
    ),
    (
        "code",
        """try:
    with gan_serve.Client(address) as client:
        served = client.generate("mine", n=8, seed=0)
finally:
    server.terminate()
    server.wait()
assert [image.tobytes() for image in served] == [image.tobytes() for image in mine.generate(n=8, seed=0)]""",
    ),
    ("markdown", "The same seeds, the same pixels: in the process and over HTTP."),
)


def cells() -> list[dict[str, Any]]:
    """Return the cells without outputs."""
    return [cell(kind, text, f"tour-{number}") for number, (kind, text) in enumerate(CELLS)]


if __name__ == "__main__":
    made = cells()
    run(made)
    print(write_atomically(OUT, json.dumps(notebook(made), indent=1, ensure_ascii=False) + "\n"))
