"""Generators and discriminators, one file for each family; ``build_*`` builds one by the name of its family.

A generator maps z float32 [N, z_dim] (and labels int64 [N] if conditional) to images float32 [N, C, H, W] in [-1, 1]; a
discriminator maps images (and labels) to logits [N]. Both are built from resolution and channels. To add a family,
write a file with both classes and their options (``options.Options``), and add the family to ``FAMILIES``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gan_serve.errors import InvalidOption
from gan_serve.training.networks.dcgan import DCGANDiscriminator, DCGANGenerator, DCGANOptions
from gan_serve.training.networks.dcgan28 import DCGAN28Discriminator, DCGAN28Generator, DCGAN28Options
from gan_serve.training.networks.discriminator import Discriminator
from gan_serve.training.networks.mlp import MLPDiscriminator, MLPGenerator, MLPOptions
from gan_serve.training.networks.options import NetworkOptions, Options, with_options
from gan_serve.training.networks.progressive import EqualizedOptions, ProgressiveDiscriminator, ProgressiveGenerator
from gan_serve.training.networks.resnet import ResNetDiscriminator, ResNetGenerator, ResNetOptions
from gan_serve.training.networks.stylegan import StyleGANDiscriminator, StyleGANGenerator, StyleGANOptions


class Family(NamedTuple):
    """Two networks that belong together, and their settings in addition to those of every run."""

    generator: type[nn.Module]
    discriminator: type[Discriminator]
    options: type[Options] = NetworkOptions


FAMILIES = {
    "mlp": Family(MLPGenerator, MLPDiscriminator, MLPOptions),
    "dcgan28": Family(DCGAN28Generator, DCGAN28Discriminator, DCGAN28Options),
    "dcgan": Family(DCGANGenerator, DCGANDiscriminator, DCGANOptions),
    "resnet": Family(ResNetGenerator, ResNetDiscriminator, ResNetOptions),
    "progressive": Family(ProgressiveGenerator, ProgressiveDiscriminator, EqualizedOptions),
    "stylegan": Family(StyleGANGenerator, StyleGANDiscriminator, StyleGANOptions),
}


def build_generator(family: str, **arguments: Any) -> nn.Module:
    """Build a generator: ``build_generator("dcgan28", z_dim=100, img_resolution=28, img_channels=1)``.

    Args:
        family: name of a family. arguments: those of its generator, the options among them as they are in a config.

    Raises:
        InvalidOption: there is no such family, or the network cannot be built so.
    """
    network = find_family(family).generator
    return network(**with_options(network, arguments))


def build_discriminator(family: str, **arguments: Any) -> Discriminator:
    """Build a discriminator: ``build_discriminator("dcgan28", img_resolution=28, img_channels=1, dropout=0.3)``.

    The arguments and errors are as in ``build_generator``.
    """
    network = find_family(family).discriminator
    return network(**with_options(network, arguments))


def find_family(name: str) -> Family:
    """Return a family by its name.

    Families of other packages are found by entry points of the group ``gan_serve.families``.

    Raises:
        InvalidOption: there is none; the message names the nearest one.
    """
    for entry in () if name in FAMILIES else entry_points(group="gan_serve.families", name=name):
        FAMILIES[name] = entry.load()
    if name not in FAMILIES:
        raise InvalidOption.unknown("network family", name, FAMILIES)
    return FAMILIES[name]


def to_pixels(images: Tensor) -> Tensor:
    """Convert images float32 [N, C, H, W] in [-1, 1] to uint8 [N, H, W, C], rounded to the nearest grey level."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def initialise_glorot(network: nn.Module) -> None:
    """Initialise weights of dense and convolutional layers uniformly within ±sqrt(6 / (fan_in + fan_out)).

    The default of Keras (Glorot and Bengio 2010). Biases start at 0, scale and shift of BatchNorm at 1 and 0.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def initialise(network: nn.Module, deviation: float) -> None:
    """Initialise weights of dense and convolutional layers from N(0, deviation²), of BatchNorm from N(1, deviation²).

    DCGAN uses a deviation of 0.02 (Radford et al. 2016, section 4). Biases start at 0.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, deviation)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, deviation)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
