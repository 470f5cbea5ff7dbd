"""The layers of a network in the order in which they compute, with their output shapes and parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Layer(NamedTuple):
    """A part of a network.

    name: path in the network. kind: its class. shape: of its output, without the batch; None where this level of a
    growing network is not in use. parameters: trainable numbers of its own.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int


class NetworkSummary(NamedTuple):
    """All trainable numbers of a network, and the layers that they belong to or that compute without any."""

    parameters: int
    layers: list[Layer]

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain values: ``{"parameters": ..., "layers": [{"name": ...}, ...]}``."""
        return {"parameters": self.parameters, "layers": [layer._asdict() for layer in self.layers]}

    def as_lines(self) -> list[str]:
        """Return a line for each layer: its name, class, output shape and parameters, in aligned columns."""
        rows = [
            (layer.name, layer.kind, "-" if layer.shape is None else "x".join(map(str, layer.shape)) or "1",
             f"{layer.parameters:,}" if layer.parameters else "")
            for layer in self.layers
        ]  # fmt: skip
        path, kind, shape, count = (max(len(row[column]) for row in rows) for column in range(4))
        return [f"    {a:<{path}}  {b:<{kind}}  {c:<{shape}}  {d:>{count}}".rstrip() for a, b, c, d in rows]


def summarise(network: nn.Module, *inputs: Tensor | None) -> NetworkSummary:
    """Return the layers of ``network``; it computes once for that, in inference mode.

    Args:
        network: any; it is left in inference mode.
        inputs: of the network, a batch of at least one.
    """
    parts = {name: part for name, part in network.named_modules() if _is_layer(part) and "parametrizations" not in name}
    shapes: dict[str, tuple[int, ...]] = {}  # in the order of the calls
    hooks = []
    for name, part in parts.items():

        def note(_part: nn.Module, _inputs: object, output: Tensor, name: str = name) -> None:
            shapes.setdefault(name, tuple(output.shape[1:]))

        hooks.append(part.register_forward_hook(note))
    try:
        with torch.no_grad():
            network.eval()(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    unused = [name for name in parts if name not in shapes and _own_parameters(parts[name])]
    layers = [
        Layer(name, _kind(parts[name]), shapes.get(name), _own_parameters(parts[name])) for name in [*shapes, *unused]
    ]
    return NetworkSummary(sum(weight.numel() for weight in network.parameters() if weight.requires_grad), layers)


def _is_layer(part: nn.Module) -> bool:
    """Return True if a module computes something itself: it has parameters, or no parts."""
    silent = isinstance(part, nn.Identity) or (isinstance(part, nn.Dropout) and not part.p)
    return not silent and (bool(_own_parameters(part)) or not any(True for _ in part.children()))


def _own_parameters(part: nn.Module) -> int:
    """Return the trainable numbers of a module without its parts; a parametrised weight is its own."""
    own = list(part.parameters(recurse=False))
    parametrised = getattr(part, "parametrizations", None)
    if isinstance(parametrised, nn.ModuleDict):
        own += list(parametrised.parameters())
    return sum(weight.numel() for weight in own if weight.requires_grad)


def _kind(part: nn.Module) -> str:
    return type(part).__name__.removeprefix("Parametrized")
