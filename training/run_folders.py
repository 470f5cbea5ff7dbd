"""The folders of runs: ``runs/<data>-<recipe>`` for a new one, and the last one."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from gan_serve.checkpoint.json_files import read_json_file
from gan_serve.errors import RunError
from gan_serve.training.data.formats import name_of

RUNS = Path("runs")  # in the current folder


def new_run_dir(data: str, recipe: str, runs: Path = RUNS) -> Path:
    """Return ``runs/<data>-<recipe>``, with a number behind it if there is such a run already.

    >>> new_run_dir("my photos/", "wgan-gp", Path("nowhere")).as_posix()
    'nowhere/my-photos-wgan-gp'
    """
    source = data.split("@")[0].split(":")[-1] if data.startswith("hf://") else data
    title = re.sub(r"[^\w.-]+", "-", name_of(Path(source).resolve())).strip("-.") or "images"
    names = itertools.chain([f"{title}-{recipe}"], (f"{title}-{recipe}-{number}" for number in itertools.count(2)))
    return next(path for name in names if not (path := runs / name).exists())


def last_run(data: str | None = None, runs: Path = RUNS) -> Path:
    """Return the run in ``runs/`` that was written to last; with ``data``, the last one of these images.

    Raises:
        RunError: there is none.
    """
    found = [path.parent for path in runs.glob("*/config.json") if data is None or _data_of(path) == data]
    if not found:
        of_data = f" of {data}" if data else ""
        raise RunError(f"There is no run{of_data} in {runs}/.", "Give the folder of a run.")
    return max(found, key=_written)


def _data_of(config: Path) -> str | None:
    try:
        return str(read_json_file(config)["data"])
    except (ValueError, KeyError, TypeError, OSError):
        return None


def _written(run_dir: Path) -> float:
    return max(path.stat().st_mtime for path in (run_dir / "config.json", run_dir / "log.jsonl") if path.exists())
