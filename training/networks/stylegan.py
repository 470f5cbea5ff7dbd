"""The style-based generator (Karras et al. 2019, arXiv:1812.04948): mapping network, AdaIN synthesis, noise.

The mapping network maps z to w. The synthesis network starts from a learned constant; after each layer, w sets the mean
and scale of every feature map (AdaIN), and noise adds random detail. All levels are trained at once, without growing.
"""

from __future__ import annotations

import itertools
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gan_serve.training.networks.discriminator import plane_channels
from gan_serve.training.networks.equalized import EqualizedConv2d, EqualizedLinear, PixelNorm
from gan_serve.training.networks.layers import SLOPE, one_hot, scaled, start_and_levels
from gan_serve.training.networks.options import Options
from gan_serve.training.networks.progressive import (
    EqualizedDiscriminator,
    EqualizedOptions,
    channels_at,
    down_block,
    image_entry,
    last_block,
)
from gan_serve.training.networks.truncation import track_mean_style, truncate_styles

MAPPING_LR = 0.01  # the learning rate of the mapping network relative to the synthesis network (appendix C)


class StyleGANGeneratorOptions(Options):
    """Options of the generator."""

    style_mixing: Annotated[float, Field(ge=0, le=1)] = 0.9  # share of training images with two latents
    mapping_layers: Annotated[int, Field(ge=1, le=64)] = 8  # dense layers from z to w


class StyleGANOptions(StyleGANGeneratorOptions, EqualizedOptions):
    """Options of the family ``stylegan``."""


class MappingNetwork(nn.Module):
    """The map from z to the style w: normalised z with an embedding of the label, then dense layers with LeakyReLU 0.2.

    Args:
        z_dim: numbers in a latent.
        c_dim: number of classes; 0 for an unconditional network.
        w_dim: numbers in a style.
        n_layers: number of dense layers (eight in section 2).
    """

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, n_layers: int = 8) -> None:
        super().__init__()
        self.c_dim = c_dim
        self.normalise = PixelNorm()
        self.embed = EqualizedLinear(c_dim, z_dim, gain=1) if c_dim else None
        sizes = [z_dim * 2 if c_dim else z_dim, *[w_dim] * n_layers]
        layers: list[nn.Module] = []
        for size, out in itertools.pairwise(sizes):
            layers += [EqualizedLinear(size, out, lr_multiplier=MAPPING_LR), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Return w float32 [N, w_dim] for z float32 [N, z_dim] and, if conditional, c int64 [N]."""
        x = self.normalise(z)
        if self.embed is not None:
            # As long as z, so that label and latent have equal weight (Karras et al. 2020).
            x = torch.cat([x, self.normalise(self.embed(one_hot(c, self.c_dim)))], dim=1)
        w: Tensor = self.layers(x)
        return w


class AdaIN(nn.Module):
    """Adaptive instance normalisation (Huang and Belongie 2017; eq. 1): y_s (x - mean(x)) / std(x) + y_b, map by map.

    y_s (which starts at 1) and y_b (at 0) are affine in w.
    """

    def __init__(self, channels: int, w_dim: int) -> None:
        super().__init__()
        self.scale = EqualizedLinear(w_dim, channels, gain=1, bias_init=1)
        self.shift = EqualizedLinear(w_dim, channels, gain=1)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return maps with mean y_b and standard deviation abs(y_s), for maps [N, C, H, W] and w [N, w_dim]."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        # Var_mean is slower, and exports to more ONNX nodes.
        variance = (x - mean).square().mean(dim=(2, 3), keepdim=True)
        scale = self.scale(w)[:, :, None, None] * torch.rsqrt(variance + 1e-8)
        styled: Tensor = x * scale + (self.shift(w)[:, :, None, None] - mean * scale)
        return styled


class StyledLayer(nn.Module):
    """Convolution (or none), noise, bias, LeakyReLU 0.2, AdaIN: [N, in, H, W] -> [N, out, H, W].

    With ``up``, bilinear upsampling to twice the size comes first. It equals pixel repetition with the paper's blur by
    [1, 2, 1].
    """

    def __init__(self, conv: EqualizedConv2d | None, channels: int, w_dim: int, *, up: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.up = up
        self.noise_strength = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.style = AdaIN(channels, w_dim)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """Return maps [N, out, H, W] for maps [N, in, h, w], w [N, w_dim] and noise [N or 1, 1, H, W]."""
        if self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        if self.conv is not None:
            x = self.conv(x)
        x = x + (self.noise_strength * noise + self.bias)
        styled: Tensor = self.style(F.leaky_relu(x, SLOPE), w)
        return styled


class SynthesisNetwork(nn.Module):
    """The map from styles to images: a learned constant, two styled layers a level, a 1x1 convolution to the image.

    Attributes:
        num_layers: number of styled layers; each has its own style.
        noise_<i>: float32 [1, 1, H, W], the constant noise of layer i, the same in every network of this size.
    """

    def __init__(self, w_dim: int, img_resolution: int, img_channels: int, width: float = 1.0) -> None:
        super().__init__()
        start, levels = start_and_levels(img_resolution)
        self.num_layers = 2 * (levels + 1)
        channels = [channels_at(start * 2**level, width) for level in range(levels + 1)]
        # Random instead of the paper's ones, because instance normalisation turns a constant map into zero.
        self.constant = nn.Parameter(torch.randn(1, channels[0], start, start))
        layers = [
            StyledLayer(None, channels[0], w_dim),
            StyledLayer(EqualizedConv2d(channels[0], channels[0], 3, bias=False), channels[0], w_dim),
        ]
        for below, here in itertools.pairwise(channels):
            layers += [
                StyledLayer(EqualizedConv2d(below, here, 3, bias=False), here, w_dim, up=True),
                StyledLayer(EqualizedConv2d(here, here, 3, bias=False), here, w_dim),
            ]
        self.layers = nn.ModuleList(layers)
        self.to_rgb = EqualizedConv2d(channels[-1], img_channels, 1, gain=1)
        for layer in range(self.num_layers):
            size = start * 2 ** (layer // 2)
            noise = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(layer))
            self.register_buffer(f"noise_{layer}", noise)

    def forward(self, ws: Tensor) -> Tensor:
        """Return images float32 [N, C, R, R], nominally in [-1, 1], for styles float32 [N, num_layers, w_dim].

        Coarse layers come first. In training mode the noise is random, from torch's default random state.
        """
        n = ws.shape[0]  # len(ws) would fix N in an ONNX export
        x = self.constant.expand(n, -1, -1, -1)
        for i, layer in enumerate(self.layers):
            noise = self.get_buffer(f"noise_{i}")
            x = layer(x, ws[:, i], torch.randn_like(noise.expand(n, -1, -1, -1)) if self.training else noise)
        images: Tensor = self.to_rgb(x)
        return images


class StyleGANGenerator(nn.Module):
    """Mapping and synthesis networks, with style mixing in training and truncation towards the mean style.

    In training mode, noise and style mixing use torch's default random state, and ``w_mean`` tracks the mean style; in
    eval mode, nothing is random. Channels: ``progressive.channels_at``.

    Args:
        z_dim: numbers in a latent.
        img_resolution: R, width and height of the images; a multiple of 4, at least 8.
        img_channels: C, 1 for gray or 3 for RGB.
        c_dim: number of classes; 0 for an unconditional network.
        width: multiplies all channel counts.
        w_dim: numbers in a style; 512 times ``width`` by default.
        options: ``style_mixing``: share of training images whose layers from a random one on use a second latent
            (section 3.1). ``mapping_layers``: 8 in the paper, 2 in StyleGAN2-ADA at small sizes.

    Attributes:
        mapping: ``mapping(z, c)`` -> w [N, w_dim].
        synthesis: ``synthesis(ws)`` with styles [N, num_layers, w_dim] -> images; ``ws`` need not come from one w.
        num_layers: number of styles of an image.
        w_mean: float32 [w_dim], a moving average over training; with labels, over all classes.

    Raises:
        InvalidOption: a resolution that is not a multiple of 4, or less than 8.

    >>> generator = StyleGANGenerator(z_dim=64, img_resolution=32, img_channels=1, width=0.25).eval()
    >>> generator(torch.randn(2, 64), psi=torch.tensor([1.0, 0.7])).shape
    torch.Size([2, 1, 32, 32])
    """

    truncation_space = "w"
    w_mean: Tensor

    def __init__(
        self,
        z_dim: int,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        width: float = 1.0,
        w_dim: int | None = None,
        options: StyleGANGeneratorOptions = StyleGANGeneratorOptions(),
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.w_dim = w_dim or scaled(512, width)
        self.style_mixing = options.style_mixing
        self.mapping = MappingNetwork(z_dim, c_dim, self.w_dim, options.mapping_layers)
        self.synthesis = SynthesisNetwork(self.w_dim, img_resolution, img_channels, width)
        self.num_layers = self.synthesis.num_layers
        self.register_buffer("w_mean", torch.zeros(self.w_dim))

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        psi: Tensor | None = None,
        *,
        z_mix: Tensor | None = None,
        crossover: Tensor | None = None,
        w_offset: Tensor | None = None,
    ) -> Tensor:
        """Return images float32 [N, C, R, R], nominally in [-1, 1].

        Args:
            z: latents, float32 [N, z_dim].
            c: labels, int64 [N], for a conditional network.
            psi: float32 [N], truncation in w, see ``truncate_styles``. None means 1.
            z_mix: float32 [N, z_dim], second latents for style mixing (section 3.1), under the same labels.
            crossover: int64 [N], the first layer that takes its style from ``z_mix``; num_layers for none.
            w_offset: float32 [N, w_dim], added to the styles of all layers after truncation.
        """
        w: Tensor = self.mapping(z, c)
        if self.training:
            track_mean_style(self.w_mean, w)
        ws = w[:, None].expand(-1, self.num_layers, -1)
        if self.training and self.style_mixing:
            z_mix, crossover = torch.randn_like(z), self._random_crossovers(len(z), z.device)
        if z_mix is not None and crossover is not None:
            layers = torch.arange(self.num_layers, device=z.device)
            ws = torch.where((layers >= crossover[:, None])[:, :, None], self.mapping(z_mix, c)[:, None], ws)
        if psi is not None:
            ws = truncate_styles(ws, self.w_mean, psi)
        if w_offset is not None:
            ws = ws + w_offset[:, None]
        images: Tensor = self.synthesis(ws)
        return images

    def _random_crossovers(self, n: int, device: torch.device) -> Tensor:
        """Return int64 [n], a random layer from 1 on for the share ``style_mixing`` of the images, else none."""
        crossover = torch.randint(1, self.num_layers, (n,), device=device)
        return torch.where(torch.rand(n, device=device) < self.style_mixing, crossover, self.num_layers)


class StyleGANDiscriminator(EqualizedDiscriminator):
    """The discriminator of progressive growing at its full size, as in StyleGAN; for the arguments see there."""

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        c_dim: int = 0,
        conditioning: str = "projection",
        width: float = 1.0,
        options: EqualizedOptions = EqualizedOptions(),
    ) -> None:
        start, levels = start_and_levels(img_resolution)
        widths = [channels_at(start * 2**level, width) for level in range(levels, -1, -1)]
        body = nn.Sequential(
            image_entry(img_channels + plane_channels(c_dim, conditioning), widths[0]),
            *(down_block(here, below) for here, below in itertools.pairwise(widths)),
            last_block(widths[-1], start, options),
        )
        super().__init__(body, widths[-1], c_dim=c_dim, conditioning=conditioning, minibatch=options.minibatch)
