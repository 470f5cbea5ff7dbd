"""The fully connected GAN, which does not use the position of pixels.

Goodfellow et al. 2014 (arXiv:1406.2661), with the layers of the lesson on MNIST 28x28.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import nn

from gan_serve.training.networks.discriminator import Discriminator, plane_channels
from gan_serve.training.networks.layers import SLOPE, scaled, set_batch_norm, start_and_levels
from gan_serve.training.networks.options import NetworkOptions, PlainGeneratorOptions
from gan_serve.training.networks.plain_generator import PlainGenerator


class MLPOptions(PlainGeneratorOptions, NetworkOptions):
    """Options of the family ``mlp``."""


class MLPGenerator(PlainGenerator):
    """Dense layers of 128, 256, 512 and 1024, BatchNorm after all but the first, LeakyReLU 0.2, and tanh.

    Args:
        z_dim: numbers in a latent.
        img_resolution: R, width and height of the images; a multiple of 4.
        img_channels: C, 1 for gray or 3 for RGB.
        c_dim: number of classes; one-hot labels are added to the latents. 0: unconditional.
        width: multiplies the length of every layer.
        options: see ``latents_as`` and ``set_batch_norm``.
    """

    def __init__(
        self,
        z_dim: int,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        width: float = 1.0,
        options: PlainGeneratorOptions = PlainGeneratorOptions(),
    ) -> None:
        super().__init__(z_dim, c_dim, options)
        start_and_levels(img_resolution)
        lengths = [scaled(length, width) for length in (128, 256, 512, 1024)]
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            dense0=nn.Linear(z_dim + c_dim, lengths[0]), act0=nn.LeakyReLU(SLOPE)
        )
        for i, (before, after) in enumerate(pairwise(lengths), start=1):
            layers[f"dense{i}"] = nn.Linear(before, after)
            layers[f"norm{i}"] = nn.BatchNorm1d(after)
            layers[f"act{i}"] = nn.LeakyReLU(SLOPE)
        layers["pixels"] = nn.Linear(lengths[-1], img_channels * img_resolution**2)
        layers["tanh"] = nn.Tanh()
        layers["reshape"] = nn.Unflatten(1, (img_channels, img_resolution, img_resolution))
        self.layers = nn.Sequential(layers)
        set_batch_norm(self, options)


class MLPDiscriminator(Discriminator):
    """Dense layers of 512 and 256, each with LeakyReLU 0.2 and dropout; one logit.

    Args: as ``DCGANDiscriminator``; there is no normalisation.
    """

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        conditioning: str = "projection",
        width: float = 1.0,
        options: NetworkOptions = NetworkOptions(),
    ) -> None:
        start_and_levels(img_resolution)
        n_inputs = (img_channels + plane_channels(c_dim, conditioning)) * img_resolution**2
        first, second = scaled(512, width), scaled(256, width)
        body = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                dense1=nn.Linear(n_inputs, first),
                act1=nn.LeakyReLU(SLOPE),
                drop1=nn.Dropout(options.dropout),
                dense2=nn.Linear(first, second),
                act2=nn.LeakyReLU(SLOPE),
                drop2=nn.Dropout(options.dropout),
            )
        )
        super().__init__(body, second, c_dim=c_dim, conditioning=conditioning, minibatch=options.minibatch)
