"""Labels in files beside the images: StyleGAN's ``dataset.json``, WebDataset's ``.cls``, imagefolder's ``metadata``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from gan_serve.errors import DataError
from gan_serve.training.data.label_tables import LABEL_COLUMNS, PARTS, choose, columns_of, parquet_columns, rows_of_csv
from gan_serve.training.data.list_files import Listing
from gan_serve.training.data.parquet_files import READ_ERRORS, check_table

# A table of labels may have as many; more is no table of these images.
BYTES_AN_IMAGE, BYTES_AT_LEAST = 4096, 2**20
PARTS_AN_IMAGE, PARTS_AT_LEAST = 256, 300_000


class SidecarLabels(NamedTuple):
    """A label for each image (None where an image has none), and the files that they are from."""

    values: list[Any]
    used: set[tuple[int, str]]
    source: str


def sidecar_labels(listing: Listing, kept: Sequence[int]) -> SidecarLabels | None:
    """Return the labels beside the images at the positions ``kept``; None where no file has any.

    Raises:
        DataError: a file of labels is damaged, or far larger than the images justify.
    """
    for read in (_stylegan, _webdataset, _imagefolder):
        if (found := read(listing, kept)) is not None:
            return found
    return None


def _stylegan(listing: Listing, kept: Sequence[int]) -> SidecarLabels | None:
    """Read ``dataset.json``: ``{"labels": [["00000/img00000000.png", 6], ...]}`` or ``{"labels": null}``."""
    label_of: dict[tuple[int, str], Any] = {}
    used = {key for key in listing.sidecars if PurePosixPath(key[1]).name == "dataset.json"}
    for number, path in sorted(used):
        content = _checked(listing, (number, path))
        try:
            pairs = json.loads(content).get("labels") or []
            folder = PurePosixPath(path).parent
            label_of |= {(number, str(folder / name)): label for name, label in pairs}
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise DataError(f"{path} is not the dataset.json of StyleGAN: {error}.", "Move it away.") from error
    return _found(listing, kept, label_of, used, "dataset.json")


def _webdataset(listing: Listing, kept: Sequence[int]) -> SidecarLabels | None:
    """Read ``.cls``, else ``.json``, that share an image's path up to the first dot of the file's name."""
    for suffix, read in ((".cls", _cls), (".json", _json_label)):
        label_of: dict[tuple[int, str], Any] = {}
        used = {key for key in listing.sidecars if key[1].endswith(suffix) and not key[1].endswith("dataset.json")}
        for number, path in used:
            label = read(listing.sidecars[number, path])
            if label is not None:
                label_of[number, _key(path)] = label
        # A record beside a .cls belongs to the sample too, and is not reported as a file that is left out.
        used |= {key for key in listing.sidecars if (key[0], _key(key[1])) in label_of}
        if found := _found(listing, kept, label_of, used, suffix, key=_key):
            return found
    return None


def _cls(content: bytes) -> Any:
    text = content.decode("utf-8", "replace").strip()
    return int(text) if text.removeprefix("-").isdecimal() else text or None


def _json_label(content: bytes) -> Any:
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return None
    columns = (column for column in LABEL_COLUMNS if isinstance(record, dict) and column in record)
    return next((record[column] for column in columns if isinstance(record[column], int | str)), None)


def _key(path: str) -> str:
    """Return the path up to the first dot of the file's name."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.split(".", 1)[0]


def _imagefolder(listing: Listing, kept: Sequence[int]) -> SidecarLabels | None:
    """Read ``metadata.jsonl``, ``.csv`` or ``.parquet``, whose ``file_name`` is seen from the table's folder."""
    label_of: dict[tuple[int, str], Any] = {}
    used: set[tuple[int, str]] = set()
    readers: dict[str, Callable[[bytes], Mapping[str, list[Any]]]] = {
        ".jsonl": _jsonl_columns, ".csv": lambda content: rows_of_csv(content)[0], ".parquet": _parquet_columns,
    }  # fmt: skip
    for number, path in sorted(listing.sidecars):
        table = PurePosixPath(path)
        if table.stem != "metadata" or table.suffix not in readers:
            continue
        content = _checked(listing, (number, path))
        try:
            columns = readers[table.suffix](content)
        except (ValueError, OSError, RecursionError) as error:
            raise DataError(
                f"{path} cannot be read: {' '.join(str(error).split())}.", "Repair it, or move it away."
            ) from error
        names, labels = choose(columns)
        if names is None or labels is None:
            continue  # the summary names the table as one that is not read
        used.add((number, path))
        pairs = zip(columns[names], columns[labels], strict=True)
        label_of |= {(number, str(table.parent / str(name))): label for name, label in pairs}
    return _found(listing, kept, label_of, used, "metadata") if used else None


def _parquet_columns(content: bytes) -> dict[str, list[Any]]:
    check_table(content, "metadata.parquet")
    try:
        return parquet_columns(content)
    except READ_ERRORS as error:
        raise ValueError(str(error)) from error


def _jsonl_columns(content: bytes) -> dict[str, list[Any]]:
    records = [json.loads(line) for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    return columns_of(records)


def _found(
    listing: Listing, kept: Sequence[int], label_of: Mapping[tuple[int, str], Any], used: set[tuple[int, str]],
    source: str, key: Callable[[str], str] = str,
) -> SidecarLabels | None:  # fmt: skip
    values = [label_of.get((listing.containers[position], key(listing.images[position]))) for position in kept]
    if all(value is None for value in values):
        return None
    return SidecarLabels(values, used, source)


def _checked(listing: Listing, key: tuple[int, str]) -> bytes:
    """Return a table's content, unless it is far larger than the images justify."""
    content = listing.sidecars[key]
    if len(content) > BYTES_AT_LEAST + BYTES_AN_IMAGE * len(listing.images):
        raise DataError(f"{key[1]} has {len(content)} bytes for {len(listing.images)} images.", "Move it away.")
    if not key[1].endswith(".parquet"):
        parts = sum(weight * content.count(sign.encode()) for sign, weight in PARTS.items())
        if parts > PARTS_AT_LEAST + PARTS_AN_IMAGE * len(listing.images):
            raise DataError(f"{key[1]} has {parts:,} values for {len(listing.images)} images.", "Move it away.")
    return content
