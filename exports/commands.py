"""The commands ``gan-serve export``, ``import`` and ``evaluate``. Torch is imported only when they run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from gan_serve.atomic_files import check_folder, write_atomically
from gan_serve.checkpoint.config import METRICS_FILE
from gan_serve.cli import needs_extra
from gan_serve.cli.options import precisions_option
from gan_serve.errors import CannotWrite, GanServeError
from gan_serve.exports.import_command import import_command
from gan_serve.terminal import echo


def register(group: click.Group) -> None:
    """Add the commands of this package to ``gan-serve``."""
    group.add_command(export)
    group.add_command(import_command)
    group.add_command(evaluate)


@click.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder for the checkpoint.")
@click.option("--name", help="The checkpoint's name; default: that of the folder.")
@click.option(
    "--license",
    help="Licence of the images, an SPDX name; default: that of known data, else `other`.",
)
@click.option("--credit", help="The authors of the training images and their terms, for the card.")
@click.option("--note", default="", help="A remark for the card, such as that a longer training would help.")
@click.option(
    "--snapshot",
    help="A snapshot file of the run, or `best`, the one with the best measured quality; default: the last.",
)
@click.option(
    "--family-file", type=click.Path(path_type=Path), help="The --family-file of the run, if it had one; it is run."
)
@click.option("--back", is_flag=True, help="Export the way back of a CycleGAN run, from its targets to its inputs.")
@precisions_option
@click.option(
    "--mantissa-bits",
    type=click.IntRange(7, 23),
    help="Round the weights to this many bits of mantissa, so that the file compresses better: with 10 to about 60 % "
    "of its size instead of 93 %. An export whose images then differ too much is refused. Default: do not round.",
)
def export(
    run: Path | None,
    out: Path,
    name: str | None,
    license: str | None,
    credit: str | None,
    note: str,
    snapshot: str | None,
    family_file: Path | None,
    back: bool,
    precisions: Any,
    mantissa_bits: int | None,
) -> None:
    """Turn a training run into a checkpoint.

    A checkpoint is a folder that `gan-serve generate`, `serve` and `evaluate` take as MODEL. RUN is the folder of the
    run; without it, the last one in runs/ is taken. Each ONNX file is compared with the trained network, which takes
    some minutes; one whose images differ too much is not written.
    """
    with needs_extra("train"):
        from gan_serve.exports.card import Publication
        from gan_serve.exports.export import export_run
        from gan_serve.exports.export_translator import export_translator
        from gan_serve.exports.weak_images import weakness
        from gan_serve.training.family_file import load_family_file
        from gan_serve.training.run_info import read_run_info
        from gan_serve.training.translation.load import no_way_back
        from gan_serve.training.translation.settings import is_translation_run

    if family_file:
        load_family_file(family_file)
    run = run or _last_run()
    publication = Publication(license, credit, note)
    options: Any = {
        "name": name,
        "publication": publication,
        "snapshot": snapshot,
        "precisions": precisions,
        "mantissa_bits": mantissa_bits,
    }
    if is_translation_run(run):
        translator = export_translator(run, out, **options, back=back)
        echo(f"Checkpoint: {translator}")
        echo(f"Next: {shlex.join(['gan-serve', 'translate', str(translator), 'IMAGE', '--out-dir', 'translated'])}")
        return
    if back:
        raise no_way_back()
    echo("Exporting and comparing the files with torch, which takes some minutes.", err=True)
    written = export_run(run, out, **options)
    if warning := weakness(json.loads((written / METRICS_FILE).read_text()), read_run_info(run).data.metrics):
        echo(f"Warning: {warning}", err=True)
    echo(f"Checkpoint: {written}")
    echo(f"Next: {shlex.join(['gan-serve', 'generate', str(written), '--seeds', '0-63', '--out', 'grid.png'])}")


def _last_run() -> Path:
    from gan_serve.training.run_folders import last_run

    found = last_run()
    echo(f"The last run: {found}", err=True)
    return found


class FeaturesOption(click.Option):
    """An option whose help lists the installed extractors, which are looked up only when the help is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option and its help text."""
        with needs_extra("train"):
            from gan_serve.training.evaluation.extractor_registry import extractors
            from gan_serve.training.evaluation.features import INCEPTION

        names = ", ".join([*extractors(), INCEPTION])
        self.help = f"{names}, or the folder of an extractor; default: the extractor of these images, else cnn-general."
        return super().get_help_record(ctx)


@click.command()
@click.argument("model_or_run", required=False)
@click.option("--data", help="Real images, as `gan-serve train` takes them; default: those of the training.")
@click.option("--labels", help="Labels, as file.csv:column or file.npz:attribute; default: as in training.")
@click.option(
    "--split",
    help="The real images: test, holdout (those that training left out) or train; default: holdout, else test.",
)
@click.option(
    "--holdout", type=float, help="The share of the images that was held out from training; default: as in training."
)
@click.option("--features", cls=FeaturesOption)
@click.option(
    "--images",
    type=click.IntRange(min=10),
    default=10_000,
    show_default=True,
    help="The largest number of images to compare.",
)
@click.option(
    "--snapshot",
    help="For a run: a snapshot file, or `best`, the one with the best measured quality; default: the last.",
)
@click.option(
    "--family-file", type=click.Path(path_type=Path), help="The --family-file of the run, if it had one; it is run."
)
@click.option(
    "--dial/--no-dial", default=True, help="Also measure at several values of `generate --truncation` (yes by default)."
)
@click.option(
    "--pairs/--no-pairs",
    default=True,
    help="Also show generated images with their nearest training images (yes by default).",
)
@click.option(
    "--write",
    is_flag=True,
    help="Write the metrics and pictures into the checkpoint and its card, in place of earlier ones.",
)
@click.option("--out-dir", type=click.Path(path_type=Path), help="Write metrics.json and the pictures to this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print only the metrics, as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
def evaluate(
    model_or_run: str | None,
    data: str | None,
    labels: str | None,
    split: str | None,
    holdout: float | None,
    features: str | None,
    images: int,
    snapshot: str | None,
    family_file: Path | None,
    dial: bool,
    pairs: bool,
    write: bool,
    out_dir: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure a model or a run against real images.

    MODEL_OR_RUN is a checkpoint (a name, a directory, or org/name on the Hugging Face Hub) or the folder of a run.
    Without it, the last run in runs/ is measured.
    docs/evaluation.md explains the metrics.
    """
    with needs_extra("train"):
        from gan_serve.checkpoint.config import CONFIG_FILE
        from gan_serve.exports.evaluate_model import RealImages, evaluate_model
        from gan_serve.exports.report import compared, metrics_text
        from gan_serve.exports.write_evaluation import all_pictures, check_writable, is_run, write_evaluation
        from gan_serve.training.config import read_config
        from gan_serve.training.evaluation.evaluate import EvaluationOptions
        from gan_serve.training.family_file import load_family_file
        from gan_serve.training.translation.settings import is_translation_run

    if model_or_run is not None and is_translation_run(Path(model_or_run)):
        from gan_serve.exports.export_translator import evaluate_trained
        from gan_serve.training.translation.load import load_trained_translator

        metrics, _ = evaluate_trained(load_trained_translator(Path(model_or_run), snapshot), split)
        text = json.dumps(metrics, indent=2, allow_nan=False)
        if out_dir:
            write_atomically(out_dir / METRICS_FILE, text + "\n")
        echo(text)
        return
    if family_file:
        load_family_file(family_file)
    model_or_run = model_or_run or str(_last_run())
    target = check_writable(model_or_run) if write else None  # before the measurements, which take minutes
    if out_dir:
        check_folder(out_dir)
        if (out_dir / CONFIG_FILE).is_file():
            raise CannotWrite(
                f"{out_dir} is a checkpoint or a run; its files must not be mixed with others.",
                "Choose another folder; --write writes the metrics of a checkpoint into it.",
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
    try:  # before anything is printed, so that a closed pipe does not lose the result
        if target:
            write_evaluation(target, evaluation)
        if out_dir:
            write_atomically(out_dir / METRICS_FILE, as_text + "\n")
            for name, picture in pictures.items():
                write_atomically(out_dir / name, picture)
    except GanServeError:
        echo(as_text)  # print the result, which took minutes, also if it cannot be written
        raise

    if as_json:
        echo(as_text)
    else:
        source = read_config(Path(model_or_run, "config.json")).data if data is None and is_run(model_or_run) else data
        echo(f"{model_or_run} beside {source}: {compared(evaluation.metrics)}\n")
        echo(metrics_text(evaluation.metrics))
    if out_dir:
        echo(f"\nWritten to {out_dir}: {', '.join([METRICS_FILE, *pictures])}", err=as_json)
    if target:
        echo(f"\nWritten into the checkpoint {target}: metrics, pictures and card", err=as_json)
