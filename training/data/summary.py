"""Describe a data set as it was read: for the terminal, as JSON, and as a contact sheet."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from gan_serve.checkpoint.class_names import is_printable
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.formats import suffix_of
from gan_serve.training.data.image_set import ImageSet, examples

SHEET_COLUMNS, SHEET_ROWS = 8, 16
COLOURS = {1: "gray", 3: "RGB"}  # by the number of channels


def summary(data: ImageSet, most: int | None = None) -> dict[str, Any]:
    """Return a description that fits into JSON, with the first ``most`` of the files that were left out.

    Keys: ``images``, ``width``, ``height`` (in the source, of most images), ``channels``, ``classes`` (name: count, or
    None), ``split``, ``left_out`` (each with ``file`` and ``reason``), ``notes``.
    """
    width, height = data.size or (data.img_resolution, data.img_resolution)
    return {
        "images": len(data),
        "width": width,
        "height": height,
        "channels": data.img_channels,
        "classes": class_counts(data),
        "split": data.split,
        "left_out": [{"file": file, "reason": reason} for file, reason, _ in data.left_out[:most]],
        "notes": list(data.notes),
    }


def class_counts(data: ImageSet) -> dict[str, int] | None:
    """Return the number of images of each class; None without labels."""
    if data.labels is None:
        return None
    counts = np.bincount(data.labels, minlength=len(data.class_names))
    return {name: int(count) for name, count in zip(data.class_names, counts, strict=True)}


def summary_lines(data: ImageSet, *, conditional: bool | None = None, is_final: bool = True) -> list[str]:
    """Return the lines that a run prints before it starts.

    Args:
        data: the training images, as the run uses them.
        conditional: whether the run uses labels; None where that is not decided.
        is_final: the images have the size that a network is trained at; False: the size of a preview.
    """
    side = data.img_resolution
    same = data.sizes == f"{side}x{side}" or not is_final
    resized = "" if same else f", cut square and resized to {side}x{side}"
    lines = [f"Data: {data.name}, {len(data):,} images of {data.sizes} {COLOURS[data.img_channels]}{resized}."]
    counts = class_counts(data)
    if counts is None:
        lines.append("Classes: none.")
    else:
        unused = "" if conditional is not False else " They are not used: --set conditional=true uses them."
        lines.append(f"Classes: {len(counts)}: {_counts(counts)}.{unused}")
    lines.append(f"Split: {data.split}.")
    if data.left_out:
        lines.append(_left_out(data))
    return [_printable(line) for line in (*lines, *(f"Note: {note}" for note in data.notes))]


def passes(shown: float, data: ImageSet) -> str:
    """Return how often ``shown`` images are the whole data set, such as ``"2.5 passes"``."""
    times = shown / len(data)
    return f"{times:,.0f} passes" if times >= 100 else f"{times:.2g} passes"


def contact_sheet(data: ImageSet) -> UInt8Array:
    """Return a sheet uint8 [H, W, C] of eight columns: a row for each of the first 16 classes, else 64 images."""
    if data.labels is None:
        rows = np.linspace(0, len(data) - 1, min(len(data), SHEET_COLUMNS**2)).astype(int)
        return grid(data.images[rows], SHEET_COLUMNS)
    shown = range(min(len(data.class_names), SHEET_ROWS))
    tiles = np.full((len(shown), SHEET_COLUMNS, *data.images.shape[1:]), 255, np.uint8)
    for label in shown:
        of_class = np.flatnonzero(data.labels == label)[:SHEET_COLUMNS]
        tiles[label, : len(of_class)] = data.images[of_class]
    return grid(tiles.reshape(-1, *data.images.shape[1:]), SHEET_COLUMNS)


def _printable(line: str) -> str:
    """Escape control characters, which names of files may have."""
    return "".join(char if is_printable(char) else ascii(char)[1:-1] for char in line)


def _counts(counts: dict[str, int]) -> str:
    shown = [f"{name} {count}" for name, count in list(counts.items())[:20]]
    more = f" and {len(counts) - 20} more" if len(counts) > 20 else ""
    return ", ".join(shown) + more


def _left_out(data: ImageSet) -> str:
    """Return a line such as ``Left out: 20 of 70 files: 12 .txt is no image, 8 unreadable (a.png: ...).``"""
    broken = [item for item in data.left_out if item.broken]
    by_reason = Counter(reason for _, reason, is_broken in data.left_out if not is_broken)
    parts = [f"{count} {_short(reason)}" for reason, count in by_reason.most_common()]
    if broken:
        parts.append(f"{len(broken)} unreadable ({examples(data.skipped, 3)})")
    return f"Left out: {len(data.left_out):,} of {len(data) + len(data.left_out):,} files: {', '.join(parts)}."


def _short(reason: str) -> str:
    return f"({reason})" if not suffix_of(reason.split(" ")[0]) and not reason.startswith(".") else reason
