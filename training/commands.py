"""The commands ``gan-serve train`` and ``gan-serve recipes``. Torch is imported only when a run starts."""

from __future__ import annotations

import contextlib
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


FIRST = os.environ.get("RANK", "0") == "0"  # the first of the processes that torchrun started, which alone prints


@contextlib.contextmanager
def _only_first_process_reports() -> Iterator[None]:
    """Let only the first process print an error that all have: torchrun ends the others while they wait."""
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
    help="Images: a folder, zip, tar, .npz, IDX files, hf://datasets/..., or a name: fashion-mnist, mnist, cifar10, "
    "avatars, bricks.",
)
@click.option("--labels", help="Where labels come from: file.csv:column or file.npz:attribute; none drops them.")
@click.option("--init-from", metavar="CHECKPOINT", help="Start from its generator: a name, a directory or org/name.")
@click.option("--run-dir", type=click.Path(path_type=Path), required=True, help="Folder for all that the run writes.")
@click.option("--kimg", type=float, help="Thousands of real images to show in all; the recipe's if not given.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be given often.")
@click.option("--resume", is_flag=True, help="Go on from the last snapshot of the run.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@_only_first_process_reports()
def train(
    recipe: str | None,
    data: str | None,
    labels: str | None,
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
        from gan_serve.training.loop import train as run
        from gan_serve.training.recipes import RECOMMENDED

    asked = parse_settings(pairs)
    typed = {"recipe": recipe, "data": data, "labels": labels, "init_from": init_from, "kimg": kimg}
    asked |= {key: value for key, value in typed.items() if value is not None}
    if resume and (run_dir / "config.json").exists():
        recorded = read_config(run_dir / "config.json")
        config = check_config(recorded.model_dump() | asked)
        if config.device == "auto":
            config = config.model_copy(update={"device": recorded.device})
        # The data may have moved; whether it is the same is told by its digest.
        fixed = asked.keys() - {"kimg", "data", "labels", "init_from"}  # train speaks of init_from
        now, before = config.model_dump(), recorded.model_dump()
        changed = [key for key in sorted(fixed) if now.get(key) != before.get(key)]
        if changed:
            raise RunError(
                f"The run in {run_dir} was started with another {changed[0]} ({before.get(changed[0])!r}).",
                "Only --kimg may change, and --data and --labels where the same images lie elsewhere.",
            )
    else:
        if resume and not asked.keys() & {"recipe", "data"}:
            raise RunError(f"{run_dir} holds no run to go on with.", "Give the folder that --run-dir named before.")
        if "data" not in asked:
            raise InvalidOption("A new run needs --data.", "See gan-serve train --help for what it takes.")
        config = make_config(asked.pop("recipe", RECOMMENDED), asked)

    last = run(config, run_dir, resume=resume, quiet=quiet)
    if FIRST:
        echo(f"Snapshot: {last}")
        echo(f"Next: gan-serve export {run_dir} --out NAME")


@click.command()
def recipes() -> None:
    """List the training recipes, their sources and what they need."""
    from gan_serve.training.recipes import recipes as all_recipes

    for recipe in all_recipes().values():
        echo(f"{recipe.name}: {recipe.title}\n    from   {recipe.source}\n    needs  {recipe.needs}")
