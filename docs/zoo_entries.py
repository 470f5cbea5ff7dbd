"""The entries of ``zoo.toml``: the commands for each checkpoint, and the bounds of its metrics."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from gan_serve.checkpoint.bundled import manifest
from gan_serve.checkpoint.config import CONFIG_FILE
from gan_serve.checkpoint.files import read_any_config
from gan_serve.training.recipes import TRANSLATE, recipes

REPOSITORY = "gan_serve/checkpoints"  # folder of the checkpoints that are not in the wheel

ROUNDING = 1e-9  # tolerance for differences, as 0.92 - 0.93 is not exactly -0.01

Row = tuple[str, str, str, str]  # what is measured, its bounds, its value, and yes, **no** or nothing


class Must(BaseModel):
    """The bounds of a value: of a metric, of one over another, or of one minus another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    over: str | None = None
    minus: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def measured(self, metrics: Mapping[str, float]) -> float | None:
        """Return the value; None if it was not measured."""
        others = [name for name in (self.over, self.minus) if name is not None]
        if any(name not in metrics for name in (self.metric, *others)) or (self.over and not metrics[self.over]):
            return None
        value = metrics[self.metric] / (metrics[self.over] if self.over else 1.0)
        return value - (metrics[self.minus] if self.minus else 0.0)

    def holds(self, value: float) -> bool:
        """Return True if ``value`` is within the bounds."""
        above = self.at_least is None or value >= self.at_least - ROUNDING
        return above and (self.at_most is None or value <= self.at_most + ROUNDING)

    def row(self, metrics: Mapping[str, float]) -> Row:
        """Return a row of a table: the metric, its bounds, its value, and yes, **no** or nothing."""
        name = f"`{self.metric}`" + (f" / `{self.over}`" if self.over else "")
        name += f" - `{self.minus}`" if self.minus else ""
        bounds = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        value = self.measured(metrics)
        if value is None:
            return name, " and ".join(bounds), "not measured", ""
        return name, " and ".join(bounds), f"{value:.4g}", "yes" if self.holds(value) else "**no**"


class ByEye(BaseModel):
    """Judgements of people as shares from 0 to 1, with their bounds.

    good, broken: shares of the images of seeds 1000 to 1063 that could be real; that have missing or mixed parts.
    blind: share of correct answers in a blind test (``python docs/zoo.py blind NAME``); 0.5 is guessing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    good_at_least: float | None = None
    blind_at_most: float | None = None
    good: float | None = None
    broken: float | None = None
    blind: float | None = None

    def rows(self) -> list[Row]:
        """Return the rows of a table, see ``Must.row``."""
        judged = {name: value for name in ("good", "broken", "blind") if (value := getattr(self, name)) is not None}
        rows = []
        for metric, name, must in (
            (
                "good",
                "share of good images by eye, seeds 1000 to 1063",
                Must(metric="good", at_least=self.good_at_least),
            ),
            ("broken", "share of broken images by eye, seeds 1000 to 1063", Must(metric="broken")),
            (
                "blind",
                "share of correct answers in a blind test (0.5 is guessing)",
                Must(metric="blind", at_most=self.blind_at_most),
            ),
        ):
            _, bounds, value, reached = must.row(judged)
            if bounds or metric in judged:
                rows.append((name, bounds, value, reached if bounds else ""))
        return rows


class Entry(BaseModel):
    """A table of ``zoo.toml``, whose head explains the keys, combined with the manifest of checkpoints."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    labels: str | None = None
    recipe: str
    init_from: str | None = None
    kimg: float | None = None
    set: dict[str, bool | int | float | str] = {}
    export: dict[str, bool | int | float | str] = {}
    evaluate: dict[str, bool | int | float | str] = {}
    licence: str
    in_wheel: bool
    note: str
    must: tuple[Must, ...] = ()
    must_see: tuple[str, ...] = ()
    by_eye: ByEye = ByEye()
    size_at_most: float | None = None

    @property
    def translates(self) -> bool:
        """True for a translator, whose figures are measured when it is exported."""
        return self.recipe in recipes(TRANSLATE)

    def bounds(self, directory: Path, metrics: Mapping[str, float]) -> list[Row]:
        """Return the rows of the table of all bounds and the values of the checkpoint in ``directory``."""
        rows = [must.row(metrics) for must in self.must]
        if self.size_at_most is not None:
            measured = {}
            if (directory / CONFIG_FILE).is_file():
                files = read_any_config(directory).files
                measured["size"] = sum(file.size for name, file in files.items() if name.endswith(".onnx")) / 1e6
            _, bounds, value, reached = Must(metric="size", at_most=self.size_at_most).row(measured)
            rows.append(("MB of all ONNX files", bounds, value, reached))
        return rows + self.by_eye.rows()

    def commands(self, name: str, runs: str = "runs", checkpoints: str = REPOSITORY) -> list[list[str]]:
        """Return the commands that make the checkpoint, as words after ``gan-serve``: train, export, evaluate.

        A translator is evaluated by its export.
        """
        run, out = f"{runs}/{name}", f"{checkpoints}/{name}"
        images = ["--data", self.data, *_options({"labels": self.labels} if self.labels else {})]
        train = ["train", "--recipe", self.recipe, *images, "--run-dir", run]
        train += _options({"init-from": self.init_from} if self.init_from else {})
        train += _options({"kimg": self.kimg} if self.kimg else {})
        train += [word for key, value in self.set.items() for word in ("--set", f"{key}={_as_typed(value)}")]
        export = ["export", run, "--out", out, *_options(self.export)]
        evaluate = ["evaluate", out, *images, *_options(self.evaluate), "--write"]
        return [[*train, "--resume"], export, *([] if self.translates else [evaluate])]


def read_zoo(path: Path) -> dict[str, Entry]:
    """Return the entries of a ``zoo.toml`` by name. Missing keys are taken from the manifest."""
    entries = {name: _manifest_facts(name) | table for name, table in tomllib.loads(path.read_text()).items()}
    return TypeAdapter(dict[str, Entry]).validate_python(entries)


def _manifest_facts(name: str) -> dict[str, Any]:
    if name not in manifest():
        return {}
    entry = manifest()[name]
    return {"licence": entry.licence, "in_wheel": entry.in_wheel, "note": entry.description}


def _options(options: Mapping[str, Any]) -> list[str]:
    """Return options such as ``{"snapshot": "best", "quiet": True}`` as words of a command line."""
    return [
        word
        for key, value in options.items()
        if value is not False
        for word in ([f"--{key}"] if value is True else [f"--{key}", _as_typed(value)])
    ]


def _as_typed(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
