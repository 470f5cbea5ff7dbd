"""The DCGAN: 4x4 (transposed) convolutions of stride 2, each doubling or halving the image.

Radford et al. 2016 (arXiv:1511.06434). Its discriminator without BatchNorm is the critic of the WGAN-GP lessons.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from gan_serve.errors import InvalidOption
from gan_serve.training.networks.conditional_norm import ConditionalSequential, batch_norm, check_g_conditioning
from gan_serve.training.networks.discriminator import Discriminator, plane_channels
from gan_serve.training.networks.layers import (
    SLOPE,
    MinibatchStd,
    norm_layer,
    one_hot,
    scaled,
    start_and_levels,
    with_labels,
)
from gan_serve.training.networks.options import NormOptions

UPSAMPLING = ("transposed", "nearest")
ACTIVATIONS = ("relu", "leaky")


class DCGANOptions(NormOptions):
    """Options of the family ``dcgan``."""

    g_conditioning: Literal["concat", "batchnorm"] | None = None  # how labels enter the generator
    upsampling: Literal["transposed", "nearest"] | None = None  # of the generator
    activation: Literal["relu", "leaky"] | None = None  # of the generator


class DCGANGenerator(nn.Module):
    """A dense layer to the start size, then one 4x4 transposed convolution of stride 2 for each doubling, and tanh.

    For 64x64: 512 channels at 4x4, 256 at 8x8, 128 at 16x16, 64 at 32x32, C at 64x64. The dense layer is the paper's
    transposed convolution on a 1x1 image. BatchNorm and the activation follow each layer except the last.

    Args:
        z_dim: numbers in a latent.
        img_resolution: R, width and height of the images; a multiple of 4.
        img_channels: C, 1 for gray or 3 for RGB.
        c_dim: number of classes. 0: unconditional.
        g_conditioning: ``concat``: one-hot labels join the latents; ``batchnorm``: they set scale and shift of every
            BatchNorm instead, see ``ConditionalBatchNorm``.
        width: multiplies all channel counts.
        upsampling: ``transposed``, or ``nearest``: nearest-neighbour upsampling and a 3x3 convolution of stride 1,
            which leaves no checkerboard (Odena et al. 2016).
        activation: ``relu`` or ``leaky`` (0.2).

    Raises:
        InvalidOption: the resolution is not a multiple of 4, or an unknown name.
    """

    truncation_space = "z"

    def __init__(
        self,
        z_dim: int,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        width: float = 1.0,
        upsampling: str = "transposed",
        activation: str = "relu",
        g_conditioning: str = "concat",
    ) -> None:
        super().__init__()
        check_g_conditioning(g_conditioning)
        if upsampling not in UPSAMPLING:
            raise InvalidOption.unknown("upsampling", upsampling, UPSAMPLING)
        if activation not in ACTIVATIONS:
            raise InvalidOption.unknown("activation", activation, ACTIVATIONS)
        self.z_dim, self.c_dim = z_dim, c_dim
        self.joined = 0 if g_conditioning == "batchnorm" else c_dim  # labels beside the latent
        condition_dim = c_dim - self.joined
        start, levels = start_and_levels(img_resolution)
        channels = [scaled(_channels(levels - 1 - level), width) for level in range(levels)]

        def act() -> nn.Module:
            return nn.ReLU() if activation == "relu" else nn.LeakyReLU(SLOPE)

        layers: OrderedDict[str, nn.Module] = OrderedDict(
            dense=nn.Linear(z_dim + self.joined, channels[0] * start * start, bias=False),
            reshape=nn.Unflatten(1, (channels[0], start, start)),
            norm0=batch_norm(nn.BatchNorm2d(channels[0]), condition_dim),
            act0=act(),
        )
        for i, (before, after) in enumerate(pairwise(channels), start=1):
            layers |= _doubling(i, before, after, upsampling, bias=False)
            layers[f"norm{i}"] = batch_norm(nn.BatchNorm2d(after), condition_dim)
            layers[f"act{i}"] = act()
        layers |= _doubling(levels, channels[-1], img_channels, upsampling, bias=True)
        layers["tanh"] = nn.Tanh()
        self.layers = ConditionalSequential(layers)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Return images float32 [N, C, R, R] in [-1, 1] for z float32 [N, z_dim] and, if conditional, c int64 [N]."""
        condition = one_hot(c, self.c_dim) if self.c_dim > self.joined else None
        images: Tensor = self.layers(with_labels(z, c, self.joined), condition)
        return images


class DCGANDiscriminator(Discriminator):
    """One 4x4 convolution of stride 2 for each halving, with 64 to 512 channels, LeakyReLU 0.2 and dropout; one logit.

    Args:
        img_resolution: R, width and height of the images; a multiple of 4.
        img_channels: C, 1 for gray or 3 for RGB.
        c_dim: number of classes; 0: unconditional.
        conditioning, minibatch: see ``Discriminator``; ``std`` is added before the last convolution.
        width: multiplies all channel counts.
        dropout: share of activations dropped after each convolution while training.
        d_norm: ``batch`` as in the paper (after all convolutions but the first); a critic with a gradient penalty takes
            ``layer``, ``instance`` or ``none``.

    Raises:
        InvalidOption: the resolution is not a multiple of 4, or an unknown name.
    """

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        conditioning: str = "projection",
        minibatch: str = "none",
        width: float = 1.0,
        dropout: float = 0.0,
        d_norm: str = "batch",
    ) -> None:
        start, levels = start_and_levels(img_resolution)
        norm_layer(d_norm, 1)  # raises for an unknown name, also if no layer is normalised
        channels = [img_channels + plane_channels(c_dim, conditioning)]
        channels += [scaled(_channels(level), width) for level in range(levels)]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, (before, after) in enumerate(pairwise(channels), start=1):
            normalised = i > 1 and d_norm != "none"
            compared = minibatch == "std" and i == levels
            if compared:
                layers["minibatch"] = MinibatchStd()
            layers[f"conv{i}"] = nn.Conv2d(before + compared, after, 4, stride=2, padding=1, bias=not normalised)
            if normalised:
                layers[f"norm{i}"] = norm_layer(d_norm, after)
            layers[f"act{i}"] = nn.LeakyReLU(SLOPE)
            if dropout:
                layers[f"drop{i}"] = nn.Dropout(dropout)
        layers["flatten"] = nn.Flatten()
        super().__init__(
            nn.Sequential(layers),
            channels[-1] * start * start,
            c_dim=c_dim,
            conditioning=conditioning,
            minibatch="none" if minibatch == "std" else minibatch,
        )


def _channels(distance: int) -> int:
    """Return the channels of the layer that many halvings below half the size: 64, 128, 256, and 512 from there on."""
    return int(min(512, 64 * 2**distance))


def _doubling(i: int, before: int, after: int, upsampling: str, *, bias: bool) -> dict[str, nn.Module]:
    if upsampling == "transposed":
        return {f"conv{i}": nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=bias)}
    return {f"up{i}": nn.Upsample(scale_factor=2), f"conv{i}": nn.Conv2d(before, after, 3, padding=1, bias=bias)}
