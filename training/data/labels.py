"""Labels from a table beside the images: ``file.csv:column`` or ``file.npz:attribute``."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from gan_serve.errors import DataError, nearest
from gan_serve.training.data.arrays import NPZ_ERRORS
from gan_serve.training.data.image_set import MAX_CLASSES, ImageSet, Int64Array, examples

NONE = "none"
NAME_COLUMNS = ("image", "file", "filename", "file_name", "image_id")
# Columns whose 0 and 1 are two classes, not the absence and the presence of something.
PLAIN_COLUMNS = frozenset({"label", "labels", "class", "classes", "target", "targets", "y"})
FORM = "Write labels as file.csv:column, file.npz:attribute, or none."


class Table(NamedTuple):
    """A column of labels: the image that each row is for (None where the file has no names), and its value."""

    path: Path
    column: str
    names: list[str] | None
    values: list[str]


def read_table(spec: str, beside: Path | None = None) -> Table:
    """The column that ``spec`` names.

    Args:
        spec: ``file.csv:column`` or ``file.npz:attribute``.
        beside: the images: the file is looked for in their folder where it does not lie in the current one.

    Raises:
        DataError: no such file or column, rows without a value.
    """
    file, _, column = spec.rpartition(":")
    path = _find(file or spec, beside)
    return (_read_npz if path.suffix == ".npz" else _read_csv)(path, column if file else "")


def relabel(data: ImageSet, table: Table) -> ImageSet:
    """``data`` with the labels of ``table``, matched by file name, or by row where the images have no names.

    Raises:
        DataError: images without a row, names that fit several, another number of rows, too many classes.
    """
    path = table.path
    if data.names and table.names is None:
        raise DataError(f"{path} does not say which image a row is for.", "Add the images' file names to it.")
    if data.names and table.names is not None:
        rows = _match(data.names, table.names, table.values, path)
    elif len(table.values) == len(data):
        rows = list(range(len(data)))
    else:
        raise DataError(
            f"{path} has {len(table.values)} rows for {len(data)} images.", "Give one row an image, in order."
        )
    labels, class_names = classes_of([table.values[row] for row in rows], table.column)
    return replace(data, labels=labels, class_names=class_names)


def read_attributes(path: Path, images: Sequence[str]) -> tuple[tuple[str, ...], Int64Array]:
    """All attributes of images, by an npz with ``attr_names`` [K], and ``attrs`` [M, K] of the ``filenames`` [M].

    Args:
        path: of the npz.
        images: the names of N images.

    Returns:
        The names of the K attributes, and int64 [N, K]: 1 where an image has one, else 0.

    Raises:
        DataError: the file is not such an npz, or does not know an image.
    """
    try:
        with np.load(path, allow_pickle=False) as opened:
            names, values, files = opened["attr_names"], opened["attrs"], opened["filenames"]
    except (*NPZ_ERRORS, KeyError) as error:
        raise DataError(f"{path} is no readable npz with attrs, attr_names, filenames: {error}.", FORM) from error
    if values.shape != (len(files), len(names)):
        raise DataError(f"attrs in {path} is of shape {list(values.shape)}, not {[len(files), len(names)]}.", FORM)
    if not images:
        raise DataError("The images have no names.", "Give image files, or an archive of them.")
    rows = _match(images, [str(file) for file in files], ["".join(map(str, row)) for row in values], path)
    return tuple(str(name) for name in names), (values[rows] > 0).astype(np.int64)


def classes_of(values: Sequence[str], column: str) -> tuple[Int64Array, tuple[str, ...]]:
    """Labels int64 [N] and the names of their classes: the distinct values, numbers in their order, else as words.

    Where all values are -1 or 1, or 0 or 1, they say whether an image has what the column is called.

    >>> classes_of(["-1", "1"], "Blond_Hair")
    (array([0, 1]), ('not blond hair', 'blond hair'))
    >>> classes_of(["10", "9", "10"], "age")
    (array([1, 0, 1]), ('9', '10'))
    """
    different = set(values)
    if (different <= {"-1", "1"} or different <= {"0", "1"}) and column.casefold() not in PLAIN_COLUMNS:
        name = column.replace("_", " ").lower()
        return np.array([value == "1" for value in values], np.int64), (f"not {name}", name)
    if len(different) > MAX_CLASSES:
        raise DataError(f"'{column}' has {len(different)} different values.", f"There may be {MAX_CLASSES} classes.")
    numbers = all(value.removeprefix("-").isdecimal() for value in different)
    class_names = tuple(sorted(different, key=int)) if numbers else tuple(sorted(different))
    index = {name: label for label, name in enumerate(class_names)}
    return np.array([index[value] for value in values], np.int64), class_names


def _find(file: str, beside: Path | None) -> Path:
    path = Path(file).expanduser()
    candidates = [path, (beside if os.path.isdir(beside) else beside.parent) / path] if beside else [path]
    try:
        return next(candidate for candidate in candidates if os.path.isfile(candidate))
    except StopIteration:
        raise DataError(f"There are no labels at {file}.", FORM) from None


def _read_csv(path: Path, column: str) -> Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path} is not a readable CSV: {error}.", FORM) from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    name_at = next((at for at, cell in enumerate(header) if cell.casefold() in NAME_COLUMNS), 0)
    if column not in header:
        raise _no_column(path, column, header)
    value_at = header.index(column)
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header) or not row[value_at].strip():
            raise DataError(f"Row {number} of {path} has no {column}, or not {len(header)} cells.", "Complete it.")
    # With one column, or asked for the first itself, there are no names.
    names = [row[name_at].strip() for row in rows[1:]] if name_at != value_at else None
    return Table(path, column, names, [row[value_at].strip() for row in rows[1:]])


def _read_npz(path: Path, column: str) -> Table:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files if name != "images"}
    except NPZ_ERRORS as error:
        raise DataError(f"{path} is not a readable npz: {error}.", FORM) from error
    names = [str(name) for name in np.atleast_1d(arrays.pop("filenames"))] if "filenames" in arrays else None
    attributes = [str(name) for name in np.atleast_1d(arrays.get("attr_names", []))]
    if column in attributes and arrays.get("attrs", np.empty(0)).shape[1:] == (len(attributes),):
        values = arrays["attrs"][:, attributes.index(column)]
    elif column in arrays and arrays[column].ndim == 1:
        values = arrays[column]
    else:
        columns = [
            name for name, array in arrays.items() if array.ndim == 1 and name not in ("attr_names", "class_names")
        ]
        raise _no_column(path, column, [*columns, *attributes])
    if values.dtype.kind not in "biuU":
        raise DataError(f"'{column}' in {path} is {values.dtype}.", "Labels are whole numbers, booleans or words.")
    if names is not None and len(names) != len(values):
        raise DataError(
            f"{path} has {len(names)} file names and {len(values)} of '{column}'.", "Store one each an image."
        )
    if "class_names" in arrays and column in PLAIN_COLUMNS and values.dtype.kind in "iu":
        class_names = [str(name) for name in np.atleast_1d(arrays["class_names"])]
        if values.min(initial=0) >= 0 and values.max(initial=0) < len(class_names):
            return Table(path, column, names, [class_names[value] for value in values])
    return Table(
        path, column, names, [str(value) for value in (values.astype(np.int64) if values.dtype.kind == "b" else values)]
    )


def _no_column(path: Path, column: str, columns: Sequence[str]) -> DataError:
    asked = f"no column {column!r}" if column else "several columns, and none was named"
    shown = ", ".join(columns[:50]) + (", ..." if len(columns) > 50 else "")
    return DataError(f"{path} has {asked}; it has: {shown}.", nearest(column, columns) or FORM)


def _match(images: Sequence[str], names: Sequence[str], values: Sequence[str], path: Path) -> list[int]:
    """The row of each image: by its whole path, else by its file name, else by that without its suffix."""
    fewest_missing: list[str] | None = None
    for key in KEYS:
        row_of: dict[str, int] = {}
        twice = {}
        for row, name in enumerate(names):
            first = row_of.setdefault(key(name), row)
            if values[first] != values[row]:
                twice[key(name)] = f"{name!r} in rows {first + 2} and {row + 2}"
        missing = [image for image in images if key(image) not in row_of]
        if not missing:
            clashes = [twice[key(image)] for image in images if key(image) in twice]
            if clashes:
                raise DataError(f"{path} has different labels for {examples(clashes)}.", "Keep one row an image.")
            if len({key(image) for image in images}) < len(images):
                raise DataError(
                    f"Several images have the same name ({examples(_repeated(images, key))}): their rows in {path} "
                    "cannot be told apart.",
                    "Write the images' paths as seen from the source into it.",
                )
            return [row_of[key(image)] for image in images]
        if fewest_missing is None or len(missing) < len(fewest_missing):
            fewest_missing = missing
    missing = fewest_missing or []
    raise DataError(
        f"{len(missing)} of {len(images)} images have no row in {path}: {examples(missing)}.",
        nearest(missing[0], names[:2000]) or f"It has rows for: {examples(names)}.",
    )


def _repeated(images: Sequence[str], key: Callable[[str], str]) -> list[str]:
    seen: set[str] = set()
    return [image for image in images if key(image) in seen or seen.add(key(image))]  # type: ignore[func-returns-value]


KEYS: tuple[Callable[[str], str], ...] = (
    lambda name: str(PurePosixPath(name.replace("\\", "/"))),
    lambda name: PurePosixPath(name.replace("\\", "/")).name,
    lambda name: PurePosixPath(name.replace("\\", "/")).stem,
)
