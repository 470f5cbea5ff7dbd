"""The training recipes. Each is a TOML file with a title, the source, the requirements and the settings."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

RECOMMENDED = "recommended-64"  # the default recipe
GENERATE, TRANSLATE = "generate", "translate"  # tasks


class Recipe(NamedTuple):
    """A named set of settings, with its source."""

    name: str
    title: str
    source: str
    needs: str
    config: Mapping[str, Any]
    task: str = GENERATE

    def as_json(self) -> dict[str, str]:
        """Return all but the settings as plain values, as ``--json`` prints them."""
        return {"name": self.name, "title": self.title, "source": self.source, "needs": self.needs}

    def as_text(self) -> str:
        """Return title, source and requirements as lines for a terminal."""
        return f"{self.name}: {self.title}\n    from   {self.source}\n    needs  {self.needs}"


def recipes(task: str = GENERATE) -> dict[str, Recipe]:
    """Read the recipes of a task, ``generate`` or ``translate``; return them by name."""
    found = {}
    for file in sorted(resources.files("gan_serve.training.recipes").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            name = file.name.removesuffix(".toml")
            recipe = Recipe(name=name, **tomllib.loads(file.read_text()))
            if recipe.task == task:
                found[name] = recipe
    return found
