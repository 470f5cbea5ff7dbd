"""The project's own checkpoints: those in the package, and those in the repository only."""

from __future__ import annotations

from pathlib import Path

from gan_serve.checkpoint.config import CONFIG_FILE
from gan_serve.errors import (
    UnknownModel,
)

BUNDLED = Path(__file__).parents[1] / "checkpoints"
# The project's checkpoints that lie in its repository and not in the wheel, and why.
LEFT_OUT = {
    "mnist-mlp": "the package is to stay small",
    "bricks-dcgan": "nobody confirmed the licence of the images it was trained on",
    "faces-wgan-gp": "the images it was trained on are for research only",
    "faces-cgan": "the images it was trained on are for research only",
    "fashion-stylegan": "the package is to stay small",
}


def list_models() -> list[str]:
    """The names of the checkpoints in the package.

    >>> "fashion-dcgan" in list_models()
    True
    """
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{CONFIG_FILE}"))


def not_in_package(name: str) -> UnknownModel:
    """The error for a name of ``LEFT_OUT`` that is not here."""
    return UnknownModel(
        f"{name} is one of the project's checkpoints, and the package leaves it out: {LEFT_OUT[name]}.",
        f"{how_to_clone(name)}, or train it as docs/zoo.md says.",
    )


def how_to_clone(name: str) -> str:
    """How to get one of the project's checkpoints whole, as the beginning of a hint."""
    return f"Clone the project's repository and give its directory gan_serve/checkpoints/{name}"
