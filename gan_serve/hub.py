"""From what a user calls a model to the directory that holds it: a name in the package, or a path."""

from __future__ import annotations

import os
from pathlib import Path

from gan_serve.checkpoint import CONFIG_FILE
from gan_serve.errors import InvalidOption, UnknownModel, nearest

BUNDLED = Path(__file__).parent / "checkpoints"


def list_models() -> list[str]:
    """The names of the checkpoints in the package.

    >>> "fashion-dcgan" in list_models()
    True
    """
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{CONFIG_FILE}"))


def resolve(model: str | Path) -> Path:
    """The directory of a checkpoint, by its name in the package or by its path.

    Raises:
        UnknownModel: neither exists; the nearest name is in the hint.
    """
    if not isinstance(model, str | Path) or not str(model) or "\0" in str(model):
        raise InvalidOption(f"A model is a name or a directory, not {model!r}.", f"Try {list_models()}.")
    if str(model) in list_models():
        return BUNDLED / str(model)
    path = Path(model)
    if os.path.isdir(path):  # Path.is_dir raises where a name is too long
        return path
    names = list_models()
    shown = str(model) if len(str(model)) < 100 else f"{str(model)[:100]}..."
    raise UnknownModel(
        f"There is no model {shown!r}: no checkpoint in the package has that name, and no directory is there.",
        nearest(model, names) or f"The package has: {', '.join(names)}.",
    )
