"""Turn label values into classes: clean names, their order, and integers from 0."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.class_names import MAX_LENGTH, clean_class_name
from gan_serve.errors import DataError
from gan_serve.training.data.image_set import MAX_CLASSES, MAX_LEFT_OUT, ImageSet, Int64Array, LeftOut, examples


class Classes(NamedTuple):
    """Labels int64 [N] (-1 for an image without one), and the names of the classes."""

    labels: Int64Array
    class_names: tuple[str, ...]


def with_labels(
    data: ImageSet, values: Sequence[Any] | npt.NDArray[Any], where: str, class_names: Sequence[Any] = ()
) -> ImageSet:
    """Return ``data`` with a label for each image.

    Args:
        data: N images.
        values: N integers, integral floats, words (str or bytes), or None and NaN for images without a label.
        where: the source, for messages.
        class_names: names for the integers, in order.

    Raises:
        DataError: another number of values, more than a tenth of the images have no label, labels out of range,
            names that are missing, duplicate or not printable.
    """
    if len(values) != len(data):
        raise DataError(f"{where} has {len(values)} labels for {len(data)} images.", "Store one label for each image.")
    plain = [_plain(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values)]
    if any(isinstance(value, list | dict) for value in plain):
        return data.noting(f"{where} has several labels for each image: they are not read.")
    if plain and all(value is None or value == -1 for value in plain):
        return data.noting(f"{where} has a place for labels, but no image has one.")
    if any(isinstance(value, float) for value in plain):
        return data.noting(f"the labels of {where} are fractions ({_first_float(plain)}...): they are not read.")
    if all(value is None or isinstance(value, int) for value in plain):
        found = _number_classes([-1 if value is None else int(value) for value in plain], where, class_names)
    else:
        found = word_classes(None if value is None else str(value) for value in plain)
    return _labelled(data, found, where)


def word_classes(values: Iterable[str | None]) -> Classes:
    """Return the distinct values as classes: whole numbers in their order, else words in theirs.

    >>> word_classes(["10", "9", "10"])
    Classes(labels=array([1, 0, 1]), class_names=('9', '10'))
    """
    cleaned: dict[str | None, str | None] = {None: None}
    names = []
    for value in values:
        if value not in cleaned:
            cleaned[value] = clean_name(value or "")
        names.append(cleaned[value])
    different = sorted({name for name in names if name is not None}, key=natural_key)
    if len(different) > MAX_CLASSES:
        raise DataError(f"There are {len(different)} different labels.", f"There may be {MAX_CLASSES} classes.")
    index = {name: label for label, name in enumerate(different)}
    return Classes(np.array([-1 if name is None else index[name] for name in names], np.int64), tuple(different))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts numbers in names by their value.

    >>> sorted(["class10", "class2", "-1", "3"], key=natural_key)
    ['-1', '3', 'class2', 'class10']
    """
    if re.fullmatch(r"-?[0-9]+", name):
        return ((0, int(name), name),)
    parts = re.split(r"([0-9]+)", name)
    return tuple((1, int(part), part) if part.isascii() and part.isdigit() else (2, 0, part) for part in parts)


def clean_name(text: str) -> str:
    """Return a class name as a checkpoint stores it; see ``clean_class_name``.

    Raises:
        DataError: the name is empty, too long, or has characters that cannot be shown.
    """
    try:
        return clean_class_name(text)
    except ValueError as error:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise DataError(
            f"{shown!r} cannot be the name of a class: {error}.",
            f"Use 1 to {MAX_LENGTH} printable characters, or --labels none.",
        ) from error


def texts(array: npt.NDArray[Any]) -> list[str]:
    """Return an array of str or bytes as a flat list of str."""
    return [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for value in np.atleast_1d(array).ravel().tolist()
    ]


def _plain(value: Any) -> Any:
    """Return int, str, None, a fraction as float, or a list of several values."""
    if isinstance(value, (list, tuple)):
        return _plain(value[0]) if len(value) == 1 else list(value) or None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    if isinstance(value, str) and not value.strip():
        return None
    return value


def _number_classes(values: list[int], where: str, class_names: Sequence[Any]) -> Classes:
    smallest, largest = min(values, default=0), max(values, default=0)
    if smallest < -1:
        raise DataError(f"The labels of {where} go down to {str(smallest)[:20]}.", "They must be whole numbers from 0.")
    if largest >= MAX_CLASSES:
        raise DataError(
            f"The labels of {where} go up to {str(largest)[:20]}.", f"There may be {MAX_CLASSES} classes, from 0."
        )
    labels = np.array(values, np.int64)
    names = tuple(clean_name(text) for text in texts(np.asarray(class_names))) if len(class_names) else ()
    if names and len(names) <= largest:
        raise DataError(f"{where} names {len(names)} classes for {largest + 1} labels.", "Name every class.")
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"{where} names several classes {examples(sorted(twice))}.", "Give each class its own name.")
    if names:
        return Classes(labels, names)
    used = np.unique(labels[labels >= 0])
    if used[0] == 0 and 2 * len(used) > largest:
        return Classes(labels, tuple(str(label) for label in range(largest + 1)))
    # Numbers with wide gaps are codes: a class for each one that occurs, not for each that does not.
    compact = np.where(labels < 0, -1, np.searchsorted(used, labels))
    return Classes(compact.astype(np.int64), tuple(str(label) for label in used))


def _labelled(data: ImageSet, found: Classes, where: str) -> ImageSet:
    """Add labels to ``data``; images without one are left out where they are few."""
    missing = np.flatnonzero(found.labels < 0)
    if len(missing) > MAX_LEFT_OUT * len(data):
        raise DataError(
            f"{len(missing)} of {len(data)} images have no label in {where} (labels are empty or -1).",
            f"Up to {MAX_LEFT_OUT:.0%} are left out; beyond that, complete the labels, or give --labels none.",
        )
    left_out = tuple(LeftOut(data.name_of(int(row)), "it has no label") for row in missing)
    kept = data.only(found.labels >= 0) if len(missing) else data
    return kept.with_(
        labels=found.labels[found.labels >= 0], class_names=found.class_names, left_out=kept.left_out + left_out
    )


def _first_float(values: Sequence[Any]) -> float:
    return float(next(value for value in values if isinstance(value, float)))
