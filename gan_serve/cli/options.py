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


DEVICE_HELP = "cpu, cuda, or auto: cuda where it works, else cpu."
PRECISION_HELP = (
    "fp32, int8 or fp16 (smaller, nearly the same images; not every model has them), or auto: the fastest that it "
    "has for the device."
)
PRECISIONS_HELP = "The precisions to write, such as fp32,int8; default: all that are close enough to fp32."
Command = TypeVar("Command", bound=Callable[..., Any])


def model_options(command: Command) -> Command:
    """Add ``--device`` and ``--precision`` to a command."""
    command = click.option("--device", default="auto", show_default=True, help=DEVICE_HELP)(command)
    return click.option("--precision", default="fp32", show_default=True, help=PRECISION_HELP)(command)


def precisions_option(command: Command) -> Command:
    """Add ``--precisions`` to a command: a list, or None; which of them exist is checked later."""

    def split(_context: click.Context, _option: click.Parameter, text: str | None) -> list[str] | None:
        return None if text is None else [each.strip() for each in text.split(",")]

    return click.option("--precisions", callback=split, help=PRECISIONS_HELP)(command)


def sampling_options(command: Command) -> Command:
    """Add ``--truncation``, ``--device`` and ``--precision`` to a command."""
    text = "From 0 to 1: lower values give more typical images that differ less; 1 changes nothing."
    command = click.option("--truncation", type=float, default=1.0, show_default=True, help=text)(command)
    return model_options(command)


def output_options(picture: str, folder: str = "A folder for a PNG of each image.") -> Callable[[Command], Command]:
    """Return a decorator that adds ``--out``, ``--out-dir`` and ``--scale``; ``picture``: what a PNG of several is."""
    text = (
        f"A file for all images: .png or .jpg ({picture}), .gif, .webp, .mp4 or .webm (a frame for each), .npz, .json, "
        ".zip (a PNG for each); - writes a PNG to standard output. Give it or --out-dir."
    )

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
    command = click.option(
        "-n", "--n", type=int, help="Number of images, 1 if not given; without --seed, the seeds are random."
    )(command)
    command = click.option("--seed", type=int, help="The first seed of --n; the others follow it.")(command)
    return click.option("--seeds", help='Seeds, such as 7 or "0-15,99": an image for each. Not with --seed or --n.')(
        command
    )


def fit_option(command: Command) -> Command:
    """Add ``--fit``, of commands that take pictures."""
    text = "crop: cut to the middle square and resized; exact: refused unless it has the model's size."
    return click.option("--fit", default="crop", show_default=True, help=text)(command)


def latents_option(command: Command) -> Command:
    """Add ``--latents`` to a command with ``--seeds``."""
    text = "A file of `gan-serve project`, or .npz or .npy with latents; in --seeds, @0 is the first of them."
    return click.option("--latents", "file", type=click.Path(path_type=Path), help=text)(command)


def as_label(text: str, labels: tuple[str, ...]) -> str | int:
    """Return a label: a class name, which may be a number, or else an index."""
    is_index = text.isdecimal() and len(text) < 10 and text not in labels  # Python refuses to read 5,000 digits
    return int(text) if is_index else text
