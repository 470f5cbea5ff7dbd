"""The command ``gan-serve export``. Torch is imported only when it runs."""

from __future__ import annotations

from pathlib import Path

import click

from gan_serve.cli import needs_extra


def register(group: click.Group) -> None:
    """Add the commands of this package to ``gan-serve``."""
    group.add_command(export)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new directory for the checkpoint.")
@click.option("--name", help="The checkpoint's name; that of the directory if not given.")
@click.option("--license", help="SPDX name; that of the data where it is known, else `other`.")
@click.option("--snapshot", help="A snapshot of the run, or `best`; the last if not given.")
def export(run: Path, out: Path, name: str | None, license: str | None, snapshot: str | None) -> None:
    """Turn a training run into a checkpoint, certified against torch."""
    with needs_extra("train"):
        from gan_serve.exports.export import export_run

    written = export_run(run, out, name=name, license=license, snapshot=snapshot)
    click.echo(f"Checkpoint: {written}")
    click.echo(f"Next: gan-serve generate {written} --seeds 0-63 --out grid.png")
