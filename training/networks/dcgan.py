"""The DCGAN: 4x4 (transposed) convolutions of stride 2, each doubling or halving the image.

Radford et al. 2016 (arXiv:1511.06434). Its discriminator without BatchNorm is the critic of the WGAN-GP lessons.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from gan_serve.errors import InvalidOption
from gan_serve.training.networks.conditional_norm import ConditionalSequential, batch_norm
from gan_serve.training.networks.discriminator import Discriminator, plane_channels
from gan_serve.training.networks.layers import (
    SLOPE,
    MinibatchStd,
    Upsampling,
    norm_layer,
    scaled,
    set_batch_norm,
    start_and_levels,
    upsampling_by_2,
)
from gan_serve.training.networks.options import NormalisedDiscriminatorOptions, PlainGeneratorOptions
from gan_serve.training.networks.plain_generator import PlainGenerator

MaxChannels = Annotated[int, Field(ge=1)]
MAX_CHANNELS = 512  # of the paper


class DCGANGeneratorOptions(PlainGeneratorOptions):
    """Options of the generator; see ``DCGANGenerator``."""

    g_conditioning: Literal["concat", "batchnorm"] = "concat"  # how labels enter the generator
    upsampling: Upsampling = "transposed"  # of the generator
    activation: Literal["relu", "leaky"] = "relu"  # of the generator
    g_kernel: Literal[3, 4] = 3  # size of the convolutions behind nearest or bilinear upsampling
    full_size_channels: Annotated[int, Field(ge=0)] = 0  # of one more convolution of the generator at the full size
    g_bias: Literal["none", "last", "all"] = "last"  # which of the generator's convolutions have a bias
    max_channels: MaxChannels = MAX_CHANNELS  # most channels of a layer of either network, before width


class DCGANDiscriminatorOptions(NormalisedDiscriminatorOptions):
    """Options of the discriminator; see ``DCGANDiscriminator``."""

    d_bias: bool = True  # discriminator: layers without a norm behind them have a bias
    max_channels: MaxChannels = MAX_CHANNELS


class DCGANOptions(DCGANGeneratorOptions, DCGANDiscriminatorOptions):
    """Options of the family ``dcgan``."""


class DCGANGenerator(PlainGenerator):
    """A dense layer to the start size, then one 4x4 transposed convolution of stride 2 for each doubling, and tanh.

    For 64x64: 512 channels at 4x4, 256 at 8x8, 128 at 16x16, 64 at 32x32, C at 64x64. The dense layer is the paper's
    transposed convolution on a 1x1 image. BatchNorm and the activation follow each layer except the last.

    Args:
        z_dim: numbers in a latent.
        img_resolution: R, width and height of the images; a multiple of 4.
        img_channels: C, 1 for gray or 3 for RGB.
        c_dim: number of classes. 0: unconditional.
        width: multiplies all channel counts.
        options: ``g_conditioning=concat``: one-hot labels join the latents; ``batchnorm``: they set scale and shift of
            every BatchNorm instead, see ``ConditionalBatchNorm``. ``upsampling=nearest`` or ``bilinear``: that, and a
            3x3 convolution of stride 1, in place of the transposed ones (Odena et al. 2016). ``activation``: ``leaky``
            has a slope of 0.2. ``g_kernel=4``: one more row and column of zeros below and on the right than above and
            on the left, as "same" padding has it. ``full_size_channels``: the last doubling gives so many channels,
            before ``width``, with BatchNorm and activation, and one more 3x3 convolution makes the image; 0: the last
            doubling makes it. ``g_bias=last``: the last convolution alone has a bias.
            ``latents``, ``bn_momentum``, ``bn_eps``: see ``latents_as`` and ``set_batch_norm``.

    Raises:
        InvalidOption: the resolution is not a multiple of 4, or a ``g_kernel`` of 4 with transposed convolutions.
    """

    def __init__(
        self,
        z_dim: int,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        width: float = 1.0,
        options: DCGANGeneratorOptions = DCGANGeneratorOptions(),
    ) -> None:
        super().__init__(z_dim, c_dim, options, conditional_norm=options.g_conditioning == "batchnorm")
        if options.g_kernel != 3 and options.upsampling == "transposed":
            raise InvalidOption(
                f"A generator with transposed convolutions has no g_kernel of {options.g_kernel}.",
                "Take upsampling=nearest or upsampling=bilinear.",
            )
        start, levels = start_and_levels(img_resolution)
        channels = [scaled(_channels(levels - 1 - level, options.max_channels), width) for level in range(levels)]
        if options.full_size_channels:
            channels.append(scaled(options.full_size_channels, width))

        def act() -> nn.Module:
            return nn.ReLU() if options.activation == "relu" else nn.LeakyReLU(SLOPE)

        layers: OrderedDict[str, nn.Module] = OrderedDict(
            dense=nn.Linear(z_dim + self.joined, channels[0] * start * start, bias=False),
            reshape=nn.Unflatten(1, (channels[0], start, start)),
            norm0=batch_norm(nn.BatchNorm2d(channels[0]), self.condition_dim),
            act0=act(),
        )
        for i, (before, after) in enumerate(pairwise(channels), start=1):
            layers |= _doubling(i, before, after, options, bias=options.g_bias == "all")
            layers[f"norm{i}"] = batch_norm(nn.BatchNorm2d(after), self.condition_dim)
            layers[f"act{i}"] = act()
        last_bias = options.g_bias != "none"
        if not options.full_size_channels:
            layers |= _doubling(levels, channels[-1], img_channels, options, bias=last_bias)
        else:
            layers[f"conv{levels + 1}"] = nn.Conv2d(channels[-1], img_channels, 3, padding=1, bias=last_bias)
        layers["tanh"] = nn.Tanh()
        self.layers = ConditionalSequential(layers)
        set_batch_norm(self, options)


class DCGANDiscriminator(Discriminator):
    """One 4x4 convolution of stride 2 for each halving, with 64 to 512 channels, LeakyReLU 0.2 and dropout; one logit.

    Args:
        img_resolution: R, width and height of the images; a multiple of 4.
        img_channels: C, 1 for gray or 3 for RGB.
        c_dim: number of classes; 0: unconditional.
        conditioning: see ``Discriminator``.
        width: multiplies all channel counts.
        options: ``minibatch``: see ``Discriminator``; ``std`` is added before the last convolution. ``dropout``: share
            of activations dropped after each convolution while training. ``d_norm``: ``batch`` as in the paper (after
            all convolutions but the first); a critic with a gradient penalty takes ``layer``, ``instance`` or ``none``.
            ``d_bias``: the layers without a normalisation behind them, the logit among them, have a bias.

    Raises:
        InvalidOption: the resolution is not a multiple of 4, or an unknown conditioning.
    """

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        conditioning: str = "projection",
        width: float = 1.0,
        options: DCGANDiscriminatorOptions = DCGANDiscriminatorOptions(),
    ) -> None:
        start, levels = start_and_levels(img_resolution)
        channels = [img_channels + plane_channels(c_dim, conditioning)]
        channels += [scaled(_channels(level, options.max_channels), width) for level in range(levels)]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, (before, after) in enumerate(pairwise(channels), start=1):
            normalised = i > 1 and options.d_norm != "none"
            compared = options.minibatch == "std" and i == levels
            if compared:
                layers["minibatch"] = MinibatchStd()
            bias = options.d_bias and not normalised
            layers[f"conv{i}"] = nn.Conv2d(before + compared, after, 4, stride=2, padding=1, bias=bias)
            if normalised:
                layers[f"norm{i}"] = norm_layer(options.d_norm, after)
            layers[f"act{i}"] = nn.LeakyReLU(SLOPE)
            if options.dropout:
                layers[f"drop{i}"] = nn.Dropout(options.dropout)
        layers["flatten"] = nn.Flatten()
        super().__init__(
            nn.Sequential(layers),
            channels[-1] * start * start,
            c_dim=c_dim,
            conditioning=conditioning,
            minibatch="none" if options.minibatch == "std" else options.minibatch,
            bias=options.d_bias,
        )
        set_batch_norm(self, options)


def _channels(distance: int, most: int) -> int:
    """Return the channels of the layer ``distance`` halvings below the half-size one: 64, 128, ..., up to ``most``."""
    return int(min(most, 64 * 2**distance))


def _doubling(i: int, before: int, after: int, options: DCGANGeneratorOptions, *, bias: bool) -> dict[str, nn.Module]:
    """Return layers that double the size: a transposed convolution, or upsampling and a convolution of ``g_kernel``."""
    kernel = options.g_kernel
    if options.upsampling == "transposed":
        return {f"conv{i}": nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=bias)}
    layers: dict[str, nn.Module] = {f"up{i}": upsampling_by_2(options.upsampling)}
    if kernel == 4:
        layers[f"pad{i}"] = nn.ZeroPad2d((1, 2, 1, 2))
    return layers | {f"conv{i}": nn.Conv2d(before, after, kernel, padding=kernel % 2, bias=bias)}
