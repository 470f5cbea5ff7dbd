"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gan_serve.terminal import escape


class OutputPath(click.Path):
    """A path to write to. One that begins with a dash is refused: in ``--out-dir --seeds 3`` a value is missing."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or end the command if it looks like an option."""
        if str(value).startswith("-") and str(value) != "-":
            shown = escape(str(value))
            self.fail(f"{shown!r} looks like an option; write ./{shown} for a file of this name.", param, ctx)
        return super().convert(value, param, ctx)


Command = TypeVar("Command", bound=Callable[..., Any])


def model_options(command: Command) -> Command:
    """Add ``--device`` and ``--precision`` to a command."""
    command = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")(command)
    return click.option("--precision", default="fp32", show_default=True, help="fp32, int8, fp16 or auto.")(command)


def sampling_options(command: Command) -> Command:
    """Add ``--truncation``, ``--device`` and ``--precision`` to a command."""
    command = click.option("--truncation", type=float, default=1.0, show_default=True, help="From 0 to 1.")(command)
    return model_options(command)


def output_options(picture: str, folder: str = "A folder for one PNG per image.") -> Callable[[Command], Command]:
    """Return a decorator that adds ``--out``, ``--out-dir`` and ``--scale``; ``picture``: what a PNG of several is."""
    text = f"A file: .png or .jpg ({picture}), .npz, .zip, .json, .gif, .webp, .mp4, .webm; - for standard output."

    def add(command: Command) -> Command:
        command = click.option("--out-dir", type=OutputPath(), help=folder)(scale_option(command))
        return click.option("--out", type=OutputPath(), help=text)(command)

    return add


def scale_option(command: Command) -> Command:
    """Add ``--scale`` to a command."""
    text = "Enlarge a picture: repeat each pixel this many times in both directions."
    return click.option("--scale", type=int, default=1, show_default=True, help=text)(command)


def seed_options(command: Command) -> Command:
    """Add ``--seeds``, ``--seed`` and ``--n`` to a command."""
    command = click.option("-n", "--n", type=int, help="Number of images; without --seed, the seeds are random.")(
        command
    )
    command = click.option("--seed", type=int, help="The first of --n seeds.")(command)
    return click.option("--seeds", help='Seeds, such as 7 or "0-15,99".')(command)


def latents_option(command: Command) -> Command:
    """Add ``--latents`` to a command with ``--seeds``."""
    text = "A file of `gan-serve project`, or .npz or .npy with latents; in --seeds, @0 is the first of them."
    return click.option("--latents", "file", type=click.Path(path_type=Path), help=text)(command)


def as_label(text: str, labels: tuple[str, ...]) -> str | int:
    """Return a label: a class name, which may be a number, or else an index."""
    return int(text) if text.isdecimal() and text not in labels else text
