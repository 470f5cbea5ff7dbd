"""Adversarial losses on logits, one short function each, with formula and source.

D(x) is the discriminator's logit and σ the sigmoid. All functions take logits float [N] and return a scalar.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_bce(real_logits: Tensor, fake_logits: Tensor, real_target: Tensor, fake_target: Tensor) -> Tensor:
    """Binary cross-entropy of the discriminator, the mean of its two halves: ln 2 where it cannot tell at all.

    ½ (BCE(σ(D(x)), real_target) + BCE(σ(D(G(z))), fake_target)), targets 1 and 0 (Goodfellow et al. 2014, eq. 1),
    or softened ones (see ``soft_targets``).
    """
    real = F.binary_cross_entropy_with_logits(real_logits, real_target)
    fake = F.binary_cross_entropy_with_logits(fake_logits, fake_target)
    return (real + fake) / 2


def generator_non_saturating(fake_logits: Tensor) -> Tensor:
    """-log σ(D(G(z))), averaged (Goodfellow et al. 2014, section 3): gradients stay strong while D wins."""
    return F.softplus(-fake_logits).mean()


def soft_targets(n: int, *, smoothing: float, noise: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Targets of the discriminator for n real and n fake images, each [n].

    smoothing: one-sided; real images aim at 1 - smoothing (Salimans et al. 2016, section 3.4).
    noise: every target moves towards the other by a number drawn anew from 0 to ``noise`` for each image, so that D
        never grows sure of itself.
    """
    real = torch.full((n,), 1.0 - smoothing, device=like.device, dtype=like.dtype)
    fake = torch.zeros(n, device=like.device, dtype=like.dtype)
    if noise:
        real = real - noise * torch.rand_like(real)
        fake = fake + noise * torch.rand_like(fake)
    return real, fake
