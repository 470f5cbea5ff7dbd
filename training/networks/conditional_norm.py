"""BatchNorm that is told the label: how labels, and latents, reach every layer of a generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_serve.errors import InvalidOption

G_CONDITIONING = ("concat", "batchnorm")


class ConditionalBatchNorm(nn.Module):
    """BatchNorm with a scale and a shift for each image: y = BN(x) (1 + W_s e) + W_b e.

    e [N, condition_dim] is the one-hot label, so that each class has its own scale and shift (Dumoulin et al. 2017,
    arXiv:1610.07629; in a GAN, Miyato and Koyama 2018, arXiv:1802.05637), or an embedding of the label joined to a part
    of the latent (Brock et al. 2019, arXiv:1809.11096). Unlike there, BN keeps a scale and a shift of its own: those
    that all images have in common.

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
            nn.init.normal_(layer.weight, std=0.02)  # nearly plain BatchNorm at first

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """Features [N, F] or maps [N, F, H, W], conditions [N, condition_dim] -> the shape of ``x``."""
        shape = [-1, x.shape[1], *[1] * (x.ndim - 2)]
        scale, shift = self.scale(e).view(shape), self.shift(e).view(shape)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class ConditionalSequential(nn.Sequential):
    """Layers one after the other, of which those with a ``ConditionalBatchNorm`` inside take the condition too."""

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """``x`` [N, ...], conditions [N, condition_dim] (None where no layer takes them) -> the output."""
        for layer in self:
            x = layer(x, e) if isinstance(layer, ConditionalBatchNorm) else layer(x)
        return x


def batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, condition_dim: int) -> nn.Module:
    """Return ``norm``, conditional where ``condition_dim`` is not 0."""
    return ConditionalBatchNorm(norm, condition_dim) if condition_dim else norm


def check_g_conditioning(g_conditioning: str) -> None:
    """Refuse an unknown way to tell a generator the label.

    Raises:
        InvalidOption: it is neither ``concat`` nor ``batchnorm``.
    """
    if g_conditioning not in G_CONDITIONING:
        raise InvalidOption.unknown("conditioning of a generator", g_conditioning, G_CONDITIONING)
