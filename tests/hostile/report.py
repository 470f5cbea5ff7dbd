"""Print the error of each hostile file, and the seconds and megabytes that it takes beyond imports: make hostile.

It fails where one takes more than 5 seconds of a processor or 500 MB.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from disguised_networks import DISGUISED, size_by_the_crossover
from hostile_data import DATA, LATENTS, TABLES
from hostile_networks import NETWORKS, write
from hostile_runs import EXTRACTORS, LOGS, RUNS, TRANSLATION_RUNS, WEIGHTS
from hostile_translators import PICTURES, TRANSLATORS
from hostile_weights import FILES
from measured import measure
from test_files import CONFIGS
from test_parquet import PARQUET
from test_receipts import CHUNKS, CLAIMS, forged, forged_translation, with_chunks
from tiny_checkpoint import write_checkpoint

from gan_serve.terminal import escape

MAX_SECONDS, MAX_MEGABYTES = 5, 500


Job = tuple[str, str, Path]  # the name of a file, what is done with it, and its path


def jobs(folder: Path) -> Iterator[Job]:
    """Write the files, and yield a job for each."""
    for build in (*NETWORKS, *DISGUISED, size_by_the_crossover):
        name = build.__name__
        yield f"network: {name.replace('_', ' ')}", "load", write(write_checkpoint(folder / name), build())
    for number, (name, content) in enumerate(CONFIGS.items()):
        directory = write_checkpoint(folder / f"config-{number}")
        (directory / "config.json").write_bytes(content())
        yield f"config: {name}", "load", directory
    for name in ("config.json", "generator.onnx"):
        for kind in ("/dev/zero", "a pipe"):
            path = write_checkpoint(folder / f"{name}-{kind[-4:]}") / name
            path.unlink()
            if kind == "a pipe":
                os.mkfifo(path)
            else:
                path.symlink_to(kind)
            yield f"{name}: {kind}", "load", path.parent
    for number, (name, claims) in enumerate(CLAIMS.items()):
        yield f"receipt: {name}", "verify", forged(folder / f"forged-{number}.png", **claims)
    for number, (name, (chunks, _)) in enumerate(CHUNKS.items()):
        yield f"PNG: {name}", "verify", with_chunks(folder / f"chunks-{number}.png", chunks())
    yield "receipt: 12,000 x 12,000 pixels", "verify", forged(folder / "large.png", side=12_000, seed=1)
    yield "receipt: translation of 8,192 x 8,192 pixels", "verify", forged_translation(folder / "translation.png")
    others = {
        "images": {**DATA, **PARQUET}, "run": RUNS, "translation": TRANSLATION_RUNS,
        "log": LOGS, "extractor": EXTRACTORS, "weights": WEIGHTS,
        "translator": TRANSLATORS, "picture": PICTURES, "labels": TABLES, "latents": LATENTS,
        "import": {write.__name__.replace("_", " "): (write, says) for write, says in FILES.items()},
    }  # fmt: skip
    for call, files in others.items():
        for number, (name, (make, _)) in enumerate(files.items()):
            where = folder / f"{call}-{number}"
            where.mkdir()
            yield f"{call}: {name}", call, make(where)


def main() -> None:
    """Measure all files, two at a time, and print a row for each."""
    print("| file | error | s | MB |\n|---|---|---|---|")
    beyond = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        written = list(jobs(Path(folder)))
        found = pool.map(lambda job: measure(job[1], job[2]), written)
        for (name, _, _), measured in zip(written, found, strict=True):
            message = " ".join(escape(measured.message).replace(folder, "").split())[:90].replace("|", "\\|")
            message = f"{measured.error}: {message}" if measured.error else "read, without what is hostile"
            row = f"{message} | {measured.seconds:.2f} | {measured.megabytes:.0f}"
            print(f"| {name} | {row} |", flush=True)
            if measured.seconds > MAX_SECONDS or measured.megabytes > MAX_MEGABYTES:
                beyond.append(name)
    if beyond:
        sys.exit(f"Beyond {MAX_SECONDS} s or {MAX_MEGABYTES} MB: {', '.join(beyond)}.")


if __name__ == "__main__":
    main()
