"""The commands ``gan-serve export`` and ``gan-serve evaluate``. Torch is imported only when they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gan_serve.atomic_files import check_folder, write_atomically
from gan_serve.cli import needs_extra
from gan_serve.errors import CannotWrite, GanServeError
from gan_serve.terminal import echo


def register(group: click.Group) -> None:
    """Add the commands of this package to ``gan-serve``."""
    group.add_command(export)
    group.add_command(evaluate)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new directory for the checkpoint.")
@click.option("--name", help="The checkpoint's name; default: that of the directory.")
@click.option("--license", help="SPDX name; default: that of the data if it is known, else `other`.")
@click.option("--credit", help="The authors of the training images and their terms, for the card.")
@click.option("--note", default="", help="A remark for the card, such as that a longer run is due.")
@click.option("--snapshot", help="A snapshot of the run, or `best`; default: the last.")
@click.option("--precisions", help="The files to make, such as fp32,int8; default: each that is close enough to fp32.")
def export(
    run: Path,
    out: Path,
    name: str | None,
    license: str | None,
    credit: str | None,
    note: str,
    snapshot: str | None,
    precisions: str | None,
) -> None:
    """Turn a training run into a checkpoint, certified against torch."""
    with needs_extra("train"):
        from gan_serve.exports.card import Publication
        from gan_serve.exports.export import export_run

    # export_run refuses unknown precisions.
    wanted: Any = None if precisions is None else [each.strip() for each in precisions.split(",")]
    publication = Publication(license, credit, note)
    written = export_run(run, out, name=name, publication=publication, snapshot=snapshot, precisions=wanted)
    echo(f"Checkpoint: {written}")
    echo(f"Next: gan-serve generate {written} --seeds 0-63 --out grid.png")


class FeaturesOption(click.Option):
    """An option whose help lists the extractors that are installed; they are looked up when help is asked for."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option and its help."""
        with needs_extra("train"):
            from gan_serve.training.evaluation.extractor_registry import extractors
            from gan_serve.training.evaluation.features import INCEPTION

        names = ", ".join([*extractors(), INCEPTION])
        self.help = f"{names}, or the folder of an extractor; default: the extractor trained on these data."
        return super().get_help_record(ctx)


@click.command()
@click.argument("model_or_run")
@click.option("--data", help="Real images, as gan-serve train takes them; default: the run's own data.")
@click.option("--labels", help="Labels, as file.csv:column or file.npz:attribute; default: as in training.")
@click.option(
    "--split", help="The real images: test, holdout or train; default: holdout if a share was held out, else test."
)
@click.option("--holdout", type=float, help="The share of the data that training did not see; default: as in training.")
@click.option("--features", cls=FeaturesOption)
@click.option(
    "--images", type=click.IntRange(min=10), default=10_000, show_default=True, help="How many images, at most."
)
@click.option("--snapshot", help="Of a run, a snapshot file or `best`; default: the last snapshot.")
@click.option("--dial/--no-dial", default=True, help="Whether to measure over truncation too; default: --dial.")
@click.option(
    "--pairs/--no-pairs",
    default=True,
    help="Whether to draw generated images above their nearest training images, which it shows; default: --pairs.",
)
@click.option("--write", is_flag=True, help="Put figures and pictures into the checkpoint and its card.")
@click.option("--out-dir", type=click.Path(path_type=Path), help="Write metrics.json and the pictures to this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON, and nothing else.")
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
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
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure MODEL_OR_RUN (a checkpoint, or the folder of a run) against real images.

    What the figures mean: docs/evaluation.md.
    """
    with needs_extra("train"):
        from gan_serve.checkpoint.config import CONFIG_FILE, METRICS_FILE
        from gan_serve.exports.evaluate_model import RealImages, evaluate_model
        from gan_serve.exports.report import compared, figures_text
        from gan_serve.exports.write_evaluation import all_pictures, check_writable, is_run, write_evaluation
        from gan_serve.training.config import read_config
        from gan_serve.training.evaluation.evaluate import EvaluationOptions

    target = check_writable(model_or_run) if write else None  # before all the work
    if out_dir:
        check_folder(out_dir)
        if (out_dir / CONFIG_FILE).is_file():
            raise CannotWrite(
                f"{out_dir} is a checkpoint or a run, whose files belong together.",
                "Choose another folder; --write puts the figures of a checkpoint into it.",
            )
    evaluation = evaluate_model(
        model_or_run,
        RealImages(data, labels, split, holdout),
        features=features,
        snapshot=snapshot,
        own_data=write,
        options=EvaluationOptions(images, truncations=dial, neighbour_pairs=pairs, quiet=quiet),
    )
    as_text = json.dumps(evaluation.metrics, indent=2, allow_nan=False)
    pictures = all_pictures(evaluation, evaluation.metrics) if out_dir else {}
    try:  # before anything is printed: a closed pipe must not lose it
        if target:
            write_evaluation(target, evaluation)
        if out_dir:
            write_atomically(out_dir / METRICS_FILE, as_text + "\n")
            for name, picture in pictures.items():
                write_atomically(out_dir / name, picture)
    except GanServeError:
        echo(as_text)  # what took minutes is not lost either
        raise

    if as_json:
        echo(as_text)
    else:
        source = read_config(Path(model_or_run, "config.json")).data if data is None and is_run(model_or_run) else data
        echo(f"{model_or_run} beside {source}: {compared(evaluation.metrics)}\n")
        echo(figures_text(evaluation.metrics))
    if out_dir:
        echo(f"\nWritten to {out_dir}: {', '.join([METRICS_FILE, *pictures])}", err=as_json)
    if target:
        echo(f"\nWritten into the checkpoint {target}: figures, pictures and card", err=as_json)
