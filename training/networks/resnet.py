"""Residual blocks at the small sizes, where the layout of an image is decided, and plain convolutions above.

Blocks of SNGAN (Miyato et al. 2018, arXiv:1802.05957), BigGAN (Brock et al. 2019, arXiv:1809.11096; without its
non-local layer) or R3GAN (Huang et al. 2024, arXiv:2501.05441). In the papers, all sizes have residual blocks. At full
resolution these take 9 to 16 times as long on a CPU as a convolution of stride 2, so ``block_size`` limits them. With
``block_size`` equal to the resolution, the networks are those of the papers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gan_serve.errors import InvalidOption
from gan_serve.training.networks.conditional_norm import ConditionalSequential, batch_norm
from gan_serve.training.networks.discriminator import Discriminator, plane_channels
from gan_serve.training.networks.layers import (
    SLOPE,
    MinibatchStd,
    Upsampling,
    normalise_spectrally,
    one_hot,
    scaled,
    start_and_levels,
    upsampling_by_2,
    with_labels,
)
from gan_serve.training.networks.options import NetworkOptions, Options
from gan_serve.training.networks.residual import FIRST_WEIGHTS, DownBlock, FixupBlock, UpBlock

EMBED_DIM = 128  # length of BigGAN's shared embedding


class BlockOptions(Options):
    """Options of both networks."""

    block: Literal["sngan", "biggan", "r3gan"] = "biggan"  # kind of residual block
    block_size: Annotated[int, Field(ge=4)] = 16  # largest size with residual blocks


class ResNetGeneratorOptions(BlockOptions):
    """Options of the generator; see ``ResNetGenerator``."""

    upsampling: Upsampling = "nearest"  # in the generator, above that size
    g_conditioning: Literal["concat", "batchnorm"] | None = None  # how labels enter the generator
    skip_z: bool = False  # each layer of the generator gets a part of the latent
    g_spectral_norm: bool = False  # divide each weight of the generator by its largest singular value


class ResNetDiscriminatorOptions(BlockOptions, NetworkOptions):
    """Options of the discriminator; see ``ResNetDiscriminator``."""


class ResNetOptions(ResNetGeneratorOptions, ResNetDiscriminatorOptions):
    """Options of the family ``resnet``."""


class ResNetGenerator(nn.Module):
    """A dense layer, residual blocks up to ``block_size``, upsampling and one convolution above, and tanh.

    Channels at size s: 32 R / s, at most ``max_channels``. For 64x64: 512 at 4x4, 256 at 8x8, 128 at 16x16, 64 at
    32x32.

    Args:
        z_dim: numbers in a latent.
        img_resolution: R, width and height of the images; a multiple of 4.
        img_channels: C, 1 for gray or 3 for RGB.
        c_dim: number of classes; 0: unconditional.
        width: multiplies all channel counts.
        max_channels: largest number of channels, before ``width`` multiplies it.
        options: ``block``: ``sngan``, ``biggan`` (orthogonal initial weights, a shared embedding of labels) or
            ``r3gan`` (no normalisation, fix-up initial weights, no tanh). ``upsampling``: ``nearest`` or ``bilinear``
            with a 3x3 convolution, or ``transposed``, 4x4 of stride 2. ``g_conditioning``: ``batchnorm``: labels set
            scale and shift of every BatchNorm; ``concat``: they are appended to the latent; by default ``batchnorm``
            if the blocks have it. ``skip_z``: split the latent into equal parts, one for the dense layer and one for
            the BatchNorms of each layer (hierarchical latents); the dense layer also gets the remainder.
            ``g_spectral_norm``: not of the shared embedding, as in BigGAN.

    Raises:
        InvalidOption: the resolution is not a multiple of 4, options of BatchNorm for ``r3gan``, or a latent that is
            too short to be split.
    """

    truncation_space = "z"

    def __init__(
        self,
        z_dim: int,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        width: float = 1.0,
        max_channels: int = 512,
        options: ResNetGeneratorOptions = ResNetGeneratorOptions(),
    ) -> None:
        super().__init__()
        block, block_size = options.block, options.block_size
        normalised = block != "r3gan"
        g_conditioning = options.g_conditioning or ("batchnorm" if normalised else "concat")
        for name, is_set in {
            "g_conditioning=batchnorm": g_conditioning == "batchnorm",
            "skip_z": options.skip_z,
            "g_spectral_norm": options.g_spectral_norm,
        }.items():
            if is_set and not normalised:
                raise InvalidOption(f"R3GAN's blocks have no normalisation for {name}.", "Take block=biggan.")
        start, levels = start_and_levels(img_resolution)
        self.z_dim, self.c_dim = z_dim, c_dim
        self.joined = 0 if g_conditioning == "batchnorm" else c_dim  # labels beside the latent
        self.z_parts = _parts(z_dim, 1 + levels) if options.skip_z else [z_dim]
        labels = c_dim - self.joined  # length of the labels for every BatchNorm
        self.embed = nn.Linear(labels, EMBED_DIM, bias=False) if labels and block == "biggan" else None
        condition_dim = (labels if self.embed is None else EMBED_DIM) + sum(self.z_parts[1:2])

        channels = [
            scaled(min(max_channels, 32 * img_resolution // (start * 2**level)), width) for level in range(levels + 1)
        ]
        dense = nn.Linear(self.z_parts[0] + self.joined, channels[0] * start**2)
        self.start = nn.Sequential(dense, nn.Unflatten(1, (channels[0], start, start)))
        if not normalised:
            self.start = nn.Sequential(Basis(self.z_parts[0] + self.joined, channels[0], start))
            self.start.extend(_fixup_blocks(channels[0], start <= block_size))
        layers: list[nn.Module] = []
        for level in range(levels):
            before, after, size = channels[level], channels[level + 1], start * 2 ** (level + 1)
            if size <= block_size:
                layers.append(UpBlock(before, after, condition_dim) if normalised else _fixup_stage(before, after))
            else:
                out = img_channels if size == img_resolution else after
                layers.append(_up_layer(before, out, condition_dim, options.upsampling, normalised=normalised))
        self.layers = nn.ModuleList(layers)
        last: list[nn.Module] = []
        if img_resolution <= block_size:
            end = channels[-1]
            last = [nn.Conv2d(end, img_channels, 1)]
            if normalised:
                last = [nn.BatchNorm2d(end), nn.ReLU(), nn.Conv2d(end, img_channels, 3, padding=1)]
        self.to_image = nn.Sequential(*last, *([nn.Tanh()] if normalised else []))

        FIRST_WEIGHTS[block](self)
        if options.g_spectral_norm:
            for part in (self.start, self.layers, self.to_image):
                normalise_spectrally(part)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Return images float32 [N, C, R, R] for z float32 [N, z_dim] and, if conditional, labels int64 [N].

        They are in [-1, 1]; with the blocks of R3GAN, which has no tanh, only nominally.
        """
        first, *others = torch.split(z, self.z_parts, dim=1)
        labels = [] if self.joined == self.c_dim else [one_hot(c, self.c_dim)]
        if self.embed is not None:
            labels = [self.embed(label) for label in labels]
        x = self.start(with_labels(first, c, self.joined))
        for i, layer in enumerate(self.layers):
            condition = [*labels, *others[i : i + 1]]
            x = layer(x, torch.cat(condition, dim=1)) if condition else layer(x)
        images: Tensor = self.to_image(x)
        return images


class ResNetDiscriminator(Discriminator):
    """4x4 convolutions of stride 2 down to ``block_size``, residual blocks below, one logit.

    Channels are as in ``ResNetGenerator``; for 64x64: 64 at 32x32, 128 at 16x16, 256 at 8x8, 512 at 4x4. One more block
    at the last size (twice the channels, at most ``max_channels``), ReLU and a sum over the pixels follow; with R3GAN's
    blocks two more blocks and a convolution over the whole map, channel by channel.

    Args:
        img_resolution: R, width and height of the images; a multiple of 4.
        img_channels: C, 1 for gray or 3 for RGB.
        c_dim: number of classes; 0: unconditional.
        conditioning: see ``Discriminator``.
        width: multiplies all channel counts.
        max_channels: as in ``ResNetGenerator``.
        options: ``minibatch``: see ``Discriminator``; ``std`` is added before the last block. ``dropout``: share of the
            last activations dropped while training. ``block``, ``block_size``: as in ``ResNetGenerator``.

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
        max_channels: int = 512,
        options: ResNetDiscriminatorOptions = ResNetDiscriminatorOptions(),
    ) -> None:
        block, block_size = options.block, options.block_size
        start, levels = start_and_levels(img_resolution)
        channels = [scaled(min(max_channels, 32 * 2**level), width) for level in range(levels + 1)]
        before, compared = img_channels + plane_channels(c_dim, conditioning), options.minibatch == "std"
        layers: list[nn.Module] = []
        if block == "r3gan" and img_resolution <= block_size:
            layers.append(nn.Conv2d(before, channels[0], 1))
            before = channels[0]
        for level, after in enumerate(channels[1:]):
            first, size = level == 0, img_resolution // 2**level
            if size > block_size:
                activation = [] if first else [nn.LeakyReLU(SLOPE) if block == "r3gan" else nn.ReLU()]
                layers += [*activation, nn.Conv2d(before, after, 4, stride=2, padding=1)]
            elif block == "r3gan":
                layers += [*_fixup_blocks(before), *_changed(before, after), nn.AvgPool2d(2)]
            else:
                layers.append(DownBlock(before, after, _hidden(block, before, after), first=first))
            before = after
        looks: list[nn.Module] = [MinibatchStd()] if compared else []
        if block == "r3gan":
            layers += [*_fixup_blocks(before, start <= block_size), *looks]
            n_features = before + compared
            layers.append(nn.Conv2d(n_features, n_features, start, groups=n_features, bias=False))
        else:
            n_features = scaled(min(max_channels, 2 * 32 * 2**levels), width)
            hidden = _hidden(block, before, n_features)
            layers += [*looks, DownBlock(before + compared, n_features, hidden, down=False), nn.ReLU()]
        layers += [nn.Dropout(options.dropout), SumOfPixels()]
        super().__init__(
            nn.Sequential(*layers),
            n_features,
            c_dim=c_dim,
            conditioning=conditioning,
            minibatch="none" if compared else options.minibatch,
        )
        FIRST_WEIGHTS[block](self)


class Basis(nn.Module):
    """A learned map for each channel, scaled by a linear function of the latent; the first layer of R3GAN.

    [N, in_features] -> [N, channels, size, size].
    """

    def __init__(self, in_features: int, channels: int, size: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(channels, size, size))
        self.linear = nn.Linear(in_features, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps of latents."""
        maps: Tensor = self.maps * self.linear(x)[:, :, None, None]
        return maps


class SumOfPixels(nn.Module):
    """The sum of each map ("global sum pooling"): [N, C, H, W] -> [N, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of maps."""
        return x.sum(dim=(2, 3))


def _up_layer(before: int, after: int, condition_dim: int, upsampling: Upsampling, *, normalised: bool) -> nn.Module:
    """Return normalisation, activation and a doubling by one convolution: [N, before, H, W] -> [N, after, 2H, 2W]."""
    doubling: list[nn.Module] = [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
    if upsampling != "transposed":
        doubling = [upsampling_by_2(upsampling), nn.Conv2d(before, after, 3, padding=1)]
    if not normalised:
        return nn.Sequential(nn.LeakyReLU(SLOPE), *doubling)
    return ConditionalSequential(batch_norm(nn.BatchNorm2d(before), condition_dim), nn.ReLU(), *doubling)


def _fixup_stage(before: int, after: int) -> nn.Module:
    """Return a level of R3GAN (1x1 convolution, upsampling, two blocks): [N, before, H, W] -> [N, after, 2H, 2W]."""
    return nn.Sequential(*_changed(before, after), upsampling_by_2("bilinear"), *_fixup_blocks(after))


def _fixup_blocks(channels: int, wanted: bool = True) -> Iterator[nn.Module]:
    return (FixupBlock(channels) for _ in range(2 * wanted))


def _changed(before: int, after: int) -> list[nn.Module]:
    """Return a 1x1 convolution if the number of channels changes."""
    return [nn.Conv2d(before, after, 1, bias=False)] if before != after else []


def _hidden(block: str, before: int, after: int) -> int:
    """Return the channels between the two convolutions of a block; see ``DownBlock``."""
    return after if block == "biggan" else before


def _parts(z_dim: int, parts: int) -> list[int]:
    """Return the lengths of the parts of a latent: equal, except that the first one has the remainder."""
    if z_dim < parts:
        raise InvalidOption(
            f"skip_z needs {parts} parts, into which a latent of {z_dim} numbers cannot be split.",
            f"Raise z_dim to {parts} or more.",
        )
    return [z_dim - (parts - 1) * (z_dim // parts), *[z_dim // parts] * (parts - 1)]
