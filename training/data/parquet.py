"""Parquet files as the Hugging Face Hub stores images: a column of encoded files, and often one of labels."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_serve.errors import DataError
from gan_serve.training.data.archives import Entry, read_pixels
from gan_serve.training.data.image_set import ImageSet

LABEL_COLUMNS = ("label", "labels")
ROWS_AT_ONCE = 256


def read_parquet(files: Sequence[Path], name: str, resolution: int | None, channels: int | None) -> ImageSet:
    """The first column that holds image files (bytes, or a struct with ``bytes``), and ``label`` or ``labels``.

    Raises:
        DataError: pyarrow is not installed, a file is damaged or has no such column, too many images are broken.
    """
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError("Parquet files need pyarrow.", 'Run: pip install "gan-serve[hf]".') from error
    where = str(files[0]) if len(files) == 1 else str(files[0].parent)
    try:
        schema = parquet.ParquetFile(files[0]).schema_arrow
        column = _image_column(schema, where)
        labels, class_names = _labels(parquet, files, schema)
        names = [name for file in files for name in _names(parquet, file, column)]
        pixels = read_pixels(_entries(parquet, files, column), range(len(names)), resolution, channels, where)
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are among these
        raise DataError(f"{where} cannot be read: {error}.", "Fetch the files again.") from error
    return ImageSet(
        name,
        pixels.images,
        labels[pixels.readable] if labels is not None else None,
        class_names,
        names=tuple(names[row] for row in pixels.readable),
        skipped=pixels.skipped,
    )


def _image_column(schema: Any, where: str) -> str:
    for field in schema:
        if "bytes" in _members(field) or str(field.type) in ("binary", "large_binary"):
            return str(field.name)
    raise DataError(f"{where} has no column of images; it has: {', '.join(schema.names)}.", "Give a folder of images.")


def _members(field: Any) -> list[str]:
    return [part.name for part in field.type] if str(field.type).startswith("struct") else []


def _names(parquet: Any, file: Path, column: str) -> list[str]:
    """The path that is stored with each image, else the file and the row."""
    opened = parquet.ParquetFile(file)
    if "path" not in _members(opened.schema_arrow.field(column)):
        return [f"{file.name}:{row}" for row in range(opened.metadata.num_rows)]
    stored = opened.read(columns=[f"{column}.path"]).column(column).to_pylist()
    return [(cell or {}).get("path") or f"{file.name}:{row}" for row, cell in enumerate(stored)]


def _entries(parquet: Any, files: Sequence[Path], column: str) -> Iterator[Entry]:
    for file in files:
        names = iter(_names(parquet, file, column))
        for batch in parquet.ParquetFile(file).iter_batches(ROWS_AT_ONCE, columns=[column]):
            for cell in batch.column(0).to_pylist():
                content = cell.get("bytes") if isinstance(cell, dict) else cell
                yield Entry(next(names), lambda content=content: content or b"")  # type: ignore[misc]


def _labels(parquet: Any, files: Sequence[Path], schema: Any) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels and their names: whole numbers with the names that the Hub keeps in the schema, or words."""
    column = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if column is None:
        return None, ()
    values = [value for file in files for value in parquet.read_table(file, columns=[column]).column(0).to_pylist()]
    if all(isinstance(value, str) for value in values):
        class_names = tuple(sorted(set(values)))
        index = {name: label for label, name in enumerate(class_names)}
        return np.array([index[value] for value in values], np.int64), class_names
    if not all(isinstance(value, int) and value >= 0 for value in values):
        return None, ()  # several labels an image, or -1 for a test set without labels
    stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    named = stored.get("info", {}).get("features", {}).get(column, {}).get("names") or []
    count = max(values, default=0) + 1
    return np.array(values, np.int64), tuple(map(str, named if len(named) >= count else range(count)))
