"""Generators and discriminators, one file a family; ``build_*`` makes one from the name in a config.

A generator maps z float32 [N, z_dim] to images float32 [N, C, H, W] in [-1, 1]; a discriminator maps images to logits
[N]. Both are built from resolution and channels. To add a family, write its file and name it in ``FAMILIES``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gan_serve.errors import InvalidOption
from gan_serve.training.networks.dcgan28 import DCGAN28Discriminator, DCGAN28Generator


class Family(NamedTuple):
    """The two networks that belong together."""

    generator: type[nn.Module]
    discriminator: type[nn.Module]


FAMILIES = {"dcgan28": Family(DCGAN28Generator, DCGAN28Discriminator)}


def build_generator(family: str, **arguments: Any) -> nn.Module:
    """Make a generator: ``build_generator("dcgan28", z_dim=100, img_resolution=28, img_channels=1)``."""
    return _family(family).generator(**arguments)


def build_discriminator(family: str, **arguments: Any) -> nn.Module:
    """Make a discriminator: ``build_discriminator("dcgan28", img_resolution=28, img_channels=1, dropout=0.3)``."""
    return _family(family).discriminator(**arguments)


def to_pixels(images: Tensor) -> Tensor:
    """Images float32 [N, C, H, W] in [-1, 1] -> uint8 [N, H, W, C], rounded to the nearest grey level."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise InvalidOption.unknown("network family", name, FAMILIES)
    return FAMILIES[name]
