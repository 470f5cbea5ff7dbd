"""Read labels from a column of a table: ``file.csv:column``, in CSV of many forms, JSON, npz or parquet."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_serve.errors import DataError, nearest
from gan_serve.training.data.arrays import ARRAY_ERRORS, stored_arrays
from gan_serve.training.data.class_names import texts
from gan_serve.training.data.formats import suffix_of
from gan_serve.training.data.image_set import list_names
from gan_serve.training.data.parquet_files import READ_ERRORS, check_table, column_values, open_parquet

NAME_COLUMNS = ("image", "file", "filename", "file_name", "image_id", "path", "filepath")
# Columns whose values are classes: a 0 and a 1 there are two classes, not the absence and the presence of something.
LABEL_COLUMNS = (
    "label", "labels", "class", "classes", "class_name", "category", "target", "targets", "fine_label", "y",
)  # fmt: skip
NONE = "none"
FORM = "Write labels as file.csv:column, file.npz:attribute, or none."
DELIMITERS = ",;\t|"
MAX_TABLE_BYTES, MAX_TABLE_PARTS = 128 * 2**20, 8_000_000
PARTS = {",": 1, "[": 3, "{": 5}  # what these stand for: an object of JSON takes as much memory as five texts


class Table(NamedTuple):
    """A column of labels: the image that each row is for (None where the file has no names), and its value."""

    path: Path
    column: str
    names: list[str] | None
    values: list[str]
    notes: tuple[str, ...] = ()


def read_table(spec: str, beside: Path | None = None) -> Table:
    """Return the column that ``spec`` names.

    Args:
        spec: ``file:column`` of a CSV, TSV, TXT, JSON, JSONL, npz or parquet file.
        beside: the images: the file is looked for in their folder where the current one does not have it.

    Raises:
        DataError: no such file or column, rows without a value.
    """
    file, _, column = spec.rpartition(":")
    path = _find(file or spec, beside)
    return Table(path, column if file else "", *_read_column(path, column if file else ""))


def _read_column(path: Path, column: str) -> tuple[list[str] | None, list[str], tuple[str, ...]]:
    """Return the images' names (None without a column of names), the values of ``column``, and notes.

    Raises:
        DataError: the file is no table, or has no such column, or rows without a value.
    """
    suffix = suffix_of(path.name)
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise DataError(f"{path} has {path.stat().st_size} bytes.", "Tables of labels up to 128 MB are read.")
    if "," in column:
        raise DataError(f"{column} names several columns; labels are read from one.", FORM)
    if suffix == ".npz":
        return _npz_column(path, column)
    if suffix in (".json", ".jsonl", ".parquet"):
        return _named_column(path, column, _json_columns(path) if suffix != ".parquet" else _parquet(path, column))
    return _text_column(path, column)


def _find(file: str, beside: Path | None) -> Path:
    path = Path(file).expanduser()
    candidates = [path, (beside if os.path.isdir(beside) else beside.parent) / path] if beside else [path]
    try:
        return next(candidate for candidate in candidates if os.path.isfile(candidate))
    except StopIteration:
        raise DataError(f"There are no labels at {file}.", FORM) from None


def no_column(path: Path, column: str, columns: Sequence[str]) -> DataError:
    """Return the error for a ``column`` that a table does not have; it names the nearest."""
    asked = f"no column {column!r}" if column else "several columns, and none was named"
    return DataError(f"{path} has {asked}; it has: {list_names(columns)}.", nearest(column, columns[:1000]) or FORM)


def rows_of_csv(content: bytes) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return the columns of a CSV, by the names in its header, and notes about its form.

    Raises:
        ValueError: a row has another number of cells.
    """
    text, delimiter, notes = _text_form(content)
    try:
        rows = list(_csv_rows(text, delimiter))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"not all rows have {len(header)} cells")
    return {name: [row[at].strip() for row in rows[1:]] for at, name in enumerate(header)}, notes


def parquet_columns(content: bytes, column: str = "") -> dict[str, list[Any]]:
    """Return the columns of a parquet file that hold no images, with the values of those that ``choose`` returns.

    Raises:
        DataError: pyarrow is not installed, or it claims too much. One of ``READ_ERRORS``: the file is damaged.
    """
    opened = open_parquet(content, "the table")
    plain = [field.name for field in opened.schema_arrow if not str(field.type).startswith(("binary", "struct"))]
    chosen = choose(plain, column)
    return {name: list(column_values(opened, name, "the table")) if name in chosen else [] for name in plain}


def choose(columns: Iterable[str], column: str = "") -> tuple[str | None, str | None]:
    """Return the column of names and that of labels: ``column``, else the first of ``LABEL_COLUMNS``; None for none."""
    columns = list(columns)
    label = column or next((name for name in LABEL_COLUMNS if name in columns), None)
    return next((name for name in columns if name.casefold() in NAME_COLUMNS and name != label), None), label


def columns_of(records: Sequence[Any]) -> dict[str, list[Any]]:
    """Return the values of objects by the names that the first has.

    Raises:
        ValueError: one is no object, or there are too many values.
    """
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("it is no list of objects")
    names = list(records[0]) if records else []
    if len(names) * len(records) > MAX_TABLE_PARTS:  # the other objects may be empty
        raise ValueError(f"it has {len(names):,} columns of {len(records):,} rows")
    return {name: [record.get(name) for record in records] for name in names}


def _text_form(content: bytes) -> tuple[str, str, tuple[str, ...]]:
    """Return the text of a table, the character between its cells, and notes where the form is unusual."""
    encoding = "utf-8-sig"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif len(content) > 3 and not any(content[1:64:2]):
        encoding = "utf-16-le"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        encoding = "cp1252"
        text = content.decode(encoding, "replace")
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=header.count)
    notes = []
    if encoding != "utf-8-sig":
        notes.append(f"the table of labels is read as {encoding}, since it is not UTF-8.")
    if delimiter != "," and header.count(delimiter):
        notes.append(f"the table of labels has {delimiter!r} between its cells.")
    return text, delimiter, tuple(notes)


def _text_column(path: Path, column: str) -> tuple[list[str] | None, list[str], tuple[str, ...]]:
    """Read a CSV, a table with tabs or semicolons, or CelebA's ``list_attr_celeba.txt``."""
    try:
        text, delimiter, notes = _text_form(path.read_bytes())
        rows = _celeba_rows(text) if re.match(r"\s*\d+\s*\n", text) else _csv_rows(text, delimiter)
        header = [cell.strip() for cell in next(rows, [])]
        if column not in header:
            raise no_column(path, column, header)
        value_at = header.index(column)
        name_at = next((at for at, cell in enumerate(header) if cell.casefold() in NAME_COLUMNS), 0)
        names, values = [], []
        for number, row in enumerate(rows, 2):
            if len(row) != len(header) or not row[value_at].strip():
                raise DataError(f"Row {number} of {path} has no {column}, or not {len(header)} cells.", "Complete it.")
            names.append(row[name_at].strip())
            values.append(row[value_at].strip())
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} is not a readable CSV: {error}.", FORM) from error
    # With one column, or asked for the first itself, there are no names.
    return names if name_at != value_at else None, values, notes


def _csv_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    return (row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row)


def _celeba_rows(text: str) -> Iterator[list[str]]:
    """Yield rows of CelebA's text files: the number of images, the names of the attributes, a row for each image."""
    lines = iter(text.strip().splitlines())
    next(lines)
    yield ["image_id", *next(lines, "").split()]
    for line in lines:
        yield line.split()


def _json_columns(path: Path) -> Mapping[str, list[Any]]:
    """Read JSON lines, a list of objects, or StyleGAN's ``dataset.json``."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if sum(weight * text.count(sign) for sign, weight in PARTS.items()) > MAX_TABLE_PARTS:
            raise ValueError(
                f"it has more than {MAX_TABLE_PARTS:,} values, of which a list counts as three and an object as five"
            )
        if path.suffix.casefold() == ".jsonl":
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            found = _records(json.loads(text))
        return columns_of(found)
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}.", FORM) from error


def _records(found: Any) -> list[Any]:
    """Return the rows of a list of objects, or of StyleGAN's ``{"labels": [[name, label], ...]}``."""
    if isinstance(found, dict) and isinstance(found.get("labels"), list):
        return [{"file_name": pair[0], "label": pair[1]} for pair in found["labels"] if len(pair) == 2]
    return found if isinstance(found, list) else [found]


def _parquet(path: Path, column: str) -> Mapping[str, list[Any]]:
    try:
        content = path.read_bytes()
        check_table(content, str(path), column)
        return parquet_columns(content, column)
    except READ_ERRORS as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}.", "Fetch the file again.") from error


def _named_column(
    path: Path, column: str, columns: Mapping[str, list[Any]]
) -> tuple[list[str] | None, list[str], tuple[str, ...]]:
    name_column, label = choose(columns, column)
    if label is None or label not in columns:
        raise no_column(path, column, list(columns))
    column, names = label, None if name_column is None else columns[name_column]
    for number, value in enumerate(columns[column], 1):
        if value is None or isinstance(value, list | dict):
            raise DataError(f"Row {number} of {path} has no single value of {column}.", "Complete it.")
    return None if names is None else list(map(str, names)), [str(value) for value in columns[column]], ()


def _npz_column(path: Path, column: str) -> tuple[list[str] | None, list[str], tuple[str, ...]]:
    try:
        stored = stored_arrays(path)
        arrays = {name: array.read() for name, array in stored.items() if len(array.shape) < 3}
    except ARRAY_ERRORS as error:
        raise DataError(f"{path} is not a readable npz: {error}.", FORM) from error
    names = texts(arrays.pop("filenames")) if "filenames" in arrays else None
    attributes = texts(arrays["attr_names"]) if "attr_names" in arrays else []
    if column in attributes and "attrs" in arrays and arrays["attrs"].shape[1:] == (len(attributes),):
        values = arrays["attrs"][:, attributes.index(column)]
    elif column in arrays and (arrays[column].ndim == 1 or arrays[column].shape[1:] == (1,)):
        values = arrays[column].reshape(-1)
    else:
        one = [name for name, array in arrays.items() if array.ndim == 1 and name not in ("attr_names", "class_names")]
        raise no_column(path, column, [*one, *attributes])
    if values.dtype.kind not in "biuUS":
        raise DataError(f"'{column}' in {path} is {values.dtype}.", "Labels are whole numbers, booleans or words.")
    if names is not None and len(names) != len(values):
        raise DataError(
            f"{path} has {len(names)} file names and {len(values)} of '{column}'.", "Store one for each image."
        )
    if values.dtype.kind in "iu" and "class_names" in arrays and column in LABEL_COLUMNS:
        class_names = texts(arrays["class_names"])
        if values.min(initial=0) >= 0 and values.max(initial=0) < len(class_names):
            return names, [class_names[value] for value in values], ()
    return names, texts(values.astype(int) if values.dtype.kind == "b" else values), ()
