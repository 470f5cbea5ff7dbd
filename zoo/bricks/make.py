"""Make the data set bricks: render both splits, join their shards and check the digests.

From the root of a checkout:

pip install -e ".[train]" -r zoo/bricks/requirements.txt
python zoo/bricks/make.py

Writes train.npz, train.csv, test.npz and test.csv into the folder where `--data bricks` looks for them. An interrupted
rendering is resumed.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from gan_serve.errors import GanServeError
from gan_serve.images.grid import grid
from gan_serve.images.pixels import to_pil
from gan_serve.training.data.image_set import ImageSet
from gan_serve.training.data.load import load_images
from gan_serve.training.data.named import data_home
from gan_serve.training.data.rendered import BRICKS, read_rendered

try:
    import shards
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is not installed: pip install -r zoo/bricks/requirements.txt")

SHEET_ROWS = 8
CHECK = "Another processor may round otherwise: `python zoo/bricks/check.py` compares 100 images."


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder to write to; default: where `--data bricks` looks."
)
@click.option("--workers", default=os.cpu_count() or 1, show_default=True, help="Number of rendering processes.")
@click.option("--train", default=shards.COUNTS["train"], show_default=True, help="Images to render; others than 40,000")
@click.option("--test", default=shards.COUNTS["test"], show_default=True, help="and 6,000 are a trial: no digest.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Write a PNG with the first test images of each kind.")
def main(out: Path | None, workers: int, train: int, test: int, sheet: Path | None) -> None:
    """Render the data set bricks, 64x64 RGB, twelve kinds of toy brick."""
    folder = out or data_home() / "bricks"
    counts = {"train": train, "test": test}
    try:
        if not all((folder / f"{split}.npz").is_file() for split in counts):
            render(folder, counts, workers)
        for split, count in counts.items():
            data = load_images(folder / f"{split}.npz")
            click.echo(f"{folder / split}.npz: {len(data)} images, {data.digest}, labels {data.labels_digest}")
            if count == shards.COUNTS[split]:
                read_rendered("bricks", BRICKS, split, folder)
    except GanServeError as error:
        raise click.ClickException(f"{error.message} {error.hint} {CHECK}") from error
    if sheet:
        write_sheet(data, sheet)


def render(folder: Path, counts: dict[str, int], workers: int) -> None:
    """Write both splits; render only what earlier calls have not rendered."""
    rendered = shards.shards_folder(folder)
    wanted = [indices for split, count in counts.items() for indices in shards.shards_of(split, count)]
    shards.render_missing(rendered, wanted, workers)
    for split, count in counts.items():
        shards.join(rendered, split, count, folder)
    shutil.rmtree(rendered)


def write_sheet(data: ImageSet, path: Path) -> None:
    """Write the first images of each kind as one PNG, with a column for each kind."""
    kinds = len(data.class_names)
    to_pil(grid(data.images[: SHEET_ROWS * kinds], columns=kinds)).save(path, optimize=True)


if __name__ == "__main__":
    main()
