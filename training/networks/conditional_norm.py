"""Conditional BatchNorm, through which labels and latents reach every layer of a generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConditionalBatchNorm(nn.Module):
    """BatchNorm with a scale and a shift for each image: y = BN(x) (1 + W_s e) + W_b e.

    e [N, condition_dim] is the one-hot label, so that each class has its own scale and shift (Dumoulin et al. 2017,
    arXiv:1610.07629; in a GAN, Miyato and Koyama 2018, arXiv:1802.05637), or an embedding of the label joined to a part
    of the latent (Brock et al. 2019, arXiv:1809.11096). Unlike in these papers, BN keeps a scale and a shift that all
    images share.

    Args:
        norm: ``BatchNorm1d`` or ``BatchNorm2d``.
        condition_dim: length of e.
    """

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, condition_dim: int) -> None:
        super().__init__()
        self.norm = norm
        self.scale = nn.Linear(condition_dim, norm.num_features, bias=False)
        self.shift = nn.Linear(condition_dim, norm.num_features, bias=False)
        for layer in (self.scale, self.shift):
            nn.init.normal_(layer.weight, std=0.02)  # starts close to plain BatchNorm

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """Normalise features [N, F] or maps [N, F, H, W] under conditions [N, condition_dim]."""
        shape = [-1, x.shape[1], *[1] * (x.ndim - 2)]
        scale, shift = self.scale(e).view(shape), self.shift(e).view(shape)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class ConditionalSequential(nn.Sequential):
    """A sequence of layers; those that contain a ``ConditionalBatchNorm`` also get the condition."""

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Apply the layers to ``x`` [N, ...] under conditions [N, condition_dim] (None if no layer needs them)."""
        for layer in self:
            x = layer(x, e) if isinstance(layer, ConditionalBatchNorm) else layer(x)
        return x


def batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, condition_dim: int) -> nn.Module:
    """Return ``norm``, or its conditional form if ``condition_dim`` is not 0."""
    return ConditionalBatchNorm(norm, condition_dim) if condition_dim else norm
