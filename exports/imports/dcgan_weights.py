"""Read the state dict of a DCGAN generator as weights of the family ``dcgan``.

PyTorch's DCGAN example (github.com/pytorch/examples, dcgan/main.py) and its many copies are transposed convolutions:
one of the start size on a 1x1 image, which is our dense layer, then 4x4 ones of stride 2, with BatchNorm and ReLU
between them and tanh at the end. A state dict has no activations, strides and paddings, so these are assumed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gan_serve.errors import ImportRefused, InvalidOption
from gan_serve.exports.imports.state_dicts import IN_PYTHON, StateDict
from gan_serve.training.networks import build_generator
from gan_serve.training.networks.layers import scaled, start_and_levels

BATCH_NORM = {"running_mean", "running_var", "weight", "bias"}
DIGITS = re.compile(r"\d+")
BASE = 64  # channels of the half-size layer at width 1, see ``DCGANGenerator``


@dataclass
class _Layer:
    """A layer of the state dict: its name and its tensors by their last name, such as ``weight``."""

    name: str
    tensors: dict[str, Tensor]

    @property
    def weight(self) -> Tensor:
        return self.tensors["weight"]

    @property
    def is_convolution(self) -> bool:
        return "weight" in self.tensors and self.weight.ndim == 4


def to_dcgan(weights: StateDict, name: str, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Return the generator of the family ``dcgan`` with these weights, in eval mode, and its arguments.

    Args:
        weights: the state dict of a generator, float32. name: of its file, for errors.
        options: further options of the family that a state dict does not state: ``activation``, ``latents``.

    Raises:
        ImportRefused: names or shapes do not fit the family; the error says which.
    """
    convolutions, norms = _in_order(weights, name)
    first, last = convolutions[0].weight, convolutions[-1].weight
    channels, levels = [layer.weight.shape[1] for layer in convolutions[:-1]], len(convolutions) - 1
    img_resolution = first.shape[2] * 2**levels
    _check_sizes(convolutions, img_resolution, name)
    width, biased = channels[-1] / BASE, "bias" in convolutions[-1].tensors
    arguments = {
        "z_dim": first.shape[0],
        "img_resolution": img_resolution,
        "img_channels": last.shape[1],
        "width": width,
        "max_channels": max(round(max(channels) / width), 1),
        "g_bias": "last" if biased else "none",
        **options,
    }
    expected = [
        scaled(min(arguments["max_channels"], BASE * 2**distance), width) for distance in reversed(range(levels))
    ]
    if expected != channels:
        raise _other(
            name,
            f"the channels {', '.join(map(str, channels))} are not {', '.join(map(str, expected))}: they must halve",
        )
    mapped = {"layers.dense.weight": first.permute(1, 2, 3, 0).flatten(0, 2)}
    for number, (convolution, norm) in enumerate(zip(convolutions, [*norms, None], strict=True)):
        if number:
            mapped[f"layers.conv{number}.weight"] = convolution.weight
        if norm is None:
            continue
        bias = convolution.tensors.get("bias", torch.zeros(()))
        for key, tensor in norm.tensors.items():
            # BatchNorm of x + bias is that of x with another mean.
            mapped[f"layers.norm{number}.{key}"] = tensor - bias if key == "running_mean" else tensor
        mapped[f"layers.norm{number}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    if biased:
        mapped[f"layers.conv{levels}.bias"] = convolutions[-1].tensors["bias"]
    generator = build_generator("dcgan", **arguments).eval()
    try:
        generator.load_state_dict(mapped)
    except RuntimeError as error:
        raise _other(name, "the shapes of its layers do not fit together") from error
    return generator, arguments


def _other(name: str, why: str) -> ImportRefused:
    return ImportRefused(
        f"{name} is not a generator like that of PyTorch's DCGAN example: {why}.",
        f"Export it to ONNX (torch.onnx.export) and import that file. {IN_PYTHON}",
    )


def _in_order(weights: StateDict, name: str) -> tuple[list[_Layer], list[_Layer]]:
    """Return the transposed convolutions in the order of computation, and the BatchNorm behind each but the last."""
    layers: dict[str, _Layer] = {}
    for key, tensor in weights.items():
        layer, _, part = key.rpartition(".")
        layers.setdefault(layer, _Layer(layer, {})).tensors[part] = tensor
    if any(not tensor.numel() for tensor in weights.values()):
        raise _other(name, "it has a tensor without numbers")
    convolutions = [layer for layer in layers.values() if layer.is_convolution]
    norms = [layer for layer in layers.values() if {*layer.tensors} == BATCH_NORM]
    known = [*norms, *(layer for layer in convolutions if {*layer.tensors} <= {"weight", "bias"})]
    unknown = layers.keys() - {layer.name for layer in known}
    if unknown:
        shown = ", ".join(
            f"{layer or 'the top'} ({', '.join(layers[layer].tensors)})"[:80] for layer in sorted(unknown)[:3]
        )
        raise _other(name, f"its layers {shown} are no transposed convolution or BatchNorm")
    if len(convolutions) < 2:
        raise _other(name, f"it has {len(convolutions)} transposed convolution(s)")
    if convolutions[0].weight.shape[1] in (1, 3) and convolutions[-1].weight.shape[0] == 1:
        raise ImportRefused(f"{name} is a discriminator: it maps images to one number.", "Give the generator's file.")
    for sort in (list, _by_name, _by_channels):
        order: list[_Layer] = sort(convolutions)
        if all(one.weight.shape[1] == other.weight.shape[0] for one, other in pairwise(order)):
            break
    else:
        raise _other(name, "the channels of its convolutions do not follow from each other")
    norms = norms if sort is list else _by_name(norms)
    found = []
    for convolution in order[:-1]:
        norm = next((norm for norm in norms if norm.weight.shape == convolution.weight.shape[1:2]), None)
        if norm is None:
            raise _other(name, f"no BatchNorm of {convolution.weight.shape[1]} channels follows {convolution.name}")
        norms.remove(norm)  # in the order of the file, where two have the same size
        found.append(norm)
    if norms:
        raise _other(name, f"its BatchNorm {norms[0].name} follows no convolution")
    return list(order), found


def _by_name(layers: Sequence[_Layer]) -> list[_Layer]:
    """Return layers in the natural order of their names: safetensors sorts names as text, ``torch.save`` not at all."""
    return sorted(layers, key=lambda layer: DIGITS.sub(lambda number: number[0].zfill(9), layer.name))


def _by_channels(layers: Sequence[_Layer]) -> list[_Layer]:
    """Return layers by their output channels, the most first, as they are in a DCGAN whose names have no order."""
    return sorted(layers, key=lambda layer: layer.weight.shape[1], reverse=True)


def _check_sizes(convolutions: Sequence[_Layer], img_resolution: int, name: str) -> None:
    kernels = [tuple(layer.weight.shape[2:]) for layer in convolutions]
    try:
        start, levels = start_and_levels(img_resolution)
    except InvalidOption as error:
        raise _other(name, f"its images would have {img_resolution}x{img_resolution} pixels") from error
    if kernels != [(start, start), *[(4, 4)] * levels]:
        shown = ", ".join(f"{height}x{width}" for height, width in kernels)
        raise _other(name, f"its kernels are {shown}; they must be the start size, from 4x4 to 7x7, and then 4x4")
    if convolutions[-1].weight.shape[1] not in (1, 3):
        raise _other(name, f"its images have {convolutions[-1].weight.shape[1]} channels, not 1 or 3")
