"""The command line, ``gan-serve``.

Commands that need more than the runtime are registered by the packages that contain them, through entry points of the
group ``gan_serve.commands``. So this package never imports torch.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import click

from gan_serve._version import __version__
from gan_serve.cli import check, checkpoints, sample
from gan_serve.cli.serve import reload, serve
from gan_serve.cli.translate import translate
from gan_serve.errors import GanServeError, InvalidOption
from gan_serve.terminal import echo

SYNONYMS = {
    "--class": ("--label", "--labels"), "--classes": ("--labels", "--label"), "--count": ("--n",), "--number": ("--n",),
    "--output": ("--out",),
}  # fmt: skip


class Commands(click.Group):
    """The group of all commands. For an unknown option it suggests a synonym that the command has."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Raises:
            UsageError: there is no such option; the message names a synonym of it if the command has one.
        """
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            command = error.ctx.command if error.ctx else self
            known = {name for parameter in command.params for name in parameter.opts}
            if meant := [name for name in SYNONYMS.get(error.option_name, ()) if name in known]:
                text = f"No such option {error.option_name!r}. Did you mean {meant[0]!r}?"
                raise click.UsageError(text, error.ctx) from None
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="gan-serve")
def cli() -> None:
    """Small image generators: sample, serve, train, export."""


for command in (
    sample.generate,
    sample.condition,
    sample.interpolate,
    sample.mix,
    translate,
    checkpoints.models,
    checkpoints.info,
    checkpoints.directions,
    checkpoints.pull,
    checkpoints.push,
    checkpoints.export_triton,
    checkpoints.export_web,
    check.verify,
    check.doctor,
    serve,
    reload,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line. An error ends it with one message and exit code 1; a stack trace means a bug."""
    for entry_point in entry_points(group="gan_serve.commands"):
        entry_point.load()(cli)
    try:
        cli()
    except GanServeError as error:
        echo(f"Error: {error.message}" + (f"\n{error.hint}" if error.hint else ""), err=True)
        sys.exit(1)


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Raise ``InvalidOption`` that names the extra to install if an import in the block fails.

    Raises:
        InvalidOption: a module is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidOption(
            f"This command needs {error.name}, which is not installed.", f'pip install "gan-serve[{extra}]"'
        ) from error
