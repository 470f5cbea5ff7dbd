"""The commands ``gan-serve train`` and ``gan-serve recipes``. Torch is imported only when a run starts."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gan_serve.cli import needs_extra
from gan_serve.errors import GanServeError, InvalidOption
from gan_serve.terminal import echo
from gan_serve.training.data.commands import data as data_command
from gan_serve.training.projection.command import project
from gan_serve.training.stopping import FIRST


def register(group: click.Group) -> None:
    """Add the commands of this package to ``gan-serve``."""
    group.add_command(data_command)
    group.add_command(train)
    group.add_command(recipes)
    group.add_command(learn)
    group.add_command(project)


CTRL_C = 128 + signal.SIGINT  # the exit code of a command that Ctrl-C ended


@contextlib.contextmanager
def _only_first_process_reports() -> Iterator[None]:
    """Let only the first process print an error that all processes have; torchrun ends the others while they wait."""
    try:
        yield
    except GanServeError:
        if not FIRST:
            time.sleep(10)
        raise


@click.command()
@click.option("--recipe", help="A recipe of `gan-serve recipes`; default: chosen by the images and this machine.")
@click.option(
    "--data",
    help="Images: a folder, zip, tar, .npz, .npy, .parquet or IDX files (MNIST's format), hf://datasets/..., or a "
    "name: fashion-mnist, mnist, cifar10, avatars, bricks. `gan-serve data SOURCE` shows what would be read.",
)
@click.option(
    "--labels",
    help="Labels of a table: file.csv:column or file.npz:attribute; `none`: no labels; default: those of the data.",
)
@click.option(
    "--family-file",
    type=click.Path(path_type=Path),
    help="A Python file with networks of your own (docs/own-network.md); it is run.",
)
@click.option(
    "--init-from",
    metavar="CHECKPOINT",
    help="A checkpoint whose generator to start from, instead of random weights: a name, a directory or org/name.",
)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    help="The folder of the run; default: runs/DATA-RECIPE, and with --resume the last run in runs/.",
)
@click.option(
    "--minutes",
    type=float,
    help="About how long to train: by the speed of this machine, measured at the start. If the machine becomes busier, "
    "the run takes longer; Ctrl-C ends it.",
)
@click.option("--epochs", type=float, help="The length in passes over the images.")
@click.option(
    "--kimg",
    type=float,
    help="The length in thousands of real images that the networks are shown; default: chosen, or that of --recipe.",
)
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, such as width=0.5; may be given several times. `gan-serve recipes NAME` lists them.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue a run that was stopped, from its last snapshot; --set may change learning rates, penalties and "
    "augmentation.",
)
@click.option("--wandb", metavar="PROJECT", help="Also log to this project of Weights & Biases.")
@click.option("--quiet", is_flag=True, help="Print only the summary at the end.")
@_only_first_process_reports()
def train(
    recipe: str | None,
    data: str | None,
    labels: str | None,
    family_file: Path | None,
    init_from: str | None,
    run_dir: Path | None,
    minutes: float | None,
    epochs: float | None,
    kimg: float | None,
    pairs: tuple[str, ...],
    resume: bool,
    wandb: str | None,
    quiet: bool,
) -> None:
    """Train a generator from images.

    `gan-serve train --data photos/` is enough: what is not given is chosen by the images and this machine, and printed.
    The first grid of generated images comes after about a minute, in runs/NAME/grids. Ctrl-C ends the run with a
    snapshot. `gan-serve export` makes a model of the run.
    """
    with needs_extra("train"):
        from gan_serve.training.api import run_to_resume
        from gan_serve.training.api import train as run
        from gan_serve.training.config import parse_settings
        from gan_serve.training.end_summary import end_lines
        from gan_serve.training.family_file import load_family_file

    settings = parse_settings(pairs)
    if resume:
        run_dir = run_to_resume(data, run_dir, (lambda text: None) if quiet or not FIRST else echo)
    if _is_translation(recipe, run_dir, resume):
        others = {"labels": labels, "family-file": family_file, "init-from": init_from, "minutes": minutes}
        others |= {"epochs": epochs, "wandb": wandb}
        if given := [name for name, value in others.items() if value is not None]:
            raise InvalidOption(f"--{given[0]} is not for translators.", "Leave it out; --kimg sets the length.")
        _train_translator(recipe, run_dir, {"data": data, "kimg": kimg} | settings, resume=resume, quiet=quiet)
        return
    families = load_family_file(family_file) if family_file else []
    if len(families) == 1 and not resume:
        settings.setdefault("family", families[0])
    data, labels, kimg = (
        settings.pop(key, given) for key, given in (("data", data), ("labels", labels), ("kimg", kimg))
    )
    try:
        finished = run(
            data,
            recipe=recipe,
            run_dir=run_dir,
            labels=labels,
            minutes=minutes,
            epochs=epochs,
            kimg=kimg,
            settings=settings,
            init_from=init_from,
            resume=resume,
            wandb=wandb,
            quiet=quiet,
        )
    except KeyboardInterrupt:
        echo("Stopped before the first step.", err=True)
        sys.exit(CTRL_C)
    if FIRST:
        echo("\n".join(end_lines(finished)))
    if finished.signal == signal.SIGINT:
        sys.exit(CTRL_C)


def _is_translation(recipe: str | None, run_dir: Path | None, resume: bool) -> bool:
    """Return True for a recipe of translators, and for a run of one that is resumed."""
    from gan_serve.training.recipes import TRANSLATE
    from gan_serve.training.recipes import recipes as all_recipes

    if recipe is not None:
        return recipe in all_recipes(TRANSLATE)
    from gan_serve.training.translation.settings import is_translation_run

    return resume and run_dir is not None and is_translation_run(run_dir)


def _train_translator(
    recipe: str | None, run_dir: Path | None, settings: dict[str, Any], *, resume: bool, quiet: bool
) -> None:
    from gan_serve.training.run_folders import new_run_dir
    from gan_serve.training.translation.settings import is_translation_run, make_translation_config
    from gan_serve.training.translation.train import resumed_config, train_translator

    requested = {key: value for key, value in settings.items() if value is not None}
    if run_dir is None:
        run_dir = new_run_dir(str(requested.get("data", "data")), str(recipe))
    if resume and is_translation_run(run_dir):
        config = resumed_config(run_dir, requested)
    elif "data" not in requested:
        raise InvalidOption("A new run needs --data.", "gan-serve train --help lists the sources.")
    else:
        config = make_translation_config(str(recipe), requested)
    finished = train_translator(config, run_dir, resume=resume, quiet=quiet)
    echo(f"Snapshot: {finished.snapshot}")
    echo(f"Next: {shlex.join(['gan-serve', 'export', str(run_dir), '--out', f'{run_dir.name}-model'])}")
    if finished.signal == signal.SIGINT:
        sys.exit(CTRL_C)


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="With NAME: change a setting, as in train; may be given several times.",
)
@click.option(
    "--classes",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="With NAME: the number of classes, if the recipe uses labels.",
)
def recipes(name: str | None, as_json: bool, pairs: tuple[str, ...], classes: int) -> None:
    """List the training recipes, or show one.

    With NAME: its settings, and the layers of both networks with their shapes and parameters.
    """
    from gan_serve.training.recipes import TRANSLATE
    from gan_serve.training.recipes import recipes as all_recipes

    if name is not None:
        with needs_extra("train"):
            from gan_serve.training.config import parse_settings
            from gan_serve.training.recipe_summary import summarise_recipe

        summary = summarise_recipe(name, parse_settings(pairs), classes=classes)
        echo(json.dumps(summary.as_json(), indent=2) if as_json else summary.as_text())
        return
    listing = [*all_recipes().values(), *all_recipes(TRANSLATE).values()]
    if as_json:
        echo(json.dumps([recipe.as_json() for recipe in listing], indent=2))
        return
    for recipe in listing:
        echo(recipe.as_text())


@click.command()
@click.argument("name", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="The PNG to write; learn-NAME.png if not given.")
def learn(name: str | None, out: Path | None) -> None:
    """Run a page of theory.

    A page is a small experiment: it prints its figures and writes a picture of them. Without NAME, the pages are
    listed.
    """
    with needs_extra("train"):
        from gan_serve.training.learn import PAGES
        from gan_serve.training.learn import learn as run

    if name is None:
        echo("\n".join(PAGES))
        return
    page = run(name)
    path = out or Path(f"learn-{name}.png")
    echo(f"{page.title}\n{page.text}\n")
    width = max(map(len, page.numbers))
    for what, number in page.numbers.items():
        echo(f"    {what:<{width}}  {number:.4g}")
    page.save_figure(path)
    echo(f"\nFigure: {path}")
