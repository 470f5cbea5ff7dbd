"""Families of networks from a file of the user's: ``--family-file nets.py``.

The file is Python and is run. It names its families as this package does::

    FAMILIES = {"my-dcgan": Family(MyGenerator, MyDiscriminator)}

A package can name families too, by entry points of the group ``gan_serve.families``; they need no option.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from gan_serve.errors import InvalidOption
from gan_serve.training.networks import FAMILIES, Family
from gan_serve.training.networks.options import arguments_of

NEEDED = {"generator": ("z_dim", "img_resolution", "img_channels"), "discriminator": ("img_resolution", "img_channels")}
EXAMPLE = "See docs/own-network.md for one that works."


def load_family_file(path: str | Path) -> list[str]:
    """Run a file and register the families that it names, until this process ends.

    Returns:
        Their names.

    Raises:
        InvalidOption: there is no such file, it cannot be run, it has no ``FAMILIES``, one of them lacks an argument
        that every network takes, or its name is that of a family of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidOption(f"There is no file {path}.", "Give the Python file that defines your networks.")
    name = f"gan_serve_family_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidOption(f"{path} is not a Python file.", "Its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidOption(f"{path} cannot be run: {type(error).__name__}: {error}", EXAMPLE) from error
    families = getattr(module, "FAMILIES", None)
    if not isinstance(families, dict) or not families:
        raise InvalidOption(f"{path} names no families.", f'It needs FAMILIES = {{"my-net": Family(...)}}. {EXAMPLE}')
    for family_name, family in families.items():
        _check(path, family_name, family)
    FAMILIES.update(families)
    return list(families)


def _check(path: Path, name: str, family: object) -> None:
    if not isinstance(family, Family):
        raise InvalidOption(f"{name!r} in {path} is not a Family.", EXAMPLE)
    known = FAMILIES.get(name)
    if known is not None and not known.generator.__module__.startswith("gan_serve_family_file_"):
        raise InvalidOption(f"gan-serve has a family {name!r} already.", f"Give that of {path} another name.")
    for part, needed in NEEDED.items():
        network = getattr(family, part)
        missing = [argument for argument in needed if argument not in arguments_of(network)]
        if missing:
            raise InvalidOption(
                f"{network.__name__} in {path} takes no {', '.join(missing)}.",
                f"The {part} is built with them. {EXAMPLE}",
            )
