"""Residual blocks of SNGAN, BigGAN and R3GAN, and the initial weights of each paper."""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn

from gan_serve.training.networks.conditional_norm import ConditionalSequential, batch_norm
from gan_serve.training.networks.layers import SLOPE

GROUP = 16  # channels of each group in R3GAN's convolutions
LEAKY_GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the variance through LeakyReLU (He et al. 2015)


class UpBlock(nn.Module):
    """BatchNorm, ReLU, upsampling, 3x3, BatchNorm, ReLU, 3x3; in parallel a 1x1 convolution and upsampling.

    The generator's block of SNGAN (Miyato et al. 2018, figure 8) and BigGAN (Brock et al. 2019, figure 15):
    maps [N, channels, H, W] -> [N, out_channels, 2H, 2W]. The 1x1 convolution comes before the upsampling, with which
    it commutes; this takes a quarter of the work.

    Args:
        channels, out_channels: channels of the input and the output.
        condition_dim: length of the condition of both BatchNorms; 0: none.
    """

    def __init__(self, channels: int, out_channels: int, condition_dim: int = 0) -> None:
        super().__init__()
        self.main = ConditionalSequential(
            batch_norm(nn.BatchNorm2d(channels), condition_dim),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(channels, out_channels, 3, padding=1),
            batch_norm(nn.BatchNorm2d(out_channels), condition_dim),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(channels, out_channels, 1), nn.Upsample(scale_factor=2))

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Return maps of twice the size, under conditions [N, condition_dim]."""
        y: Tensor = self.main(x, e) + self.shortcut(x)
        return y


class DownBlock(nn.Module):
    """ReLU, 3x3, ReLU, 3x3, average pooling; in parallel average pooling and a 1x1 convolution.

    The discriminator's block of SNGAN and BigGAN: maps [N, channels, H, W] -> [N, out_channels, H/2, W/2].

    Args:
        channels, out_channels: channels of the input and the output.
        hidden: channels between the two convolutions: SNGAN has ``channels``, BigGAN ``out_channels``.
        first: leave out the first ReLU, for the block that receives the image.
        down: halve the size.
    """

    def __init__(
        self, channels: int, out_channels: int, hidden: int, *, first: bool = False, down: bool = True
    ) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Identity() if first else nn.ReLU(),
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, out_channels, 3, padding=1),
            nn.AvgPool2d(2) if down else nn.Identity(),
        )
        self.shortcut = nn.Sequential()
        if down:
            self.shortcut.append(nn.AvgPool2d(2))
        if down or channels != out_channels:
            self.shortcut.append(nn.Conv2d(channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to maps."""
        y: Tensor = self.main(x) + self.shortcut(x)
        return y


class FixupBlock(nn.Module):
    """1x1 to twice the channels, 3x3 in groups of 16, 1x1 back, LeakyReLU 0.2 between; added to the input.

    The block of both networks of R3GAN (Huang et al. 2024, arXiv:2501.05441, section 3.2), without normalisation and
    without an activation on the residual path. ``fixup`` initialises it as the identity. [N, channels, H, W] -> the
    same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = 2 * channels
        groups = inner // math.gcd(inner, GROUP)
        self.main = nn.Sequential(
            nn.Conv2d(channels, inner, 1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(inner, inner, 3, padding=1, groups=groups),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(inner, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to maps."""
        y: Tensor = x + self.main(x)
        return y


def orthogonal(network: nn.Module) -> None:
    """Initialise orthogonal weights: W W^T = I, or W^T W = I if W is taller than wide (Saxe et al. 2014).

    BigGAN does this. The weight of a convolution counts as the matrix [out, in * height * width]. Biases start at 0.
    """
    for layer in _layers(network):
        nn.init.orthogonal_(layer.weight)


def glorot(network: nn.Module) -> None:
    """Initialise weights as Glorot and Bengio 2010, with a gain of sqrt(2) for 3x3 convolutions, as SNGAN's code does.

    Biases start at 0.
    """
    for layer in _layers(network):
        nn.init.xavier_uniform_(layer.weight, math.sqrt(2) if layer.weight.shape[2:] == (3, 3) else 1.0)


def fixup(network: nn.Module) -> None:
    """Initialise weights that keep the variance, and each residual block as the identity (Zhang et al. 2019).

    R3GAN does this: N(0, gain² / fan_in); in each of L residual blocks of m = 3 layers the gain is multiplied by
    L^(-1 / (2m - 2)), and the last layer is 0. The gain is 1 where no activation follows. Biases are 0.
    """
    for layer in _layers(network):
        transposed = isinstance(layer, nn.ConvTranspose2d)
        # In a transposed convolution of stride s, each output pixel uses 1/s² of the taps.
        taps = layer.weight[0, 0].numel() if layer.weight.ndim == 4 else 1
        fan_in = layer.weight.shape[0] * taps // 4 if transposed else layer.weight.shape[1] * taps
        nn.init.normal_(layer.weight, std=fan_in**-0.5)
    blocks = [module for module in network.modules() if isinstance(module, FixupBlock)]
    for block in blocks:
        first, _, second, _, last = cast("list[nn.Conv2d]", list(block.main))
        for inner in (first, second):
            inner.weight.data *= LEAKY_GAIN * len(blocks) ** -0.25
        nn.init.zeros_(last.weight)


FIRST_WEIGHTS = {"sngan": glorot, "biggan": orthogonal, "r3gan": fixup}


def _layers(network: nn.Module) -> list[nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding]:
    """Return the layers that have a weight matrix, after setting their biases to 0."""
    kinds = nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding
    layers = [layer for layer in network.modules() if isinstance(layer, kinds)]
    for layer in layers:
        bias = getattr(layer, "bias", None)
        if isinstance(bias, Tensor):
            nn.init.zeros_(bias)
    return layers
