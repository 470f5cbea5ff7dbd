"""The project's own checkpoints, as their manifest lists them: in the package, or in the repository only."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Literal, NamedTuple

from gan_serve.checkpoint.config import CONFIG_FILE, TRANSLATE
from gan_serve.errors import UnknownModel

BUNDLED = Path(__file__).parents[1] / "checkpoints"
MANIFEST = BUNDLED / "manifest.toml"


class ManifestEntry(NamedTuple):
    """A checkpoint of the project; the head of ``manifest.toml`` explains the fields."""

    in_wheel: bool
    licence: str
    description: str
    left_out_because: str = ""
    task: Literal["generate", "translate"] = "generate"


@functools.cache
def manifest() -> dict[str, ManifestEntry]:
    """Return the checkpoints of the project by name.

    >>> manifest()["fashion-dcgan"].in_wheel
    True
    """
    return {name: ManifestEntry(**entry) for name, entry in tomllib.loads(MANIFEST.read_text("utf-8")).items()}


def left_out() -> dict[str, str]:
    """Return the names of the checkpoints that the wheel leaves out, and why."""
    return {name: entry.left_out_because for name, entry in manifest().items() if not entry.in_wheel}


def list_models(task: Literal["generate", "translate"] = "generate") -> list[str]:
    """Return the names of the checkpoints in the package that generate images, or that translate them.

    >>> "fashion-dcgan" in list_models()
    True
    """
    translators = {name for name, entry in manifest().items() if entry.task == TRANSLATE}
    there = sorted(path.parent.name for path in BUNDLED.glob(f"*/{CONFIG_FILE}"))
    return [name for name in there if (name in translators) == (task == TRANSLATE)]


def is_in_package(name: str) -> bool:
    """Return True if the package, or the checkout that it runs from, has a checkpoint of this name."""
    return name in list_models() or name in list_models("translate")


def list_in_manifest_order() -> list[str]:
    """Return the checkpoints in the package in the order of the manifest; the page opens on the first."""
    order = list(manifest())
    return sorted(list_models(), key=lambda name: (order.index(name) if name in order else len(order), name))


def not_in_package(name: str) -> UnknownModel:
    """Return the error for a checkpoint of ``left_out`` that is not in the package."""
    return UnknownModel(
        f"{name} is a checkpoint of the project, but it is not in the package: {left_out()[name]}.",
        f"{how_to_clone(name)}, or train it as docs/zoo.md describes.",
    )


def how_to_clone(name: str) -> str:
    """Return the first part of a hint that says how to get the complete directory of a checkpoint of the project."""
    return f"Clone the project's repository and give its directory gan_serve/checkpoints/{name}"
