"""Build a generator for weights that others wrote: compared on the meta device first, where nothing is allocated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gan_serve.training.networks import build_generator, find_family

Shapes = dict[str, tuple[int, ...]]


def build_fitting(family: str, arguments: Mapping[str, Any], weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a generator with random weights, whose state dict has the names and shapes of ``weights``.

    Raises:
        ValueError: it would have others, or cannot be built. InvalidOption: see ``build_generator``.
    """
    if (expected := planned_shapes(family, arguments)) is not None:
        check_shapes(expected, weights)
    return build_generator(family, **arguments)


def check_shapes(expected: Shapes, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless ``weights`` have the names and shapes that are expected."""
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != found:
        name = min(expected.items() ^ found.items())[0]
        raise ValueError(f"{name} is {_shown(found.get(name))} in the file and {_shown(expected.get(name))} here")


def planned_shapes(family: str, arguments: Mapping[str, Any]) -> Shapes | None:
    """Return the names and shapes of the state dict of a generator; see ``build_fitting`` for the errors.

    None for families of others, which the user trusts: their code may need more than the meta device.
    """
    if not find_family(family).generator.__module__.startswith(__package__):
        return None
    return shapes_of(lambda: build_generator(family, **arguments))


def shapes_of(build: Callable[[], nn.Module]) -> Shapes:
    """Return the names and shapes of the state dict of the network that ``build`` returns; nothing is allocated.

    Raises:
        ValueError: it cannot be built.
    """
    try:
        with torch.device("meta"):
            planned = build().state_dict()
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"its arguments do not fit: {str(error)[:100]}") from error
    return {name: tuple(value.shape) for name, value in planned.items()}


def _shown(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))
