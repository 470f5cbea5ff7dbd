"""The DCGAN for small images: a dense layer at a quarter of the size, then 5x5 transposed convolutions.

Radford et al. 2016 in the form of TensorFlow's DCGAN lesson on MNIST 28x28.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from gan_serve.training.networks.conditional_norm import ConditionalSequential, batch_norm
from gan_serve.training.networks.discriminator import Discriminator, plane_channels
from gan_serve.training.networks.layers import (
    SLOPE,
    MinibatchStd,
    norm_layer,
    scaled,
    set_batch_norm,
    start_and_levels,
)
from gan_serve.training.networks.options import NormalisedDiscriminatorOptions, PlainGeneratorOptions
from gan_serve.training.networks.plain_generator import PlainGenerator


class DCGAN28GeneratorOptions(PlainGeneratorOptions):
    """Options of the generator."""

    g_conditioning: Literal["concat", "batchnorm"] = "concat"  # how labels enter the generator
    g_bias: Literal["none", "last"] = "last"  # which of the generator's convolutions have a bias


class DCGAN28DiscriminatorOptions(NormalisedDiscriminatorOptions):
    """Options of the discriminator, with the values of the lesson."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3  # dropout probability
    d_norm: Literal["batch", "layer", "instance", "none"] = "none"  # normalisation


class DCGAN28Options(DCGAN28GeneratorOptions, DCGAN28DiscriminatorOptions):
    """Options of the family ``dcgan28``."""


class DCGAN28Generator(PlainGenerator):
    """A dense layer to (R/4)²·256, 5x5 transposed convolutions to 128 (stride 1), 64 and C (stride 2), and tanh.

    BatchNorm and LeakyReLU 0.2 follow each layer except the last. Only the last layer has a bias; BatchNorm would
    cancel the others.

    Args:
        z_dim: numbers in a latent.
        img_resolution: R, width and height of the images; a multiple of 4.
        img_channels: C, 1 for gray or 3 for RGB.
        c_dim: number of classes. 0: unconditional.
        width: multiplies all channel counts.
        options: see ``DCGANGenerator``.

    Raises:
        InvalidOption: the resolution is not a multiple of 4.
    """

    def __init__(
        self,
        z_dim: int,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        width: float = 1.0,
        options: DCGAN28GeneratorOptions = DCGAN28GeneratorOptions(),
    ) -> None:
        super().__init__(z_dim, c_dim, options, conditional_norm=options.g_conditioning == "batchnorm")
        start_and_levels(img_resolution)
        start = img_resolution // 4
        w256, w128, w64 = (scaled(channels, width) for channels in (256, 128, 64))
        self.layers = ConditionalSequential(
            OrderedDict(
                dense=nn.Linear(z_dim + self.joined, start * start * w256, bias=False),
                norm0=batch_norm(nn.BatchNorm1d(start * start * w256), self.condition_dim),
                act0=nn.LeakyReLU(SLOPE),
                reshape=nn.Unflatten(1, (w256, start, start)),
                conv1=nn.ConvTranspose2d(w256, w128, 5, stride=1, padding=2, bias=False),
                norm1=batch_norm(nn.BatchNorm2d(w128), self.condition_dim),
                act1=nn.LeakyReLU(SLOPE),
                conv2=nn.ConvTranspose2d(w128, w64, 5, stride=2, padding=2, output_padding=1, bias=False),
                norm2=batch_norm(nn.BatchNorm2d(w64), self.condition_dim),
                act2=nn.LeakyReLU(SLOPE),
                conv3=nn.ConvTranspose2d(
                    w64, img_channels, 5, stride=2, padding=2, output_padding=1, bias=options.g_bias == "last"
                ),
                tanh=nn.Tanh(),
            )
        )
        set_batch_norm(self, options)


class DCGAN28Discriminator(Discriminator):
    """Two 5x5 convolutions of stride 2 with 64 and 128 channels, each with LeakyReLU 0.2 and dropout; one logit.

    Args: as ``DCGANDiscriminator``. The lesson uses no normalisation.
    """

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        conditioning: str = "projection",
        width: float = 1.0,
        options: DCGAN28DiscriminatorOptions = DCGAN28DiscriminatorOptions(),
    ) -> None:
        start_and_levels(img_resolution)
        end = img_resolution // 4
        w64, w128 = scaled(64, width), scaled(128, width)
        compared = options.minibatch == "std"
        body = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(img_channels + plane_channels(c_dim, conditioning), w64, 5, stride=2, padding=2),
                act1=nn.LeakyReLU(SLOPE),
                drop1=nn.Dropout(options.dropout),
                **({"minibatch": MinibatchStd()} if compared else {}),
                conv2=nn.Conv2d(w64 + compared, w128, 5, stride=2, padding=2),
                norm2=norm_layer(options.d_norm, w128),
                act2=nn.LeakyReLU(SLOPE),
                drop2=nn.Dropout(options.dropout),
                flatten=nn.Flatten(),
            )
        )
        super().__init__(
            body,
            w128 * end * end,
            c_dim=c_dim,
            conditioning=conditioning,
            minibatch="none" if compared else options.minibatch,
        )
        set_batch_norm(self, options)
