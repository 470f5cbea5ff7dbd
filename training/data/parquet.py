"""Parquet files as the Hugging Face Hub stores images: a column of encoded files, and often one of labels."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gan_serve.errors import DataError, nearest
from gan_serve.training.data.archives import check_size
from gan_serve.training.data.class_names import with_labels
from gan_serve.training.data.image_set import ImageSet, Wanted, list_names
from gan_serve.training.data.label_tables import LABEL_COLUMNS
from gan_serve.training.data.parquet_files import (
    MAX_TEXT,
    READ_ERRORS,
    check_images,
    check_rows,
    column_batches,
    column_values,
    import_pyarrow,
    open_parquet,
)
from gan_serve.training.data.pixels import Entry, read_pixels

IMAGE_COLUMNS = ("image", "img", "images", "jpg", "png", "picture", "photo")


def read_parquet(files: Sequence[Path], name: str, wanted: Wanted, column: str = "") -> ImageSet:
    """Read a column that holds image files (bytes, or a struct with ``bytes``), and one of labels.

    Args:
        files: of one data set, in order. name: of the data set.
        wanted: resolution and channels, and whether labels are asked for.
        column: of the images; if empty, the only one that holds files, or one of ``IMAGE_COLUMNS``.

    Raises:
        DataError: pyarrow is not installed, a file is damaged, no such column or several, too many images are broken.
    """
    import_pyarrow()
    where = str(files[0]) if len(files) == 1 else str(files[0].parent)
    check_images(files, column, where)
    try:
        schema = _schema(files, where)
        column = _image_column(schema, column, where)
        names = [name for file in files for name in _names(file, column)]
        pixels = read_pixels(lambda: _entries(files, column), range(len(names)), wanted, where)
        data = ImageSet(name, pixels.images, names=tuple(names[row] for row in pixels.readable), split=wanted.split,
                        size=pixels.size, extremes=pixels.extremes, left_out=pixels.broken,
                        notes=pixels.notes)  # fmt: skip
        features = _features(schema)
        label, unread = _label_column(schema, features)
        if unread := [*(each for each in _columns_of_files(schema) if each != column), *unread]:
            data = data.noting(f"columns that are not read: {', '.join(unread)}.")
        if not label or not wanted.labels:
            return data
        values = _label_values(files, label)
    except READ_ERRORS as error:
        raise DataError(f"{where} cannot be read: {' '.join(str(error).split())}.", "Fetch the files again.") from error
    class_names = features.get(label, {}).get("names")
    are_names = isinstance(class_names, list) and all(isinstance(each, str) for each in class_names)
    if not are_names or not all(isinstance(value, int) for value in values if value is not None):
        class_names = ()
    largest = max((value for value in values if isinstance(value, int)), default=0)
    if class_names and len(class_names) <= largest:
        class_names = ()
    return with_labels(data, [values[row] for row in pixels.readable], f"column {label!r} of {where}", class_names)


def _schema(files: Sequence[Path], where: str) -> Any:
    """Return the schema of the first file; DataError for files that together claim more rows than they can hold."""
    rows = sum(open_parquet(file, str(file)).metadata.num_rows for file in files)
    check_rows(rows, sum(file.stat().st_size for file in files), where)
    return open_parquet(files[0], where).schema_arrow


def _columns_of_files(schema: Any) -> list[str]:
    return [
        str(field.name) for field in schema
        if "bytes" in _members(field) or str(field.type) in ("binary", "large_binary")
    ]  # fmt: skip


def _image_column(schema: Any, asked: str, where: str) -> str:
    found = _columns_of_files(schema)
    if asked and asked not in found:
        raise DataError(
            f"{where} has no column of images {asked!r}; it has: {list_names(found)}.", nearest(asked, found)
        )
    preferred = [name for name in IMAGE_COLUMNS if name in found]
    if asked or preferred or len(found) == 1:
        return asked or (preferred or found)[0]
    if found:
        raise DataError(
            f"{where} has several columns of images: {list_names(found)}.", f"Give one: {where}:{found[0]}."
        )
    raise DataError(f"{where} has no column of images; it has: {list_names(schema.names)}.", "Give a folder of images.")


def _members(field: Any) -> list[str]:
    return [part.name for part in field.type] if str(field.type).startswith("struct") else []


def read_all(files: Sequence[Path], column: str) -> None:
    """Read what ``read_parquet`` reads of ``files``, and keep nothing; see ``check_images``."""
    schema = _schema(files, str(files[0]))
    for entry in _entries(files, _image_column(schema, column, str(files[0]))):
        with contextlib.suppress(ValueError):
            entry.read()
    if label := _label_column(schema, _features(schema))[0]:
        _label_values(files, label)


def _label_values(files: Sequence[Path], label: str) -> list[Any]:
    return [value for file in files for value in column_values(open_parquet(file, str(file)), label, str(file))]


def _names(file: Path, column: str) -> list[str]:
    """Return the path that is stored with each image, else the file and the row."""
    opened = open_parquet(file, str(file))
    if "path" not in _members(opened.schema_arrow.field(column)):
        return [f"{file.name}:{row}" for row in range(opened.metadata.num_rows)]
    stored = column_values(opened, f"{column}.path", str(file))
    return [str((cell or {}).get("path") or f"{file.name}:{row}")[:MAX_TEXT] for row, cell in enumerate(stored)]


def _entries(files: Sequence[Path], column: str) -> Iterator[Entry]:
    for file in files:
        names = iter(_names(file, column))
        for array in column_batches(open_parquet(file, str(file)), column, str(file)):
            for scalar in array:
                yield Entry(next(names), lambda scalar=scalar: _content(scalar))  # type: ignore[misc]


def _content(scalar: Any) -> bytes:
    if scalar.is_valid and hasattr(scalar, "keys"):
        scalar = scalar["bytes"]
    if not scalar.is_valid:
        raise ValueError("the cell is empty")
    if not hasattr(scalar, "as_buffer"):
        raise ValueError(f"the cell has no bytes, but {scalar.type}")
    content = scalar.as_buffer()
    check_size(len(content))
    return bytes(content)


def _features(schema: Any) -> dict[str, Any]:
    """Return what the Hub keeps in the schema about each column."""
    try:
        stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        found = dict(stored.get("info", {}).get("features", {}))
        return {name: feature for name, feature in found.items() if isinstance(feature, dict)}
    except (ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _label_column(schema: Any, features: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the column of labels (or empty), and other columns that could be labels."""
    files = {str(field.name) for field in schema if "binary" in str(field.type) or _members(field)}
    plain = [str(name) for name in schema.names if name not in files]
    of_classes = [name for name in plain if (features.get(name) or {}).get("_type") == "ClassLabel"]
    known = [name for name in LABEL_COLUMNS if name in plain]
    label = known[0] if known else of_classes[0] if len(of_classes) == 1 else ""
    return label, [name for name in plain if name != label]
