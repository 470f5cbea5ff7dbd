"""Adversarial losses on logits, one short function each, with formula and source.

D(x) is the discriminator's (critic's) output before any sigmoid, and σ the sigmoid. All functions take float [N] and
return a scalar. To add a loss, write its two functions and add them to ``LOSSES``, as tests/test_extending.py does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Targets(NamedTuple):
    """The values that a discriminator should give each real and each generated image, both float [N]."""

    real: Tensor
    fake: Tensor


class Loss(NamedTuple):
    """The losses of the discriminator and the generator.

    discriminator: (real_logits, fake_logits, targets) -> loss.
    generator: (fake_logits) -> loss; of a relativistic loss (fake_logits, real_logits) -> loss.
    has_targets: the discriminator's loss has targets, which can be smoothed, noisy or flipped.
    boundary: the logit above which an image counts as real; None if a single logit has no such meaning.
    relativistic: the generator's loss also needs logits of real images.
    """

    discriminator: Callable[[Tensor, Tensor, Targets], Tensor]
    generator: Callable[..., Tensor]
    has_targets: bool
    boundary: float | None
    relativistic: bool = False


def discriminator_bce(real_logits: Tensor, fake_logits: Tensor, targets: Targets) -> Tensor:
    """Return the mean of the binary cross-entropies on real and generated images; ln 2 if the logits say nothing.

    ½ (BCE(σ(D(x)), target) + BCE(σ(D(G(z))), target)), targets 1 and 0 (Goodfellow et al. 2014, eq. 1), or softened.
    """
    real = F.binary_cross_entropy_with_logits(real_logits, targets.real)
    fake = F.binary_cross_entropy_with_logits(fake_logits, targets.fake)
    return (real + fake) / 2


def generator_non_saturating(fake_logits: Tensor) -> Tensor:
    """Return E[-log σ(D(G(z)))] (Goodfellow et al. 2014, section 3), whose gradient stays large while D is ahead."""
    return F.softplus(-fake_logits).mean()


def generator_saturating(fake_logits: Tensor) -> Tensor:
    """Return E[log(1 - σ(D(G(z))))] (Goodfellow et al. 2014, eq. 1), which saturates while D is ahead."""
    return -F.softplus(fake_logits).mean()


def clip_probabilities(logits: Tensor, eps: float) -> Tensor:
    """Return logits whose probabilities lie in [eps, 1 - eps]; there is no gradient where one was outside.

    Keras' ``BinaryCrossentropy`` does so with eps = 1e-7, a logit of 16.1, where it is given probabilities.
    """
    bound = math.log((1 - eps) / eps)
    return logits.clamp(-bound, bound)


def discriminator_lsgan(real_logits: Tensor, fake_logits: Tensor, targets: Targets) -> Tensor:
    """Return ½ E[(D(x) - target)²] + ½ E[(D(G(z)) - target)²], targets 1 and 0 (Mao et al. 2017, eq. 9)."""
    return (F.mse_loss(real_logits, targets.real) + F.mse_loss(fake_logits, targets.fake)) / 2


def generator_lsgan(fake_logits: Tensor) -> Tensor:
    """Return ½ E[(D(G(z)) - 1)²] (Mao et al. 2017, eq. 9)."""
    return F.mse_loss(fake_logits, torch.ones_like(fake_logits)) / 2


def discriminator_hinge(real_logits: Tensor, fake_logits: Tensor, _targets: Targets) -> Tensor:
    """Return E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] (Lim and Ye 2017; Miyato et al. 2018, eq. 16)."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def critic_wasserstein(real_logits: Tensor, fake_logits: Tensor, _targets: Targets) -> Tensor:
    """Return E[D(G(z))] - E[D(x)], the negated estimate of the Wasserstein-1 distance (Arjovsky et al. 2017)."""
    return fake_logits.mean() - real_logits.mean()


def generator_by_score(fake_logits: Tensor) -> Tensor:
    """Return -E[D(G(z))], the generator's part of the Wasserstein and the hinge loss."""
    return -fake_logits.mean()


def discriminator_relativistic(real_logits: Tensor, fake_logits: Tensor, _targets: Targets) -> Tensor:
    """Return E[softplus(-(D(x) - D(G(z))))] over pairs of a real and a generated image (RpGAN).

    Jolicoeur-Martineau 2018 (arXiv:1807.00734); with R1 and R2 the loss of R3GAN (Huang et al. 2024, arXiv:2501.05441,
    eq. 2). It is ln 2 if the two cannot be told apart. Adding a constant to D changes nothing.
    """
    return F.softplus(fake_logits - real_logits).mean()


def generator_relativistic(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Return E[softplus(-(D(G(z)) - D(x)))], the discriminator's loss with swapped roles (arXiv:2501.05441)."""
    return F.softplus(real_logits - fake_logits).mean()


LOSSES = {
    "non-saturating": Loss(discriminator_bce, generator_non_saturating, has_targets=True, boundary=0.0),
    "saturating": Loss(discriminator_bce, generator_saturating, has_targets=True, boundary=0.0),
    "lsgan": Loss(discriminator_lsgan, generator_lsgan, has_targets=True, boundary=0.5),
    "hinge": Loss(discriminator_hinge, generator_by_score, has_targets=False, boundary=0.0),
    "wasserstein": Loss(critic_wasserstein, generator_by_score, has_targets=False, boundary=None),
    "relativistic": Loss(
        discriminator_relativistic, generator_relativistic, has_targets=False, boundary=None, relativistic=True
    ),
}


def value(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return V(D, G) = E[log σ(D(x))] + E[log(1 - σ(D(G(z))))] (Goodfellow et al. 2014, eq. 1).

    For the optimal discriminator it is 2 JSD(p, q) - log 4; if D is constant at 0, -log 4.
    """
    return -F.softplus(-real_logits).mean() - F.softplus(fake_logits).mean()


def soft_targets(
    uniform: Tensor,
    *,
    smoothing: float = 0.0,
    noise: float = 0.0,
    flip: float = 0.0,
    real_range: tuple[float, float] | None = None,
    fake_range: tuple[float, float] | None = None,
) -> Targets:
    """Return the targets of the discriminator for N real and N generated images.

    Args:
        uniform: float [N, 4], random numbers from 0 to 1 for noise and flips.
        smoothing: one-sided; the target of real images is 1 - smoothing (Salimans et al. 2016, section 3.4).
        noise: each target moves towards the other one by a random amount of up to ``noise``.
        flip: share of the real and of the generated images that get the opposite target (Chintala et al. 2016,
            "GAN hacks", 6).
        real_range, fake_range: (low, high); targets lie uniformly between them, in place of ``smoothing`` and
            ``noise``. Outside 0 to 1 cross-entropy has no minimum: its loss can fall without end.
    """
    real = 1.0 - smoothing - noise * uniform[:, 0]
    fake = noise * uniform[:, 1]
    if real_range is not None:
        real = real_range[0] + (real_range[1] - real_range[0]) * uniform[:, 0]
    if fake_range is not None:
        fake = fake_range[0] + (fake_range[1] - fake_range[0]) * uniform[:, 1]
    flip_real, flip_fake = uniform[:, 2] < flip, uniform[:, 3] < flip
    return Targets(torch.where(flip_real, 0.0, real), torch.where(flip_fake, 1.0 - smoothing, fake))
