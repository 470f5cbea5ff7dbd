"""Make a checkpoint of the zoo from data, compare it with its bounds, or write the page that shows all of them.

python docs/zoo.py make NAME     train, export and evaluate a checkpoint of docs/zoo.toml, from the root of a checkout
python docs/zoo.py bounds NAME   write the bounds of docs/zoo.toml, and which of them are met, into the card
python docs/zoo.py blind NAME    write shuffled sheets of real and sampled images; with answers, count the correct ones
python docs/zoo.py int8 NAME     quantise the fp32 file of a checkpoint again, after a change of the quantisation
python docs/zoo.py page          write docs/zoo.md and docs/zoo/*.png from the checkpoints that exist
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from zoo_blind import count_answers, write_sheets
from zoo_bounds import write_bounds
from zoo_entries import REPOSITORY, Entry, read_zoo
from zoo_int8 import quantise_again
from zoo_pictures import make_pictures, show_translations

from gan_serve.atomic_files import check_new_directory, write_atomically
from gan_serve.checkpoint.config import CONFIG_FILE, METRICS_FILE, describe
from gan_serve.checkpoint.files import read_any_config, verify_checkpoint
from gan_serve.errors import GanServeError
from gan_serve.exports.report import CARD_FILE, of_all_images, table
from gan_serve.training.evaluation.metric_names import MetricName

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "gan_serve" / "checkpoints"
DOCS = ROOT / "docs"
SUMMARY = {  # columns of the first table after the distance: the stem of a metric, and the head of the column
    "precision": "precision",
    "recall": "recall",
    "label_agreement": "label agreement",
    "nn_ratio": "nearest-neighbour ratio",
}
DISTANCE, AS = "FD or FID", "measured as"
TRANSLATED = {"psnr": "PSNR", "ssim": "SSIM", "perceptual": "perceptual distance", "style": "taken for the target"}

COLUMNS = ("name", "images", "recipe", "in the wheel")

OPENING = """\
# The zoo

These are the models of this project.
Each generator shows the images of seeds 0 to 7, which were not selected, and a walk through three of them.
Each translator shows 16 held-out inputs, each above its output and its target.
Models in the wheel work by name once gan-serve is installed; the others are in the repository only.

{cards}

## All metrics
{table}

Translators; [translate.md](translate.md#figures) explains the metrics, and the card of each names its test images:

{translators}

## How the metrics are measured
`gan-serve evaluate` samples as many images as the name of a metric states (`10k`), without truncation.
It compares them with real images: those of the test split (`test`), those that were held out from training
(`holdout`), or the training images (`train`).
The name also states the network whose features are compared: `cnn-...` are small classifiers of this repository,
`inception` is the network of published values.
FD is the Fréchet distance, called FID for the features of `inception`; lower is better.
Precision, recall and label agreement are shares; higher is better.
The nearest-neighbour ratio is the distance of generated images to the training images, divided by the distance of
held-out real images to them.
A ratio far below 1 means copies of training images; one far above 1 means images that resemble no real one.

## What the metrics do not show
Only an FD in Inception features can be compared with published FID.
Rows with different features or numbers of images cannot be compared with each other.
Copies of training images have a perfect FD and precision, so read these beside the nearest-neighbour ratio.
An image that blends two faces can still count as precise.
If a classifier agrees with the label, the image is recognisable, but not necessarily good.
So look at the grids: they show the seeds from 0 on, not a selection.

## Where the images come from
Fashion-MNIST and MNIST are downloaded by name; `make avatars` and `make bricks` render the sets of these names.
The licences of two other sets do not allow us to distribute them; the commands expect these in `data/`:

- `data/lego/bricks64_zoom.npz`: 13 of the 50 kinds in lego-brick-images (Joost Hazelzet, Kaggle), 800 renders each,
  cropped so that the brick fills more of the frame. It has `images` uint8 [10400, 64, 64, 1], `labels` and
  `class_names`.
- `data/celeba64`: 42,068 of the aligned faces of CelebA (Liu et al. 2015), as JPEG files of 64x64 pixels in two tar
  archives, with the names that they have in CelebA; `attributes.npz` has `filenames`, `attrs` [N, 40] and `attr_names`.

The card of a checkpoint has the digest of its training images. Other crops of these sets can be used for training too;
they have other digests.

## Make them again
`python docs/zoo.py make NAME --checkpoints FOLDER` makes a checkpoint from data: it trains, exports and evaluates.
Run it from the root of a checkout, after `pip install -e ".[train]"`.
FOLDER must not contain NAME yet; without `--checkpoints` it is the folder of the repository.
The same command resumes an interrupted training.
This page is written by `python docs/zoo.py page` from [zoo.toml](zoo.toml) and the checkpoints.
"""


# The page


def write_page(zoo: Mapping[str, Entry], checkpoints: Path, docs: Path) -> Path:
    """Write ``zoo.md`` and the pictures of the checkpoints in ``checkpoints``.

    Raises:
        CheckpointError: the files of a checkpoint do not match its config. CannotWrite: writing fails.
    """
    rows, translators, there, absent = [], [], [], []
    for name, entry in zoo.items():
        directory = checkpoints / name
        images, metrics = "not there yet", {}
        if (directory / CONFIG_FILE).exists():
            images, metrics = describe(verify_checkpoint(directory)), _metrics(directory)
        wheel = "yes" if entry.in_wheel else "no"
        row = (f"[`{name}`](#{name})", images, f"`{entry.recipe}`", wheel)
        if entry.translates:
            translators.append((*row, *(_beside(metrics, stem) for stem in TRANSLATED)))
        else:
            rows.append((*row, *_summary(metrics)))
        sections = there if (directory / CONFIG_FILE).exists() else absent
        sections.append(_section(name, entry, directory, metrics, docs))
    text = OPENING.format(
        cards="\n\n".join(there + absent),
        table=table((*COLUMNS, DISTANCE, *SUMMARY.values(), AS), rows),
        translators=table((*COLUMNS, *TRANSLATED.values()), translators),
    )
    return write_atomically(docs / "zoo.md", text)


def _summary(metrics: Mapping[str, float]) -> list[str]:
    """Return the cells from ``DISTANCE`` to ``AS``: distances, other metrics of the first protocol, and protocols."""
    measured = [(parsed, value) for name, value in of_all_images(metrics).items() if (parsed := MetricName.parse(name))]
    first = {parsed.stem: (parsed, value) for parsed, value in reversed(measured)}
    distances = [first[stem] for stem in ("fd", "fid") if stem in first]
    protocols = [parsed.protocol for parsed, _ in distances]

    def shown(stem: str) -> str:
        found = [(parsed.protocol, value) for parsed, value in measured if parsed.stem == stem]
        beside = [value for protocol, value in found if protocols and protocols[0].startswith(protocol)]
        return f"{[*beside, *(value for _, value in found)][0]:.3g}" if found else ""

    return [
        ", ".join(f"{parsed.stem.upper()} {value:.3g}" for parsed, value in distances),
        *(shown(stem) for stem in SUMMARY),
        ", ".join(f"`{protocol}`" for protocol in protocols) or "not measured",
    ]


def _beside(metrics: Mapping[str, float], stem: str) -> str:
    """Return the metric of a translator and, in brackets, those of its inputs: resized, or as they are.

    >>> _beside({"psnr_9_test": 25.0, "psnr_9_test_bicubic": 21.25}, "psnr")
    '25 (bicubic 21.2)'
    """
    named = {name: value for name, value in metrics.items() if name.partition("_")[0].partition("-")[0] == stem}
    if not named:
        return ""
    whole = min(named, key=len)
    others = [f"{name.removeprefix(whole)[1:]} {value:.3g}" for name, value in named.items() if name != whole]
    return f"{named[whole]:.3g}" + (f" ({', '.join(others)})" if others else "")


def _section(name: str, entry: Entry, directory: Path, metrics: Mapping[str, float], docs: Path) -> str:
    """Return the card of a model: facts, a sentence, eight images and a walk; folded below them, everything else."""
    is_there = (directory / CONFIG_FILE).exists()
    parts, folded = [f"## {name}"], []
    make = show_translations if entry.translates else make_pictures
    pictures = make(name, directory, docs / "zoo") if is_there else {}
    if is_there and entry.translates:
        parts += [_facts(entry, directory), f"![{pictures.pop('samples')}](zoo/{name}-samples.png)", entry.note]
    elif is_there:
        strip, walk = pictures.pop("strip"), pictures.pop("moving")
        parts += [
            _facts(entry, directory),
            f"![{strip}](zoo/{name}-strip.png) ![{walk}](zoo/{name}-walk.webp)",
            entry.note,
        ]
    else:
        parts.append(f"{entry.note} **Not there yet.**")
    folded += [f"{caption}\n\n![{name}, {kind}](zoo/{name}-{kind}.png)" for kind, caption in pictures.items()]
    if rows := entry.bounds(directory, metrics):
        folded.append(table(("metric", "bound", "value", "reached"), rows))
    if entry.must_see:
        folded.append(f"What the pictures must show: {'; '.join(entry.must_see)}.")
    if is_there:
        link = Path(os.path.relpath(directory, docs)).as_posix()
        folded.append(f"All metrics and their meaning: [the card]({link}/{CARD_FILE}).")
    folded.append(_made_by(name, entry))
    training = _training(directory)
    if training:
        folded.append(f"From its card:\n\n{training}")
    folded.append(f"Licence: {entry.licence}. {_whereabouts(name, entry) if is_there else ''}".rstrip())
    # `markdown` is for the site (md_in_html); GitHub needs the blank lines.
    summary = "More images, bounds and how it was made" if is_there else "How it will be made"
    parts.append(f"<details markdown>\n<summary>{summary}</summary>\n\n" + "\n\n".join(folded) + "\n\n</details>")
    return "\n\n".join(parts)


def _facts(entry: Entry, directory: Path) -> str:
    """Return a line: images, size of the networks, licence, and whether the model is in the wheel."""
    config = read_any_config(directory)
    sizes = {
        name.removeprefix("generator").removesuffix(".onnx").strip("-_.") or "fp32": file.size / 1e6
        for name, file in config.files.items()
        if name.endswith(".onnx")
    }
    shown = ", ".join(f"{precision} {size:.1f} MB" for precision, size in sizes.items())
    where = "in the wheel" if entry.in_wheel else "in the repository"
    return f"{describe(config)} · {shown} · licence: {entry.licence} · {where}"


def _metrics(directory: Path) -> dict[str, float]:
    path = directory / METRICS_FILE
    return json.loads(path.read_text()) if path.is_file() else {}


def _training(directory: Path) -> str:
    """Return the list under "Training" in the card: data, command, duration and machines."""
    card = directory / CARD_FILE
    text = card.read_text() if card.is_file() else ""
    _, _, section = text.partition("\n## Training\n")
    return section.partition("\n## ")[0].strip()


def _made_by(name: str, entry: Entry) -> str:
    lines = [f"gan-serve {shlex.join(words)}" for words in entry.commands(name)]
    return (
        f"`python docs/zoo.py make {name}` runs these commands; with `--checkpoints FOLDER` it writes the checkpoint "
        "there:\n```\n" + "\n".join(lines) + "\n```"
    )


def _whereabouts(name: str, entry: Entry) -> str:
    call = f'gan_serve.translate("{name}", image)' if entry.translates else f'gan_serve.generate("{name}")'
    if entry.in_wheel:
        return f"In the wheel: `{call}` works once gan-serve is installed."
    return (
        f"In the repository only: `{call}` works in a checkout. Elsewhere, copy the folder `{REPOSITORY}/{name}` and "
        "give its path, or make it with the command above."
    )


# The command line

ZOO_OPTION = click.option("--zoo", type=click.Path(path_type=Path), default=DOCS / "zoo.toml", help="Another zoo.toml.")


@click.group(help=__doc__.split("\n\n")[0])
def main() -> None:
    """Make, check and show the checkpoints of the zoo."""


@main.command()
@click.argument("name")
@click.option("--runs", default="runs", show_default=True, help="The folder for training runs.")
@click.option("--checkpoints", default=REPOSITORY, show_default=True, help="The folder for the checkpoint.")
@click.option("--dry-run", is_flag=True, help="Print the commands without running them.")
@ZOO_OPTION
def make(name: str, runs: str, checkpoints: str, dry_run: bool, zoo: Path) -> None:
    """Make a checkpoint from data. An interrupted training is resumed."""
    entry = _entry(zoo, name)
    if not dry_run:
        try:
            check_new_directory(Path(checkpoints, name))  # before the training, which takes hours
        except GanServeError as error:
            raise click.ClickException(f"{error} Give another folder with --checkpoints.") from error
    for words in entry.commands(name, runs, checkpoints):
        click.echo(f"gan-serve {shlex.join(words)}")
        if not dry_run:
            status = subprocess.run([sys.executable, "-m", "gan_serve.cli", *words], check=False).returncode
            if status:
                raise SystemExit(status)
    if not dry_run:
        _write_bounds(entry, Path(checkpoints, name))


@main.command()
@click.argument("name")
@click.option("--checkpoints", type=click.Path(path_type=Path), default=CHECKPOINTS, help="Their folder.")
@ZOO_OPTION
def bounds(name: str, checkpoints: Path, zoo: Path) -> None:
    """Compare the metrics of a checkpoint with its bounds, and write both into its card."""
    _write_bounds(_entry(zoo, name), checkpoints / name)


@main.command()
@click.argument("name")
@click.option("--checkpoints", type=click.Path(path_type=Path), default=CHECKPOINTS, help="Their folder.")
def int8(name: str, checkpoints: Path) -> None:
    """Quantise the fp32 file of a checkpoint again, and state the result in its card."""
    try:
        fidelity = quantise_again(checkpoints / name)
    except GanServeError as error:
        raise click.ClickException(f"{error} {error.hint}") from error
    click.echo(
        f"PSNR {fidelity.psnr_mean} dB in the mean over {fidelity.images:,} seeds, 1 % below {fidelity.psnr_p1}."
    )


def _write_bounds(entry: Entry, directory: Path) -> None:
    rows = entry.bounds(directory, _metrics(directory))
    try:
        write_bounds(directory, rows)
    except GanServeError as error:
        raise click.ClickException(f"{error} {error.hint}") from error
    for row in rows:
        click.echo("  ".join(row))


@main.command()
@click.argument("name")
@click.option("--data", help="Real images; default: those of the entry in zoo.toml.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder for the sheets; default: blind/NAME.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed for the choice and the order of the images.")
@click.option("--checkpoints", type=click.Path(path_type=Path), default=CHECKPOINTS, help="Their folder.")
@click.option(
    "--real",
    "answers",
    help="The answers, in a second call: the numbers of the images that look real, such as 1,4,7-9.",
)
@ZOO_OPTION
def blind(
    name: str, data: str | None, out: Path | None, seed: int, checkpoints: Path, answers: str | None, zoo: Path
) -> None:
    """Write sheets of 32 real and 32 sampled images, shuffled and numbered, and a key; or count the correct answers."""
    entry, out = _entry(zoo, name), out or Path("blind", name)
    try:
        if answers is not None:
            click.echo(count_answers(out, answers))
            return
        written = write_sheets(checkpoints / name, entry, out, data=data or entry.data, seed=seed)
    except GanServeError as error:
        raise click.ClickException(f"{error} {error.hint or ''}".rstrip()) from error
    click.echo(
        f"Wrote {', '.join(path.name for path in written)} to {out}. Look at the sheets, and not at the key. Then:"
    )
    click.echo(f"python docs/zoo.py blind {name} --out {out} --real NUMBERS")


def _entry(zoo: Path, name: str) -> Entry:
    entries = read_zoo(zoo)
    if name not in entries:
        raise click.UsageError(f"There is no {name!r} in {zoo.name}; it has: {', '.join(entries)}.")
    return entries[name]


@main.command()
@click.option("--checkpoints", type=click.Path(path_type=Path), default=CHECKPOINTS, help="Their folder.")
@click.option("--docs", type=click.Path(path_type=Path), default=DOCS, help="The folder for zoo.md.")
@ZOO_OPTION
def page(checkpoints: Path, docs: Path, zoo: Path) -> None:
    """Write zoo.md and its pictures."""
    try:
        click.echo(f"Wrote {write_page(read_zoo(zoo), checkpoints, docs)}")
    except GanServeError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
