"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def model_options(command: Command) -> Command:
    """Add ``--device`` and ``--precision`` to a command."""
    command = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")(command)
    return click.option("--precision", default="fp32", show_default=True, help="fp32, int8, fp16 or auto.")(command)


def sampling_options(command: Command) -> Command:
    """Add ``--truncation``, ``--device`` and ``--precision`` to a command."""
    command = click.option("--truncation", type=float, default=1.0, show_default=True, help="From 0 to 1.")(command)
    return model_options(command)


def seed_options(command: Command) -> Command:
    """Add ``--seeds``, ``--seed`` and ``--n`` to a command."""
    command = click.option("-n", "--n", type=int, help="Number of images; without --seed, the seeds are random.")(
        command
    )
    command = click.option("--seed", type=int, help="The first of --n seeds.")(command)
    return click.option("--seeds", help='Seeds, such as 7 or "0-15,99".')(command)
