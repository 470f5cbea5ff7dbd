"""Match the rows of a table of labels with images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from gan_serve.errors import DataError, nearest
from gan_serve.training.data.arrays import ARRAY_ERRORS, stored_arrays
from gan_serve.training.data.class_names import Classes, clean_name, texts, word_classes
from gan_serve.training.data.image_set import ImageSet, Int64Array, examples
from gan_serve.training.data.label_tables import FORM, LABEL_COLUMNS, Table


def relabel(data: ImageSet, table: Table) -> ImageSet:
    """Return ``data`` with the labels of ``table``, matched by file name, or by row where the images have no names.

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
    return data.with_(labels=labels, class_names=class_names).noting(*table.notes)


def read_attributes(path: Path, images: Sequence[str]) -> tuple[tuple[str, ...], Int64Array]:
    """Return all attributes of images, from an npz with ``attr_names`` [K], and ``attrs`` [M, K] of ``filenames`` [M].

    Args:
        path: of the npz.
        images: the names of N images.

    Returns:
        The names of the K attributes, and int64 [N, K]: 1 where an image has one, else 0.

    Raises:
        DataError: the file is not such an npz, or does not know an image.
    """
    try:
        arrays = stored_arrays(path)
        names, values, files = (arrays[name].read() for name in ("attr_names", "attrs", "filenames"))
    except (*ARRAY_ERRORS, KeyError) as error:
        raise DataError(f"{path} is no readable npz with attrs, attr_names, filenames: {error}.", FORM) from error
    if values.shape != (len(files), len(names)):
        raise DataError(f"attrs in {path} is of shape {list(values.shape)}, not {[len(files), len(names)]}.", FORM)
    if not images:
        raise DataError("The images have no names.", "Give image files, or an archive of them.")
    rows = _match(images, texts(files), ["".join(map(str, row)) for row in values], path)
    return tuple(texts(names)), (values[rows] > 0).astype(np.int64)


def classes_of(values: Sequence[str], column: str) -> Classes:
    """Return the classes of a column: see ``word_classes``.

    Where all values are -1 or 1, or 0 or 1, they say whether an image has the property that the column is called after.

    >>> classes_of(["-1", "1"], "Blond_Hair")
    Classes(labels=array([0, 1]), class_names=('not blond hair', 'blond hair'))
    """
    different = set(values)
    if (different <= {"-1", "1"} or different <= {"0", "1"}) and column.casefold() not in LABEL_COLUMNS:
        name = clean_name(column.replace("_", " ").lower())
        return Classes(np.array([value == "1" for value in values], np.int64), (f"not {name}", name))
    return word_classes(values)


def _match(images: Sequence[str], names: Sequence[str], values: Sequence[str], path: Path) -> list[int]:
    """Return the row of each image: by its whole path, else by its file name, else by that without its suffix."""
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
