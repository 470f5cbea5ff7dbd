"""Open parquet files of other people: what their columns take is bounded, and a crash of pyarrow is an error."""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gan_serve.errors import DataError
from gan_serve.training.data.image_set import check_claim

ROWS_AT_ONCE, BYTES_AT_ONCE = 256, 64 * 2**20
ROWS_ALWAYS, ROWS_A_BYTE = 2**17, 8  # rows that files may have; equal ones, such as empty cells, take no space in them
MAX_COLUMNS = 4096
# What pyarrow raises for damaged files; its own exceptions are subclasses of these.
READ_ERRORS = (OSError, ValueError, LookupError, TypeError, OverflowError, NotImplementedError)
MAX_LISTS = 2**22  # bytes of the rows that are decoded at once
MAX_TEXT = 4096  # characters of a label, or of the path that is stored with an image

READ_IMAGES = """
import contextlib, pathlib, sys
from gan_serve.training.data.parquet import read_all
with contextlib.suppress(Exception):
    read_all([pathlib.Path(file) for file in sys.argv[2:]], sys.argv[1])
"""
READ_TABLE = """
import contextlib, sys
from gan_serve.training.data.label_tables import parquet_columns
with contextlib.suppress(Exception):
    parquet_columns(sys.stdin.buffer.read(), sys.argv[1])
"""


def import_pyarrow() -> Any:
    """Import ``pyarrow.parquet``; DataError where it is not installed."""
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError("Parquet files need pyarrow.", 'Run: pip install "gan-serve[hf]".') from error


def open_parquet(source: Path | bytes, where: str) -> Any:
    """Return a ``ParquetFile``.

    Raises:
        DataError: pyarrow is not installed, or the file claims more rows or columns than are read. One of
            ``READ_ERRORS``: it is damaged.
    """
    opened = import_pyarrow().ParquetFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    check_rows(opened.metadata.num_rows, len(source) if isinstance(source, bytes) else source.stat().st_size, where)
    if opened.metadata.num_columns > MAX_COLUMNS:
        raise DataError(
            f"{where} has {opened.metadata.num_columns:,} columns.",
            f"Keep those that are needed, up to {MAX_COLUMNS:,}.",
        )
    return opened


def check_rows(rows: int, size: int, where: str) -> None:
    """Raise DataError for files that claim far more rows than they can hold in ``size`` bytes."""
    if rows > max(ROWS_ALWAYS, ROWS_A_BYTE * size):
        raise DataError(f"{where} claims {rows:,} rows in {size:,} bytes.", "Fetch the file again.")


def column_batches(opened: Any, column: str, where: str) -> Iterator[Any]:
    """Yield a column (``a``, or ``a.b`` of a struct) as arrays of pyarrow that are small enough to be in memory."""
    if (count := opened.schema_arrow.names.count(column)) > 1:
        raise ValueError(f"it has {count:,} columns called {column[:100]!r}")
    for group in range(opened.metadata.num_row_groups):
        rows = _rows_at_once(opened.metadata.row_group(group), column, where)
        for batch in opened.iter_batches(rows, row_groups=[group], columns=[column]):
            yield batch.column(0)


def column_values(opened: Any, column: str, where: str) -> Iterator[Any]:
    """Yield the values of a column.

    Raises:
        DataError: a text has more than ``MAX_TEXT`` characters, or lists have more than ``MAX_LISTS`` bytes. One of
            ``READ_ERRORS``: the file is damaged.
    """
    for array in column_batches(opened, column, where):
        if array.type.num_fields and array.nbytes > MAX_LISTS:
            raise DataError(
                f"The column {column!r} of {where} has {array.nbytes:,} bytes in {len(array):,} rows.",
                "Labels and names have one value in a row.",
            )
        for scalar in array:  # one at a time: a dictionary may repeat a large text in every row
            value = scalar.as_py()
            if isinstance(value, str | bytes) and len(value) > MAX_TEXT:
                raise DataError(
                    f"The column {column!r} of {where} has a text of {len(value):,} characters.",
                    f"Labels and names have at most {MAX_TEXT:,}.",
                )
            yield value


def check_images(files: Sequence[Path], column: str, where: str) -> None:
    """Read the images and labels of ``files`` in another process; DataError where that process does not end normally.

    pyarrow aborts the process for some damaged files. Its exceptions are ignored here: the caller meets them again.
    """
    _check(ends_normally(READ_IMAGES, column, *map(str, files)), where)


def check_table(content: bytes, where: str, column: str = "") -> None:
    """Read a table in another process; DataError where that process does not end normally."""
    _check(ends_normally(READ_TABLE, column, content=content), where)


def _check(normal: bool, where: str) -> None:
    if not normal:
        raise DataError(f"{where} is damaged: pyarrow crashes when it reads it.", "Fetch the file again.")


def ends_normally(program: str, *arguments: str, content: bytes = b"") -> bool:
    """Return True if a Python program that ignores exceptions ends by itself."""
    path = os.pathsep.join(part or os.getcwd() for part in sys.path)  # the same packages as here
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments],
        input=content,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    return done.returncode == 0


def _rows_at_once(group: Any, column: str, where: str) -> int:
    """Return how many rows to decode at once; a dictionary may repeat one large value in every row."""
    chunks = [group.column(number) for number in range(group.num_columns)]
    chunks = [chunk for chunk in chunks if f"{chunk.path_in_schema}.".startswith(f"{column}.")]
    size = sum(chunk.total_uncompressed_size for chunk in chunks)
    check_claim(size, sum(chunk.total_compressed_size for chunk in chunks), where)
    return max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // max(1, int(size))))
