"""The command ``gan-serve data``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gan_serve.atomic_files import write_atomically
from gan_serve.cli import needs_extra
from gan_serve.terminal import echo

TILE = 64  # pixels; larger images are read at this size, since only the sheet shows them


@click.command()
@click.argument("source")
@click.option(
    "--labels",
    help="Labels of a table: file.csv:column or file.npz:attribute; `none`: no labels; default: those of SOURCE.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.option(
    "--sheet", type=click.Path(path_type=Path), help="Also write a PNG with some of the images, a row for each class."
)
def data(source: str, labels: str | None, as_json: bool, sheet: Path | None) -> None:
    """Show which images training would take from a source.

    The images, the classes, and the files that are left out, with reasons, are printed. SOURCE is a folder, zip, tar,
    .npz, .npy, .parquet or IDX files (MNIST's format), hf://datasets/..., or a name: fashion-mnist, mnist, cifar10,
    avatars, bricks.
    """
    with needs_extra("train"):
        from gan_serve.training.data.image_set import Wanted
        from gan_serve.training.data.load import default_holdout, load_wanted
        from gan_serve.training.data.summary import contact_sheet, summary, summary_lines
    from gan_serve.images.png import encode_png

    found = load_wanted(source, Wanted(largest=TILE), labels)
    if share := default_holdout(found):
        found = found.noting(f"training holds out {share:g} of the images for gan-serve evaluate (--set holdout=...).")
    if as_json:
        echo(json.dumps(summary(found), indent=2))
    else:
        echo("\n".join(summary_lines(found, is_final=False)))
    if sheet:
        write_atomically(sheet, encode_png(contact_sheet(found)))
        if not as_json:
            echo(f"Sheet: {sheet}")
