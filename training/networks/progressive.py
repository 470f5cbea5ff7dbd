"""Progressive growing: from start x start pixels to the full size, level by level (Karras et al. 2018, 1710.10196).

Level 0 is the start resolution; each level doubles it. A fraction fades in the next level: at 1.25, a quarter of the
image comes from level 2 and the rest from level 1. Only the layers of the current level are computed. Images have the
full size at every level: the generator repeats the pixels of its image, and the discriminator averages its input down,
which undoes this exactly.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_serve.training.networks.discriminator import Discriminator, plane_channels
from gan_serve.training.networks.equalized import EqualizedConv2d, EqualizedEmbedding, EqualizedLinear, PixelNorm
from gan_serve.training.networks.layers import SLOPE, MinibatchStd, scaled, start_and_levels, with_labels
from gan_serve.training.networks.options import NetworkOptions


class EqualizedOptions(NetworkOptions):
    """Options of the discriminators of progressive growing and StyleGAN, with the statistics of the paper."""

    minibatch: Literal["none", "std", "discrimination"] = "std"  # statistics of the batch


def channels_at(resolution: int, width: float = 1.0) -> int:
    """Return the channels of the layers at a resolution: 2048 / resolution, at most 256, times ``width``.

    >>> [channels_at(resolution) for resolution in (4, 8, 16, 32, 64)]
    [256, 256, 128, 64, 32]
    """
    return scaled(min(256, 2048 // resolution), width)


def growth_level(shown: float, levels: int, stage_kimg: float, fade_kimg: float) -> float:
    """Return the level after ``shown`` images: level 0 for ``stage_kimg``; then each level fades in and stays as long.

    Args:
        shown: real images shown so far (images, not kimg).
        levels: the last level.
        stage_kimg: duration of each level, in thousands of images.
        fade_kimg: duration of a fade, in thousands of images; 0 switches at once.

    >>> [growth_level(shown, 4, stage_kimg=2, fade_kimg=1) for shown in (0, 2000, 2500, 3000, 5000, 99000)]
    [0.0, 0.0, 0.5, 1.0, 1.0, 4.0]
    """
    stage, fade = stage_kimg * 1000, fade_kimg * 1000
    if stage + fade <= 0:
        return float(levels)
    whole, position = divmod(shown, stage + fade)
    fraction = max(0.0, position - stage) / fade if fade else 0.0
    return min(float(levels), whole + fraction)


def fade_real(images: Tensor, level: float, levels: int) -> Tensor:
    """Return real images with only the detail that a generator has at this level (``process_reals`` of the original).

    Images [N, C, R, R] keep their shape; at ``level == levels`` they are unchanged.
    """
    stage, fraction = math.floor(level), level - math.floor(level)
    top = math.ceil(level)
    images = _shrink(images, levels - top)
    if top > stage:
        coarse = _enlarge(_shrink(images, 1), 1)
        images = coarse + fraction * (images - coarse)
    return _enlarge(images, levels - top)


class Growing(nn.Module):
    """A network with a level, which ``set_level`` changes and ``state_dict`` contains. A new network has its full size.

    Attributes:
        start: resolution of level 0.
        levels: the last level.
        stage: the level in use, rounded down.
        fading: True while level ``stage + 1`` fades in.
        fade: 0-dim float32 tensor, the share of level ``stage + 1``. A tensor, so that a compiled network is recompiled
            once for each level and not for every step of a fade.
    """

    fade: Tensor

    def __init__(self, img_resolution: int) -> None:
        super().__init__()
        self.start, self.levels = start_and_levels(img_resolution)
        self.register_buffer("fade", torch.zeros(()), persistent=False)
        self.set_level(self.levels)

    @property
    def level(self) -> float:
        """The level in use, from 0 to ``levels``."""
        return self._level

    def set_level(self, level: float) -> None:
        """Use this level from now on.

        Raises:
            ValueError: it is not from 0 to ``levels``.
        """
        if not 0 <= level <= self.levels:
            raise ValueError(f"level must be from 0 to {self.levels}, not {level}.")
        self._level = float(np.float32(level))  # rounded as in the state, so that a resumed run is exact
        self.stage = math.floor(self._level)
        self.fading = self._level > self.stage
        self.fade.fill_(self._level - self.stage)

    @property
    def top(self) -> int:
        """The highest level that is computed."""
        return self.stage + self.fading

    def get_extra_state(self) -> Tensor:
        """Return the level for ``state_dict``, a 0-dim float32 tensor."""
        return torch.tensor(self._level, dtype=torch.float32)

    def set_extra_state(self, state: Tensor) -> None:
        """Set the level from a ``state_dict``."""
        self.set_level(state.item())

    def mix(self, old: Tensor, new: Tensor) -> Tensor:
        """Return the mixture of both while ``new`` fades in."""
        return old + self.fade * (new - old)


class ProgressiveGenerator(Growing):
    """Pixel norm of the latent, a dense layer, two 3x3 convolutions for each level, and an image from each level.

    LeakyReLU 0.2 and pixel norm follow each layer; there is nearest upsampling between levels; all layers have an
    equalised learning rate; the image has no tanh and is nominally in [-1, 1]. Channels: ``channels_at``.

    Args:
        z_dim: numbers in a latent.
        img_resolution: R, width and height of the images; a multiple of 4, at least 8.
        img_channels: C, 1 for gray or 3 for RGB.
        c_dim: number of classes; 0 for an unconditional network.
        width: multiplies all channel counts.

    Raises:
        InvalidOption: a resolution that is not a multiple of 4, or less than 8.
    """

    truncation_space = "z"

    def __init__(self, z_dim: int, img_resolution: int, img_channels: int, c_dim: int = 0, width: float = 1.0) -> None:
        super().__init__(img_resolution)
        self.z_dim = z_dim
        self.c_dim = c_dim
        channels = [channels_at(self.start * 2**level, width) for level in range(self.levels + 1)]
        self.normalise = PixelNorm()
        self.dense = nn.Sequential(
            EqualizedLinear(z_dim + c_dim, channels[0] * self.start**2),
            nn.Unflatten(1, (channels[0], self.start, self.start)),
            nn.LeakyReLU(SLOPE),
            PixelNorm(),
        )
        first = _normalised_conv(channels[0], channels[0])
        later = (
            nn.Sequential(*_normalised_conv(below, here), *_normalised_conv(here, here))
            for below, here in itertools.pairwise(channels)
        )
        self.blocks = nn.ModuleList([first, *later])
        self.to_rgb = nn.ModuleList(EqualizedConv2d(here, img_channels, 1, gain=1) for here in channels)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Return images float32 [N, C, R, R], nominally in [-1, 1], for z float32 [N, z_dim], c int64 [N] or None."""
        x: Tensor = self.dense(self.normalise(with_labels(z, c, self.c_dim)))
        x = self.blocks[0](x)
        below = x
        for level in range(1, self.top + 1):
            below, x = x, self.blocks[level](_enlarge(x, 1))
        images: Tensor = self.to_rgb[self.top](x)
        if self.fading:
            images = self.mix(_enlarge(self.to_rgb[self.stage](below), 1), images)
        return _enlarge(images, self.levels - self.top)


class EqualizedDiscriminator(Discriminator):
    """A discriminator with an equalised logit and embedding, whose body adds the statistics of ``minibatch="std"``.

    Args: as ``Discriminator``.
    """

    def __init__(self, body: nn.Module, n_features: int, *, c_dim: int, conditioning: str, minibatch: str) -> None:
        behind = "none" if minibatch == "std" else minibatch
        super().__init__(body, n_features, c_dim=c_dim, conditioning=conditioning, minibatch=behind)
        self.logit = EqualizedLinear(self.logit.in_features, 1, gain=1)
        if self.embed is not None:
            self.embed = EqualizedEmbedding(c_dim, self.logit.in_features)


class ProgressiveDiscriminator(EqualizedDiscriminator):
    """The mirror of the generator: two 3x3 convolutions a level, average pooling between levels, an input at each size.

    The last level appends the deviation over the batch (``minibatch="std"``); a 3x3 convolution, a dense layer and the
    logit follow. LeakyReLU 0.2, no normalisation, equalised learning rate.

    Args:
        img_resolution: R, width and height of the images; a multiple of 4, at least 8.
        img_channels: C, 1 for gray or 3 for RGB.
        c_dim: number of classes; 0 for an unconditional network.
        conditioning: ``planes`` or ``projection``, see ``Discriminator``.
        width: multiplies all channel counts.
        options: ``minibatch``: ``std`` before the last convolution, as in the paper, ``discrimination`` or ``none``.
            ``dropout``: share of features dropped before the logit while training.

    Raises:
        InvalidOption: a resolution that is not a multiple of 4, or less than 8; an unknown conditioning.
    """

    body: ProgressiveBody

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        conditioning: str = "projection",
        width: float = 1.0,
        options: EqualizedOptions = EqualizedOptions(),
    ) -> None:
        channels = img_channels + plane_channels(c_dim, conditioning)
        body = ProgressiveBody(img_resolution, channels, width, options)
        super().__init__(body, body.n_features, c_dim=c_dim, conditioning=conditioning, minibatch=options.minibatch)

    @property
    def levels(self) -> int:
        """The last level."""
        return self.body.levels

    @property
    def level(self) -> float:
        """The level in use, from 0 to ``levels``."""
        return self.body.level

    def set_level(self, level: float) -> None:
        """Use this level from now on; raise ``ValueError`` if it is not from 0 to ``levels``."""
        self.body.set_level(level)


class ProgressiveBody(Growing):
    """The layers from images [N, C, R, R] to features [N, n_features]; see ``ProgressiveDiscriminator``."""

    def __init__(self, img_resolution: int, channels: int, width: float, options: NetworkOptions) -> None:
        super().__init__(img_resolution)
        widths = [channels_at(self.start * 2**level, width) for level in range(self.levels + 1)]
        self.n_features = widths[0]
        self.from_rgb = nn.ModuleList(image_entry(channels, here) for here in widths)
        self.blocks = nn.ModuleList(
            [
                last_block(widths[0], self.start, options),
                *(down_block(here, below) for below, here in itertools.pairwise(widths)),
            ]
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return features [N, n_features] of images [N, C, R, R]."""
        images = _shrink(images, self.levels - self.top)
        x: Tensor = self.from_rgb[self.top](images)
        for level in range(self.top, 0, -1):
            x = self.blocks[level](x)
            if self.fading and level == self.top:
                x = self.mix(self.from_rgb[self.stage](_shrink(images, 1)), x)
        features: Tensor = self.blocks[0](x)
        return features


def image_entry(channels: int, out_channels: int) -> nn.Sequential:
    """Return the first layer of a discriminator for an image: a 1x1 convolution ("from RGB")."""
    return nn.Sequential(EqualizedConv2d(channels, out_channels, 1), nn.LeakyReLU(SLOPE))


def down_block(channels: int, out_channels: int) -> nn.Sequential:
    """Return a level of a discriminator: two 3x3 convolutions and pooling, [N, C, R, R] -> [N, out, R/2, R/2]."""
    return nn.Sequential(
        EqualizedConv2d(channels, channels, 3),
        nn.LeakyReLU(SLOPE),
        EqualizedConv2d(channels, out_channels, 3),
        nn.LeakyReLU(SLOPE),
        nn.AvgPool2d(2),
    )


def last_block(channels: int, start: int, options: NetworkOptions) -> nn.Sequential:
    """Return level 0 of a discriminator: the deviation over the batch, a 3x3 convolution, a dense layer."""
    minibatch_std = options.minibatch == "std"
    return nn.Sequential(
        MinibatchStd() if minibatch_std else nn.Identity(),
        EqualizedConv2d(channels + minibatch_std, channels, 3),
        nn.LeakyReLU(SLOPE),
        nn.Flatten(),
        EqualizedLinear(channels * start**2, channels),
        nn.LeakyReLU(SLOPE),
        nn.Dropout(options.dropout),
    )


def _normalised_conv(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(EqualizedConv2d(channels, out_channels, 3), nn.LeakyReLU(SLOPE), PixelNorm())


def _enlarge(images: Tensor, times: int) -> Tensor:
    """Double the size ``times`` times by repeating pixels."""
    return F.interpolate(images, scale_factor=2.0**times, mode="nearest") if times else images


def _shrink(images: Tensor, times: int) -> Tensor:
    """Halve the size ``times`` times by averaging."""
    return F.avg_pool2d(images, 2**times) if times else images
