"""Layers of progressive and style-based networks: equalised learning rate, pixel norm (Karras et al. 2018)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

HE_GAIN = math.sqrt(2)  # for a layer that a (leaky) ReLU follows


class EqualizedLinear(nn.Linear):
    """A dense layer whose weights start as N(0, 1) and are scaled by He's constant at run time.

    y = x (W s)^T + b, s = gain / sqrt(fan_in): Adam's steps, which do not depend on the scale of a weight, then move
    all layers equally fast (Karras et al. 2018, section 4.1). [N, in_features] -> [N, out_features].

    Args:
        in_features: length of the input.
        out_features: length of the output.
        gain: standard deviation of the output for inputs of unit variance; 1 where no activation follows.
        lr_multiplier: learning rate of this layer relative to others (0.01 in StyleGAN's mapping network); it does not
            change the initial output.
        bias_init: the initial value that the bias adds.

    If the weight has a parametrisation, such as spectral normalisation, only that sets the scale.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        gain: float = HE_GAIN,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__(in_features, out_features)
        self.scale = gain / math.sqrt(in_features) * lr_multiplier
        self.bias_scale = lr_multiplier
        nn.init.normal_(self.weight, std=1 / lr_multiplier)
        nn.init.constant_(self.bias, bias_init / lr_multiplier)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: [N, in_features] -> [N, out_features]."""
        return F.linear(x, _scaled_weight(self), self.bias * self.bias_scale)


class EqualizedConv2d(nn.Conv2d):
    """A stride-1 convolution that keeps the size, equalised as ``EqualizedLinear``: [N, in, H, W] -> [N, out, H, W].

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd.
        gain: as in ``EqualizedLinear``.
        bias: add a bias to each channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        gain: float = HE_GAIN,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
        self.scale = gain / math.sqrt(in_channels * kernel_size**2)
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution: [N, in, H, W] -> [N, out, H, W]."""
        return F.conv2d(x, _scaled_weight(self), self.bias, padding=self.padding)


class EqualizedEmbedding(nn.Embedding):
    """Vectors for labels, equalised as ``EqualizedLinear``: weights from N(0, 1), scaled by 1 / sqrt(embedding_dim).

    int64 [N] -> [N, embedding_dim]; the product with features of unit variance starts with unit variance.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.scale = 1 / math.sqrt(embedding_dim)

    def forward(self, c: Tensor) -> Tensor:
        """Return the vectors [N, embedding_dim] of labels int64 [N]."""
        return F.embedding(c, _scaled_weight(self))


class PixelNorm(nn.Module):
    """Normalise the channels of each pixel to a mean square of 1 (Karras et al. 2018, section 4.2); [N, C, ...].

    b_c = a_c / sqrt(mean over c of a_c^2 + 1e-8).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over dimension 1."""
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


def _scaled_weight(layer: EqualizedLinear | EqualizedConv2d | EqualizedEmbedding) -> Tensor:
    if parametrize.is_parametrized(layer, "weight"):
        return layer.weight
    return layer.weight * layer.scale
