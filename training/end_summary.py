"""The lines that a run prints after its last step."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from gan_serve.training.api import FinishedRun
from gan_serve.training.config import read_config
from gan_serve.training.ticks import duration


def end_lines(run: FinishedRun) -> list[str]:
    """Return where the results of a run are, its best and last quality, and the next commands."""
    grids = sorted((run.run_dir / "grids").glob("*.png"))
    state = "Finished" if run.is_complete else f"Stopped before its {run.kimg_planned:g} kimg"
    lines = [
        f"{state}: {run.kimg:g} kimg, {duration(run.seconds)} of training.",
        f"Results: {run.run_dir} (grids/, progress.gif, curves.png, log.jsonl, snapshots/)",
    ]
    if grids:
        lines.append(f"Last grid: {grids[-1]}")
    lines.append(f"Snapshot: {run.snapshot}")
    if run.best is not None:
        name = _metric(run.best)
        lines.append(f"Quality ({name}, lower is better): best {run.best['quality']:g} at {run.best['kimg']:g} kimg")
        if "quality" in run.figures and run.figures["kimg"] != run.best["kimg"]:
            lines[-1] += f", last {run.figures['quality']:g}"
    return [*lines, "Next:", *(f"  {command}" for command in next_commands(run))]


def next_commands(run: FinishedRun) -> list[str]:
    """Return two shell commands: resume and export for a run that was stopped, else export and evaluate."""
    config = read_config(run.run_dir / "config.json")
    out = f"{run.run_dir.name}-model"
    export = ["gan-serve", "export", str(run.run_dir), "--out", out]
    # The last record of a run that was stopped has no quality, so its last snapshot is not known to be worse.
    if run.best is not None and run.best["quality"] < run.figures.get("quality", run.best["quality"]):
        export += ["--snapshot", "best"]
    if not run.is_complete:
        return [shlex.join(["gan-serve", "train", "--run-dir", str(run.run_dir), "--resume"]), shlex.join(export)]
    return [shlex.join(export), shlex.join(["gan-serve", "evaluate", out, "--data", config.data, "--write"])]


def _metric(record: Mapping[str, Any]) -> str:
    """Return the name of the metric that is the quality of a record."""
    return next(name for name, value in record.items() if name != "quality" and value == record["quality"])
