"""The networks that tests build: each family with its options, narrow."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

NARROW = {"width": 1 / 32}
GENERATORS = {
    "mlp": ("mlp", {}),
    "dcgan28": ("dcgan28", {}),
    **{
        f"dcgan {upsampling} {activation}": ("dcgan", {"upsampling": upsampling, "activation": activation})
        for upsampling in ("transposed", "nearest", "bilinear")
        for activation in ("relu", "leaky")
    },
    "dcgan full size": ("dcgan", {"upsampling": "nearest", "full_size_channels": 32}),
    **{f"{family} batchnorm": (family, {"g_conditioning": "batchnorm"}) for family in ("dcgan28", "dcgan")},
    **{
        f"resnet {block} {conditioning}{' skip_z' * skip_z}": (
            "resnet",
            {"block": block, "g_conditioning": conditioning, "skip_z": skip_z},
        )
        for block, conditioning, skip_z in itertools.product(
            ("sngan", "biggan"), ("concat", "batchnorm"), (False, True)
        )
    },
}
DISCRIMINATORS = {
    "mlp": ("mlp", {}),
    **{
        f"{family} {norm}": (family, {"d_norm": norm})
        for family in ("dcgan28", "dcgan")
        for norm in ("batch", "layer", "instance", "none")
    },
    **{f"resnet {block}": ("resnet", {"block": block}) for block in ("sngan", "biggan", "r3gan")},
}
LABELS = {
    "no labels": {"c_dim": 0},
    "planes": {"c_dim": 3, "conditioning": "planes"},
    "projection": {"c_dim": 3, "conditioning": "projection"},
}


def images(n: int, channels: int, resolution: int) -> Tensor:
    return torch.rand(n, channels, resolution, resolution) * 2 - 1
