"""The commands ``gan-serve train`` and ``gan-serve recipes``. Torch is imported only when a run starts."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import click

from gan_serve.cli import needs_extra
from gan_serve.errors import GanServeError, InvalidOption, RunError
from gan_serve.terminal import echo
from gan_serve.training.data.commands import data as data_command


def register(group: click.Group) -> None:
    """Add the commands of this package to ``gan-serve``."""
    group.add_command(data_command)
    group.add_command(train)
    group.add_command(recipes)
    group.add_command(learn)


FIRST = os.environ.get("RANK", "0") == "0"  # only the first process that torchrun started prints


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
@click.option("--recipe", help="A recipe of `gan-serve recipes`; by default recommended-64.")
@click.option(
    "--data",
    help="Images: a folder, zip, tar, .npz, .npy, .parquet or IDX files, hf://datasets/..., or a name: fashion-mnist, "
    "mnist, cifar10, avatars, bricks.",
)
@click.option("--labels", help="Labels: file.csv:column or file.npz:attribute; `none` ignores the labels of the data.")
@click.option("--family-file", type=click.Path(path_type=Path), help="Python file with a family of your own networks.")
@click.option(
    "--init-from",
    metavar="CHECKPOINT",
    help="A checkpoint whose generator to start from: a name, a directory or org/name.",
)
@click.option("--run-dir", type=click.Path(path_type=Path), required=True, help="The folder of the run.")
@click.option("--kimg", type=float, help="Thousands of real images to show in total; default: that of the recipe.")
@click.option(
    "--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be given several times."
)
@click.option("--resume", is_flag=True, help="Continue from the last snapshot of the run.")
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
@_only_first_process_reports()
def train(
    recipe: str | None,
    data: str | None,
    labels: str | None,
    family_file: Path | None,
    init_from: str | None,
    run_dir: Path,
    kimg: float | None,
    pairs: tuple[str, ...],
    resume: bool,
    quiet: bool,
) -> None:
    """Train a generator from images."""
    with needs_extra("train"):
        from gan_serve.training.config import check_config, make_config, parse_settings, read_config
        from gan_serve.training.family_file import load_family_file
        from gan_serve.training.loop import train as run
        from gan_serve.training.recipes import RECOMMENDED

    asked = parse_settings(pairs)
    families = load_family_file(family_file) if family_file else []
    typed = {"recipe": recipe, "data": data, "labels": labels, "init_from": init_from, "kimg": kimg}
    asked |= {key: value for key, value in typed.items() if value is not None}
    if resume and (run_dir / "config.json").exists():
        recorded = read_config(run_dir / "config.json")
        config = check_config(recorded.model_dump() | asked)
        if config.device == "auto":
            config = config.model_copy(update={"device": recorded.device})
        # The data may have moved; its digest shows that it is the same.
        fixed = asked.keys() - {"kimg", "data", "labels", "init_from"}  # train checks init_from itself
        now, before = config.model_dump(), recorded.model_dump()
        changed = [key for key in sorted(fixed) if now.get(key) != before.get(key)]
        if changed:
            raise RunError(
                f"The run in {run_dir} was started with another {changed[0]} ({before.get(changed[0])!r}).",
                "Only --kimg may change, and --data and --labels if the same images are now elsewhere.",
            )
    else:
        if resume and not asked.keys() & {"recipe", "data"}:
            raise RunError(f"{run_dir} has no run to resume.", "Give the --run-dir of the first call.")
        if len(families) == 1:
            asked.setdefault("family", families[0])
        if "data" not in asked:
            raise InvalidOption("A new run needs --data.", "gan-serve train --help lists the sources.")
        config = make_config(asked.pop("recipe", RECOMMENDED), asked)
        if resume and FIRST:
            echo(f"{run_dir} has no run to resume: a new one starts.")

    last = run(config, run_dir, resume=resume, quiet=quiet)
    if FIRST:
        echo(f"Snapshot: {last}")
        echo(f"Next: gan-serve export {run_dir} --out NAME")


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="With NAME: change a setting.")
@click.option(
    "--classes", type=click.IntRange(1), default=10, show_default=True, help="With NAME: classes of the images."
)
def recipes(name: str | None, as_json: bool, pairs: tuple[str, ...], classes: int) -> None:
    """List the training recipes, or show one.

    With NAME: its settings, layers and parameters.
    """
    from gan_serve.training.recipes import recipes as all_recipes

    if name is not None:
        with needs_extra("train"):
            from gan_serve.training.config import parse_settings
            from gan_serve.training.recipe_summary import summarise_recipe

        summary = summarise_recipe(name, parse_settings(pairs), classes=classes)
        echo(json.dumps(summary.as_json(), indent=2) if as_json else summary.as_text())
        return
    if as_json:
        listed = [
            {"name": each.name, "title": each.title, "source": each.source, "needs": each.needs}
            for each in all_recipes().values()
        ]
        echo(json.dumps(listed, indent=2))
        return
    for recipe in all_recipes().values():
        echo(f"{recipe.name}: {recipe.title}\n    from   {recipe.source}\n    needs  {recipe.needs}")


@click.command()
@click.argument("name", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="PNG file for the figure; learn-NAME.png if not given.")
def learn(name: str | None, out: Path | None) -> None:
    """Run a page of theory.

    It prints its numbers and writes its figure. Without NAME, the pages are listed.
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
