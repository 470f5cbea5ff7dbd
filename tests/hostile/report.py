"""Print a table of the hostile files: the error of each, and the seconds and megabytes beyond imports that it takes.

PYTHONPATH=tests:tests/hostile python tests/hostile/report.py
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hostile_networks import NETWORKS, write
from measured import Measured, measure
from test_files import CONFIGS
from test_receipts import CLAIMS, forged
from tiny_checkpoint import write_checkpoint


def measurements(folder: Path) -> Iterator[tuple[str, Measured]]:
    """Yield the name of each file and what it took."""
    for build in NETWORKS:
        name = build.__name__
        yield f"network: {name.replace('_', ' ')}", measure("load", write(write_checkpoint(folder / name), build()))
    for number, (name, content) in enumerate(CONFIGS.items()):
        directory = write_checkpoint(folder / f"config-{number}")
        (directory / "config.json").write_bytes(content())
        yield f"config: {name}", measure("load", directory)
    for name in ("config.json", "generator.onnx"):
        for kind in ("/dev/zero", "a pipe"):
            path = write_checkpoint(folder / f"{name}-{kind[-4:]}") / name
            path.unlink()
            if kind == "a pipe":
                os.mkfifo(path)
            else:
                path.symlink_to(kind)
            yield f"{name}: {kind}", measure("load", path.parent)
    for name, claims in CLAIMS.items():
        yield f"receipt: {name}", measure("verify", forged(folder / "forged.png", **claims))
    yield "receipt: 12,000 x 12,000 pixels", measure("verify", forged(folder / "large.png", side=12_000, seed=1))


def main() -> None:
    """Measure all files and print a row for each."""
    print("| file | error | s | MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, measured in measurements(Path(folder)):
            message = measured.message.replace(folder, "")[:90]
            row = f"{measured.error}: {message} | {measured.seconds:.2f} | {measured.megabytes:.0f}"
            print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
