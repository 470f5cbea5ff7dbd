"""Parse untrusted JSON: its size in memory and its depth are bounded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from gan_serve.regular_files import read_regular

MAX_BYTES = 2**26  # of the files of a run, of which run.json can name each image that was left out
MAX_PARTS = 300_000  # values of one file; a config with 65,536 class names has fewer than half
MAX_DEPTH = 32  # the reports of gan-serve are 4 deep; pydantic cannot write more than 255


def parse_json(content: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, it has NaN, an infinite number or text that is not Unicode, or it has more than
            ``MAX_PARTS`` values or is nested more than ``MAX_DEPTH`` deep.
    """
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_PARTS:  # an empty list takes twenty times its text
        raise ValueError(f"it has more than {MAX_PARTS:,} values")
    try:
        value = json.loads(content, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        if isinstance(part, dict):
            waiting += [(each, depth + 1) for pair in part.items() for each in pair]
        elif isinstance(part, list):
            waiting += [(each, depth + 1) for each in part]
        elif isinstance(part, str):
            part.encode()  # half of a surrogate pair is a UnicodeEncodeError, a ValueError
        elif isinstance(part, float) and not math.isfinite(part):
            raise ValueError("it has a number that is not finite")
    return value


def read_json_file(path: Path) -> Any:
    """Return the value of a JSON file, a regular one of at most ``MAX_BYTES`` bytes.

    Raises:
        ValueError: see ``parse_json``. OSError: see ``read_regular``.
    """
    return parse_json(read_regular(path, MAX_BYTES))


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
