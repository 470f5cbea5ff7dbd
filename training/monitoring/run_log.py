"""Write, read and rewind ``log.jsonl``, the log of a run: a record for each tick."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gan_serve.atomic_files import write_atomically
from gan_serve.errors import RunError
from gan_serve.regular_files import read_regular

MAX_LOG_BYTES = 2**26
MAX_LOG_PARTS = 2_000_000  # values of all records; a log of 10,000 ticks has a million


def append_record(run_dir: Path, record: Mapping[str, Any]) -> None:
    """Append the record of a tick to ``log.jsonl``."""
    with open(run_dir / "log.jsonl", "a") as log:
        log.write(json.dumps(record) + "\n")


def read_log(run_dir: Path) -> list[dict[str, Any]]:
    """Return the records of ``log.jsonl``, without an incomplete last line of a killed process."""
    try:
        content = read_regular(run_dir / "log.jsonl", MAX_LOG_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(
            f"The log of {run_dir} cannot be read: {error.strerror}.", "Use another copy of the run."
        ) from error
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_LOG_PARTS:  # an empty list takes twenty times its text
        raise RunError(f"The log of {run_dir} has more than {MAX_LOG_PARTS:,} values.", "Use another copy.")
    return list(_whole_records(content.decode(errors="replace").splitlines()))


def best_kimg(run_dir: Path) -> float | None:
    """Return the kimg at which ``quality`` is lowest in the log; None if it was not measured."""
    measured = [
        (record["quality"], record["kimg"])
        for record in read_log(run_dir)
        if isinstance(record.get("quality"), int | float) and math.isfinite(record["quality"])
    ]
    return min(measured)[1] if measured else None


def rewind_log(run_dir: Path, kimg: float) -> None:
    """Remove the records and grids after the snapshot from which a run resumes, so that no tick appears twice."""
    kept = [json.dumps(record) + "\n" for record in read_log(run_dir) if record["kimg"] <= kimg]
    write_atomically(run_dir / "log.jsonl", "".join(kept))
    for path in (run_dir / "grids").glob("kimg*.png"):
        if path.stem > f"kimg{kimg:010.3f}":
            path.unlink()


def _whole_records(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        kimg = record.get("kimg") if isinstance(record, dict) else None
        if isinstance(kimg, int | float) and math.isfinite(kimg):
            yield record
