"""Make the data set avatars: install the pinned npm packages, render both splits, pack them and check their digests.

python zoo/avatars/make.py    from the root of a checkout, with `pip install -e ".[train]"` and Node.js 20

Writes train.npz, train.csv, test.npz and test.csv into the folder where `--data avatars` looks for them. An interrupted
rendering is resumed.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from gan_serve.errors import DataError, GanServeError
from gan_serve.images.grid import grid
from gan_serve.images.pixels import to_pil
from gan_serve.training.data.arrays import read_npz
from gan_serve.training.data.image_set import ImageSet, new_images
from gan_serve.training.data.named import data_home
from gan_serve.training.data.rendered import AVATARS, read_rendered

HERE = Path(__file__).resolve().parent
SIDE = 64
COUNTS = {"train": 60_000, "test": 10_000}
SHEET_COLUMNS, SHEET_COLOURS = 12, 128


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder to write to; default: where `--data avatars` looks."
)
@click.option("--workers", default=2, show_default=True, help="Number of rendering processes.")
@click.option(
    "--train",
    default=COUNTS["train"],
    show_default=True,
    help="Number of training images; fewer than the default are a trial.",
)
@click.option(
    "--test",
    default=COUNTS["test"],
    show_default=True,
    help="Number of test images; fewer than the default are a trial.",
)
@click.option("--sheet", type=click.Path(path_type=Path), help="Write a PNG with a row of test images for each style.")
def main(out: Path | None, workers: int, train: int, test: int, sheet: Path | None) -> None:
    """Render the data set avatars, 64x64 RGB in ten styles."""
    counts = {"train": train, "test": test}
    if out is None and counts != COUNTS:
        raise click.UsageError("A trial must not replace the data set; give another folder with --out.")
    folder = out or data_home() / "avatars"
    try:
        install()
        for split, count in counts.items():
            render(split, count, folder / "chunks", workers)
            pack(split, count, folder)
        shutil.rmtree(folder / "chunks")
        for split in counts:
            path = folder / f"{split}.npz"
            data = read_rendered("avatars", AVATARS, split, folder) if counts == COUNTS else read_npz(path)
            click.echo(f"{path}: {len(data)} images, {data.digest}")
            if sheet and split == "test":
                write_sheet(data, sheet)
    except GanServeError as error:
        raise click.ClickException(f"{error.message} {error.hint}".strip()) from error


def install() -> None:
    """Install the packages of package-lock.json, unless they are installed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise DataError("Node.js is not installed.", "Install Node.js 20 or newer, with npm.")
    installed, wanted = HERE / "node_modules" / ".package-lock.json", HERE / "package-lock.json"
    if installed.is_file() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return
    if subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=HERE, check=False).returncode:
        raise DataError("npm could not install the packages of zoo/avatars; see its message above.")


def render(split: str, count: int, chunks: Path, workers: int) -> None:
    """Render the missing chunks of a split in ``workers`` processes."""
    command = ["node", str(HERE / "render.mjs"), split, str(count), str(chunks)]
    processes = [subprocess.Popen([*command, str(worker), str(workers)]) for worker in range(workers)]
    exits = [process.wait() for process in processes]
    if any(exits):
        raise DataError(f"Some {split} images could not be rendered; see the message above.", "Run it again.")


def pack(split: str, count: int, folder: Path) -> None:
    """Write the chunks of a split as ``<split>.npz`` and ``<split>.csv``."""
    images = new_images(count, SIDE, 3)
    rows: list[dict[str, Any]] = []
    for chunk in sorted(folder.glob(f"chunks/{split}-*.rgb")):
        pixels = np.fromfile(chunk, np.uint8).reshape(-1, SIDE, SIDE, 3)
        images[len(rows) : len(rows) + len(pixels)] = pixels
        rows += [json.loads(line) for line in chunk.with_suffix(".jsonl").read_text().splitlines()]
    if len(rows) != count:
        raise DataError(
            f"{folder / 'chunks'} holds {len(rows)} {split} images, not {count}.",
            "Remove it and run the command again.",
        )
    class_names = sorted({row["style"] for row in rows})
    labels = np.array([class_names.index(row["style"]) for row in rows])
    with replacing(folder / f"{split}.csv") as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "options": json.dumps(row["options"])} for row in rows)
    with replacing(folder / f"{split}.npz") as part:
        np.savez(part, images=images, labels=labels, class_names=np.array(class_names))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and move that file to ``path`` when it is complete."""
    part = path.with_name(f"part-{path.name}")
    yield part
    part.replace(path)


def write_sheet(data: ImageSet, path: Path) -> None:
    """Write the first images of each class as one PNG, with a row for each class."""
    assert data.labels is not None
    chosen = [np.flatnonzero(data.labels == label)[:SHEET_COLUMNS] for label in range(len(data.class_names))]
    picture = to_pil(grid(data.images[np.concatenate(chosen)], columns=SHEET_COLUMNS))
    picture.quantize(SHEET_COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    main()
