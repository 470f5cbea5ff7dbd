"""Write the bounds of a checkpoint of the zoo, and which of them are met, into its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo_entries import Row

from gan_serve.checkpoint.files import read_any_config, read_verified, verify_checkpoint
from gan_serve.errors import InvalidCheckpoint
from gan_serve.exports.report import CARD_FILE, END, table
from gan_serve.exports.write_evaluation import put_files

BOUNDS_START, BOUNDS_END = "<!-- bounds -->", "<!-- end of bounds -->"


def write_bounds(directory: Path, rows: Sequence[Row]) -> None:
    """Write rows of ``Entry.bounds`` into a checkpoint's card, and update the card's digest.

    Raises:
        InvalidCheckpoint, DigestMismatch: the files do not match the config, or there is no card.
        CannotWrite: a file cannot be written.
    """
    config = read_any_config(directory)
    verify_checkpoint(directory)
    if CARD_FILE not in config.files:
        raise InvalidCheckpoint(f"{directory} has no {CARD_FILE}.", "Export the checkpoint again.")
    card = read_verified(directory, config, CARD_FILE).decode()
    put_files(directory, config, {CARD_FILE: _with_bounds(card, bounds_block(rows)).encode()})


def bounds_block(rows: Sequence[Row]) -> str:
    """Return the bounds of a card as Markdown, from ``BOUNDS_START`` to ``BOUNDS_END``; missed ones come first."""
    if not rows:
        return f"{BOUNDS_START}\n{BOUNDS_END}"
    missed = [f"{name}, which must be {bounds}, is {value}" for name, bounds, value, reached in rows if "no" in reached]
    open_ones = [f"{name} ({bounds})" for name, bounds, value, reached in rows if bounds and not reached]
    parts = ["### What it must reach"]
    if missed:
        parts.append(f"**Missed:** {'; '.join(missed)}.")
    if open_ones:
        parts.append(f"Not measured yet: {'; '.join(open_ones)}.")
    parts.append(table(("figure", "must be", "is", "reached"), rows))
    return "\n\n".join([BOUNDS_START, *parts, BOUNDS_END])


def _with_bounds(card: str, block: str) -> str:
    """Return a card with ``block`` in place of its bounds, else after its metrics, else at its end."""
    before, start, rest = card.partition(BOUNDS_START)
    _, end, after = rest.partition(BOUNDS_END)
    if start and end:
        return before + block + after
    before, end, after = card.partition(END)
    return f"{before}{end}\n\n{block}{after}" if end else f"{card.rstrip()}\n\n{block}\n"
