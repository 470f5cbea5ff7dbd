"""The commands ``gan-serve export`` and ``gan-serve evaluate``. Torch is imported only when they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gan_serve.cli import needs_extra


def register(group: click.Group) -> None:
    """Add the commands of this package to ``gan-serve``."""
    group.add_command(export)
    group.add_command(evaluate)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new directory for the checkpoint.")
@click.option("--name", help="The checkpoint's name; that of the directory if not given.")
@click.option("--license", help="SPDX name; that of the data where it is known, else `other`.")
@click.option("--credit", help="Whose images it was trained on, and on what terms; the card says it.")
@click.option("--snapshot", help="A snapshot of the run, or `best`; the last if not given.")
@click.option("--precisions", help="Which files to make, such as fp32,int8; each that is near enough if not given.")
def export(
    run: Path,
    out: Path,
    name: str | None,
    license: str | None,
    credit: str | None,
    snapshot: str | None,
    precisions: str | None,
) -> None:
    """Turn a training run into a checkpoint, certified against torch."""
    with needs_extra("train"):
        from gan_serve.exports.export import export_run

    # What is no precision is refused by export_run.
    wanted: Any = None if precisions is None else [each.strip() for each in precisions.split(",")]
    written = export_run(run, out, name=name, license=license, credit=credit, snapshot=snapshot, precisions=wanted)
    click.echo(f"Checkpoint: {written}")
    click.echo(f"Next: gan-serve generate {written} --seeds 0-63 --out grid.png")


@click.command()
@click.argument("model_or_run")
@click.option("--data", help="Real images, as gan-serve train takes them; those of the run if not given.")
@click.option("--labels", help="Where their labels come from: file.csv:column or file.npz:attribute.")
@click.option("--split", help="test, holdout or train; the part that training did not see if not given.")
@click.option("--holdout", type=float, help="The share of the data that training did not see; that of the run.")
@click.option("--features", help="cnn-fashion, ..., inception, or a folder; what was trained on the data if not given.")
@click.option("--images", type=click.IntRange(min=10), default=10_000, show_default=True, help="How many, at most.")
@click.option("--snapshot", help="A snapshot of the run, or `best`; the last if not given.")
@click.option("--dial/--no-dial", default=True, help="Also measure over truncation.")
@click.option("--pairs/--no-pairs", default=True, help="Draw the pairs of neighbours; they show training images.")
@click.option("--write", is_flag=True, help="Put figures and pictures into the checkpoint, its card included.")
@click.option("--out-dir", type=click.Path(path_type=Path), help="Write metrics.json and the pictures here.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def evaluate(
    model_or_run: str,
    data: str | None,
    labels: str | None,
    split: str | None,
    holdout: float | None,
    features: str | None,
    images: int,
    snapshot: str | None,
    dial: bool,
    pairs: bool,
    write: bool,
    out_dir: Path | None,
    quiet: bool,
) -> None:
    """Measure MODEL_OR_RUN (a checkpoint, or the folder of a run) against real images."""
    with needs_extra("train"):
        from gan_serve.exports.evaluated import check_writable, write_evaluation
        from gan_serve.files import write_atomically
        from gan_serve.training.evaluation.judge import judge

    target = check_writable(model_or_run) if write else None  # before all the work
    evaluation = judge(
        model_or_run, data, labels=labels, split=split, holdout=holdout, features=features, images=images,
        snapshot=snapshot, dial=dial, pairs=pairs, quiet=quiet,
    )  # fmt: skip
    for name, value in evaluation.metrics.items():
        click.echo(f"{name:<60} {value:g}")
    if out_dir:
        write_atomically(out_dir / "metrics.json", json.dumps(evaluation.metrics, indent=2) + "\n")
        for name, picture in evaluation.pictures.items():
            write_atomically(out_dir / name, picture)
    if target:
        write_evaluation(target, evaluation)
        click.echo(f"Written to {target}")
