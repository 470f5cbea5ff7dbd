"""The zoo of checkpoints: make one from data, or write the page that shows them all.

python docs/zoo.py make NAME    train, export and evaluate a checkpoint of docs/zoo.toml, from the root of a checkout
python docs/zoo.py page         write docs/zoo.md and docs/zoo/*.png from the checkpoints that are there
"""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, TypeAdapter

from gan_serve import Generator
from gan_serve.atomic_files import check_new_directory, write_atomically
from gan_serve.checkpoint.bundled import manifest
from gan_serve.checkpoint.config import CONFIG_FILE, METRICS_FILE, WEIGHTS_FILE, describe
from gan_serve.checkpoint.files import read_config, verify_checkpoint
from gan_serve.errors import GanServeError
from gan_serve.exports.report import CARD_FILE, NEIGHBOURS_PICTURE, Name, table, without_dial
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, to_pil
from gan_serve.sampling.latents import latents_from_seeds

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "gan_serve" / "checkpoints"
DOCS = ROOT / "docs"
REPOSITORY = "gan_serve/checkpoints"  # of those not in the wheel

SMALL = 32  # images up to this resolution are shown twice as large
COLOURS = 128  # of an RGB picture on the page, so that it stays small; the checkpoint has the exact one
WALK_SEEDS, WALK_STEPS = (0, 1, 2), 5
SHEET_SEEDS, SHEET_LABELS = range(10), 16
PSIS = (1.0, 0.7, 0.5, 0.3, 0.0)
MIXED_ROWS, MIXED_COLUMNS = range(6), range(10, 18)
FIRST_FINE_LAYER = 4  # two layers a size: 4x4 and 8x8 are coarse

SUMMARY = {  # columns of the first table after the distance: how a metric's name begins, and the column's head
    "precision": "precision",
    "recall": "recall",
    "label_agreement": "label agreement",
    "nn_ratio": "nearest-neighbour ratio",
}
DISTANCE, AS = "FD or FID", "measured as"

OPENING = """\
# The zoo

Written by `python docs/zoo.py page` from [zoo.toml](zoo.toml) and the checkpoints; do not edit. One command makes a
checkpoint from data: `python docs/zoo.py make NAME --checkpoints FOLDER`, from the root of a checkout, with
`pip install -e ".[train]"`. It trains, exports and evaluates; FOLDER is one that has no NAME yet (without
`--checkpoints`, the repository's own). A training that was killed goes on where it was.

{table}

**How the figures are measured.** `gan-serve evaluate` draws as many images as a metric's name states (`10k`), without
truncation, and compares them with real images that training did not see: `test` is the data's own test split,
`holdout` a fixed share of the images that was kept out of training, `train` the training images. The features are in
the name too: `cnn-...` are small classifiers of this repository, `inception` is the network that published figures
use. FD is the Fréchet distance, called FID where the features are `inception`: lower is better. Precision, recall and
label agreement are shares: higher is better.
The nearest-neighbour ratio is how far generated images are from the training images, over how far unseen real images
are: far below 1 means copies, far above 1 images that are like no real one.

**What they cannot tell.** An FD in other features than Inception does not compare with published FID, and rows with
other features, or another number of images, do not compare with each other. Copies of training images look perfect to
FD and to precision: read them beside the nearest neighbours. Precision on faces is easily fooled by blends of faces.
A classifier that agrees with a label says that an image is recognised, not that it is a good one. So look at the
grids: they are seeds 0 and on, none left out.

**Where the images come from.** Fashion-MNIST and MNIST are downloaded by name. The others are not ours to give and lie
in `data/`, as the commands name them; the card of a checkpoint has the digest of the pixels that it was trained on.
`data/lego/bricks64_zoom.npz`: 13 of the 50 kinds in lego-brick-images (Joost Hazelzet, Kaggle), 800 renders each, cut
so that the brick fills more of the frame: `images` uint8 [10400, 64, 64, 1], `labels` int, `class_names`.
`data/celeba64`: a subset of CelebA (Liu et al. 2015), 42,068 of its aligned faces as JPEG of 64x64 pixels, named
as in CelebA, in two tar archives; `attributes.npz` has `filenames`, `attrs` [N, 40] and `attr_names`. Any other cut of
these sets trains as well, and gives another digest.
"""


class Must(BaseModel):
    """A figure that must be reached: a metric, or one over another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    over: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def measured(self, metrics: Mapping[str, float]) -> float | None:
        """The figure; None where it was not measured."""
        if self.metric not in metrics or (self.over is not None and not metrics.get(self.over)):
            return None
        return metrics[self.metric] / (metrics[self.over] if self.over else 1.0)

    def holds(self, value: float) -> bool:
        """Whether ``value`` is within the bounds."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def row(self, metrics: Mapping[str, float]) -> tuple[str, ...]:
        """What is asked, what was measured, and whether that is enough."""
        name = f"`{self.metric}`" + (f" / `{self.over}`" if self.over else "")
        bounds = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        value = self.measured(metrics)
        if value is None:
            return name, " and ".join(bounds), "not measured", ""
        return name, " and ".join(bounds), f"{value:.4g}", "yes" if self.holds(value) else "**no**"


class Entry(BaseModel):
    """A table of ``zoo.toml``, whose head explains the keys, with the facts of the manifest of checkpoints."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    labels: str | None = None
    recipe: str
    init_from: str | None = None
    kimg: float | None = None
    set: dict[str, bool | int | float | str] = {}
    export: dict[str, bool | int | float | str] = {}
    evaluate: dict[str, bool | int | float | str] = {}
    licence: str
    in_wheel: bool
    note: str
    must: tuple[Must, ...] = ()
    must_see: tuple[str, ...] = ()

    def commands(self, name: str, runs: str = "runs", checkpoints: str = REPOSITORY) -> list[list[str]]:
        """What makes the checkpoint, as words after ``gan-serve``: train, export, evaluate."""
        run, out = f"{runs}/{name}", f"{checkpoints}/{name}"
        images = ["--data", self.data, *_options({"labels": self.labels} if self.labels else {})]
        train = ["train", "--recipe", self.recipe, *images, "--run-dir", run]
        train += _options({"init-from": self.init_from} if self.init_from else {})
        train += _options({"kimg": self.kimg} if self.kimg else {})
        train += [word for key, value in self.set.items() for word in ("--set", f"{key}={_as_typed(value)}")]
        return [
            [*train, "--resume"],
            ["export", run, "--out", out, *_options(self.export)],
            ["evaluate", out, *images, *_options(self.evaluate), "--write"],
        ]


def read_zoo(path: Path) -> dict[str, Entry]:
    """Return the entries of a ``zoo.toml`` by name. What an entry leaves out is taken from the manifest."""
    entries = {name: _manifest_facts(name) | table for name, table in tomllib.loads(path.read_text()).items()}
    return TypeAdapter(dict[str, Entry]).validate_python(entries)


def _manifest_facts(name: str) -> dict[str, Any]:
    if name not in manifest():
        return {}
    entry = manifest()[name]
    return {"licence": entry.licence, "in_wheel": entry.in_wheel, "note": entry.description}


def _options(options: Mapping[str, Any]) -> list[str]:
    """``{"snapshot": "best", "quiet": True}`` as words of a command line."""
    return [
        word
        for key, value in options.items()
        if value is not False
        for word in ([f"--{key}"] if value is True else [f"--{key}", _as_typed(value)])
    ]


def _as_typed(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


# The page


def write_page(zoo: Mapping[str, Entry], checkpoints: Path, docs: Path) -> Path:
    """Write ``zoo.md`` and the pictures of the checkpoints that are in ``checkpoints``.

    Raises:
        CheckpointError: one is not what its config describes. CannotWrite: the disk refuses.
    """
    rows, sections = [], []
    for name, entry in zoo.items():
        directory = checkpoints / name
        images, metrics = "not there yet", {}
        if (directory / CONFIG_FILE).exists():
            images, metrics = describe(verify_checkpoint(directory)), _metrics(directory)
        wheel = "yes" if entry.in_wheel else "no"
        rows.append((f"[`{name}`](#{name})", images, f"`{entry.recipe}`", wheel, *_summary(metrics)))
        sections.append(_section(name, entry, directory, metrics, docs))
    opening = OPENING.format(
        table=table(("name", "images", "recipe", "in the wheel", DISTANCE, *SUMMARY.values(), AS), rows)
    )
    return write_atomically(docs / "zoo.md", "\n".join([opening, "\n\n".join(sections), ""]))


def _summary(metrics: Mapping[str, float]) -> list[str]:
    """The cells from ``DISTANCE`` to ``AS``: distances, what was measured beside the first of them, and protocols."""
    measured = [(parsed, value) for name, value in without_dial(metrics).items() if (parsed := Name.parse(name))]
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


def _section(name: str, entry: Entry, directory: Path, metrics: Mapping[str, float], docs: Path) -> str:
    is_there = (directory / CONFIG_FILE).exists()
    parts = [f"## {name}", entry.note if is_there else f"{entry.note} **Not there yet.**"]
    pictures = draw_pictures(name, directory, docs / "zoo") if is_there else {}
    parts += [f"{caption}\n\n![{name}, {kind}](zoo/{name}-{kind}.png)" for kind, caption in pictures.items()]
    if entry.must:
        rows = [must.row(metrics) for must in entry.must]
        parts.append(table(("figure", "must be", "is", "reached"), rows))
    if entry.must_see:
        parts.append(f"What the pictures must show: {'; '.join(entry.must_see)}.")
    if is_there:
        link = Path(os.path.relpath(directory, docs)).as_posix()
        parts.append(f"All figures, and what they mean: [the card]({link}/{CARD_FILE}).")
    parts.append(_made_by(name, entry))
    training = _training(directory)
    if training:
        parts.append(f"How this one was made, from its card:\n\n{training}")
    parts.append(f"Licence: {entry.licence}. {_whereabouts(name, entry) if is_there else ''}".rstrip())
    return "\n\n".join(parts)


def draw_pictures(name: str, directory: Path, folder: Path) -> dict[str, str]:
    """Write the pictures of a checkpoint to ``folder`` as ``name-kind.png``; returned are their captions by kind.

    Style mixing needs torch; all else, ONNX Runtime alone.
    """
    generator = Generator.from_pretrained(directory, device="cpu")
    small = generator.img_resolution <= SMALL
    seeds = range(64 if small else 32)  # larger images in as many bytes
    by_class = "; seed s takes class s mod " + str(generator.c_dim) if generator.c_dim else ""
    captions = {"grid": f"Seeds 0 to {seeds[-1]}, none left out, truncation 1{by_class}."}
    sheets = {"grid": grid(generator.generate(seeds=list(seeds), output="numpy"), 8)}
    if generator.c_dim:
        labels = generator.class_names[:SHEET_LABELS]
        drawn = generator.condition(seeds=list(SHEET_SEEDS), labels=list(labels), output="numpy")
        sheets["classes"] = grid(np.concatenate(list(drawn.values())), len(SHEET_SEEDS))
        captions["classes"] = (
            f"Seeds {SHEET_SEEDS[0]} to {SHEET_SEEDS[-1]}, the same latent down each column; a row for each of "
            f"{', '.join(labels)}."
        )
    walk = generator.interpolate(
        list(WALK_SEEDS), steps=WALK_STEPS, label=0 if generator.c_dim else None, output="numpy"
    )
    sheets["walk"] = grid(walk, len(walk))
    of_class = f", class {generator.class_names[0]}" if generator.c_dim else ""
    captions["walk"] = (
        f"From seed {' to seed '.join(map(str, WALK_SEEDS))} along the sphere, {WALK_STEPS} steps each{of_class}."
    )
    if generator.config.truncation_space == "w":
        rows = [generator.generate(seeds=list(SHEET_SEEDS), truncation=psi, output="numpy") for psi in PSIS]
        sheets["psi"] = grid(np.concatenate(rows), len(SHEET_SEEDS))
        captions["psi"] = (
            f"Truncation in w: the same seeds with psi {', '.join(f'{psi:g}' for psi in PSIS)}, from top to bottom, "
            "towards the image of the mean w."
        )
        sheets["mixing"] = style_mixing(directory)
        captions["mixing"] = (
            "Style mixing: coarse styles of the image at the left of a row, fine styles (from the size "
            "16x16 on) of the image at the top of a column."
        )
    for kind, sheet in sheets.items():
        write_atomically(folder / f"{name}-{kind}.png", small_png(to_pil(sheet), 2 if small else 1))
    if (directory / NEIGHBOURS_PICTURE).is_file():
        with Image.open(directory / NEIGHBOURS_PICTURE) as picture:
            write_atomically(folder / f"{name}-neighbours.png", small_png(picture, 2 if small else 1))
        captions["neighbours"] = (
            "The generated images most like a training image (first row, third, ...), each above that image."
        )
    return captions


def style_mixing(directory: Path) -> UInt8Array:
    """Images whose coarse layers follow one latent and whose fine layers another (Karras et al. 2019, figure 3).

    It takes the weights for fine-tuning, since the ONNX file has one style for all layers.
    """
    import torch
    from safetensors.torch import load_file

    from gan_serve.training.networks import build_generator, to_pixels

    config = read_config(directory)
    generator = build_generator(config.architecture.family, **config.architecture.arguments).eval()
    generator.load_state_dict(load_file(directory / WEIGHTS_FILE))
    rows, columns = (
        generator.mapping(torch.from_numpy(latents_from_seeds(seeds, config.z_dim)))
        for seeds in (MIXED_ROWS, MIXED_COLUMNS)
    )
    is_fine = (torch.arange(generator.num_layers) >= FIRST_FINE_LAYER)[:, None]
    with torch.no_grad():
        top = to_pixels(generator.synthesis(columns[:, None].expand(-1, generator.num_layers, -1)))
        sheet = [torch.full_like(top[:1], 255), top]
        for row in rows:
            alone = generator.synthesis(row.expand(1, generator.num_layers, -1))
            mixed = generator.synthesis(torch.where(is_fine, columns[:, None], row))
            sheet += [to_pixels(alone), to_pixels(mixed)]
    return grid(torch.cat(sheet).numpy(), len(MIXED_COLUMNS) + 1)


def small_png(image: Image.Image, scale: int = 1) -> bytes:
    """A PNG of few bytes: gray exact, RGB in ``COLOURS`` colours; ``scale`` times as large, each pixel a square."""
    shown = image.convert("L" if image.mode == "L" else "RGB")
    if shown.mode == "RGB":
        shown = shown.quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
    shown = shown.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    out = io.BytesIO()
    shown.save(out, "png", optimize=True)
    return out.getvalue()


def _metrics(directory: Path) -> dict[str, float]:
    path = directory / METRICS_FILE
    return json.loads(path.read_text()) if path.is_file() else {}


def _training(directory: Path) -> str:
    """The list under "Training" of the checkpoint's card: data, command, time, machines."""
    card = directory / CARD_FILE
    text = card.read_text() if card.is_file() else ""
    _, _, section = text.partition("\n## Training\n")
    return section.partition("\n## ")[0].strip()


def _made_by(name: str, entry: Entry) -> str:
    lines = [f"gan-serve {shlex.join(words)}" for words in entry.commands(name)]
    return (
        f"Made by `python docs/zoo.py make {name}` (`--checkpoints FOLDER` for a second one), which is\n```\n"
        + "\n".join(lines)
        + "\n```"
    )


def _whereabouts(name: str, entry: Entry) -> str:
    if entry.in_wheel:
        return f'In the wheel: `gan_serve.generate("{name}")` works once gan-serve is installed.'
    return (
        f'Not in the wheel. It lies in the repository, where `gan_serve.generate("{name}")` works from a checkout; '
        f"elsewhere, copy the folder `{REPOSITORY}/{name}` and give its path, or make it with the command above."
    )


# The command line

ZOO_OPTION = click.option("--zoo", type=click.Path(path_type=Path), default=DOCS / "zoo.toml", help="Another zoo.toml.")


@click.group(help=__doc__.split("\n\n")[0])
def main() -> None:
    """See the module's docstring."""


@main.command()
@click.argument("name")
@click.option("--runs", default="runs", show_default=True, help="The folder of training runs.")
@click.option("--checkpoints", default=REPOSITORY, show_default=True, help="Where the checkpoint's folder is made.")
@click.option("--dry-run", is_flag=True, help="Print the commands, and run nothing.")
@ZOO_OPTION
def make(name: str, runs: str, checkpoints: str, dry_run: bool, zoo: Path) -> None:
    """Make a checkpoint from data; a training that was killed goes on where it was."""
    entries = read_zoo(zoo)
    if name not in entries:
        raise click.UsageError(f"There is no {name!r} in {zoo.name}; it has: {', '.join(entries)}.")
    if not dry_run:
        try:
            check_new_directory(Path(checkpoints, name))  # before hours of training
        except GanServeError as error:
            raise click.ClickException(f"{error} --checkpoints names another place.") from error
    for words in entries[name].commands(name, runs, checkpoints):
        click.echo(f"gan-serve {shlex.join(words)}")
        if not dry_run:
            status = subprocess.run([sys.executable, "-m", "gan_serve.cli", *words], check=False).returncode
            if status:
                raise SystemExit(status)


@main.command()
@click.option("--checkpoints", type=click.Path(path_type=Path), default=CHECKPOINTS, help="Their folder.")
@click.option("--docs", type=click.Path(path_type=Path), default=DOCS, help="Where zoo.md is written.")
@ZOO_OPTION
def page(checkpoints: Path, docs: Path, zoo: Path) -> None:
    """Write zoo.md and its pictures."""
    try:
        click.echo(f"Wrote {write_page(read_zoo(zoo), checkpoints, docs)}")
    except GanServeError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
