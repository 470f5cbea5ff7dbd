"""Labels: class names or indices that a caller gives, as the classes of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gan_serve.checkpoint.config import CheckpointConfig
from gan_serve.errors import UnknownLabel, nearest, shorten
from gan_serve.sampling.session import Int64Array

Label = str | int
Labels = Label | Sequence[Label]


def classes_of_images(
    config: CheckpointConfig, label: Label | Iterable[Label] | None, numbers: Sequence[int]
) -> Int64Array | None:
    """Return the class of each image, int64 [N], or None for a model without classes.

    Args:
        config: of the model.
        label: one for all images, or a list of one for each.
        numbers: a number for each image: its class is the number modulo c_dim if ``label`` is None.

    Raises:
        UnknownLabel: the model does not have a label, or there is another number of labels than of images.
    """
    if label is None:
        return np.array([number % config.c_dim for number in numbers], np.int64) if config.c_dim else None
    one_each = as_list(label)
    if one_each is None or not config.c_dim:
        return np.full(len(numbers), _class(config, label), np.int64)
    classes = [_class(config, each) for each in one_each]
    if len(classes) != len(numbers):
        raise UnknownLabel(
            f"There are {len(classes)} labels for {len(numbers)} images.", "Give one label, or one for each image."
        )
    return np.array(classes, np.int64)


def classes_of_rows(config: CheckpointConfig, labels: Label | Iterable[Label] | None) -> list[int]:
    """Return the class of each row of a sheet: those that ``labels`` name, or all classes if None.

    Raises:
        UnknownLabel: the model does not have a label, has no labels at all, or a label is given twice.
    """
    if not config.c_dim:
        raise UnknownLabel(
            f"{config.name} has no labels; it is not conditional.", "Use generate, or POST /sample, instead."
        )
    if labels is None:
        return list(range(config.c_dim))
    several = as_list(labels)
    classes = [_class(config, each) for each in ([labels] if several is None else several)]
    if not classes:
        raise UnknownLabel("The list of labels is empty.", "Name one or more, or leave labels out for all of them.")
    for place, number in enumerate(classes):
        if number in classes[:place]:
            raise UnknownLabel(f"The label {config.class_names[number]!r} is given twice.", "Give each label once.")
    return classes


def as_list(label: Any) -> list[Any] | None:
    """Return several labels as a list, or None for a single one (an array without dimensions is a single one)."""
    try:
        return None if isinstance(label, str | bytes) else list(label)
    except TypeError:
        return None


def _class(config: CheckpointConfig, label: object) -> int:
    if not config.c_dim:
        raise UnknownLabel(f"{config.name} has no labels; it is not conditional.", "Leave the label out.")
    if isinstance(label, str) and label in config.class_names:
        return config.class_names.index(label)
    if isinstance(label, int | np.integer) and not isinstance(label, bool) and 0 <= label < config.c_dim:
        return int(label)
    raise UnknownLabel(
        f"{config.name} has no label {shorten(label)}; it has: "
        f"{', '.join(config.class_names)} (or 0 to {config.c_dim - 1}).",
        nearest(label, config.class_names) if isinstance(label, str) else "",
    )
