"""The training recipes, one TOML file each: a title, the source, what it needs, and the config it sets."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

RECOMMENDED = "recommended-64"  # the recipe of a run that names none


class Recipe(NamedTuple):
    """A named starting point: where it comes from, and the config it sets."""

    name: str
    title: str
    source: str
    needs: str
    config: Mapping[str, Any]


def recipes() -> dict[str, Recipe]:
    """Read every recipe, by name."""
    found = {}
    for file in sorted(resources.files("gan_serve.training.recipes").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            name = file.name.removesuffix(".toml")
            found[name] = Recipe(name=name, **tomllib.loads(file.read_text()))
    return found
