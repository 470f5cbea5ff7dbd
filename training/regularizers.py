"""Penalties and other terms of a loss, weight clipping and the norm of gradients; papers are named where they apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Critic = Callable[[Tensor], Tensor]  # images [N, C, H, W] -> logits [N]
STEP = 0.01  # of finite differences, in the units of the images, which range from -1 to 1


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Return E[(||∇D(x̂)||₂ - 1)²] on x̂ = mix · real + (1 - mix) · fake (Gulrajani et al. 2017, eq. 3).

    Args:
        critic: a function of images alone; for a conditional critic, bind the labels.
        real, fake: [N, C, H, W]. mix: [N], uniform from 0 to 1, one for each pair.
    """
    mix = mix.view(-1, 1, 1, 1)
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    norms: Tensor = _image_gradients(critic(between), between).flatten(1).norm(dim=1)
    return (norms - 1).square().mean()


def zero_centred_penalty(critic: Critic, images: Tensor) -> Tensor:
    """Return ½ E[||∇D(x)||²], with weight γ: R1 on real images, R2 on generated ones (Mescheder et al. 2018, eq. 9)."""
    images = images.detach().requires_grad_()
    return _image_gradients(critic(images), images).square().flatten(1).sum(dim=1).mean() / 2


def finite_difference_penalty(critic: Critic, images: Tensor, noise: Tensor) -> Tensor:
    """Return ½ E[((D(x + s · e) - D(x)) / s)²] with s = ``STEP``, which is R1 or R2 without a second derivative.

    The approximated R1 of Lin et al. 2025 (arXiv:2501.08316) is this times 2 s².

    If D is linear over a step, the mean of the square over e ~ N(0, 1) is ||∇D(x)||², so γ has the same meaning as for
    ``zero_centred_penalty``. The estimate from one e for each image has that mean and a relative deviation of √2.

    Args:
        critic: in float32, and the same function in both calls: no dropout, and no power iteration in between.
        images: [N, C, H, W]. noise: e, of the same shape.
    """
    images = images.detach()
    with parametrize.cached():  # a spectrally normalised weight changes with each call
        difference = critic(images + STEP * noise) - critic(images)
    return (difference / STEP).square().mean() / 2


def drift_penalty(real_logits: Tensor) -> Tensor:
    """Return E[D(x)²] on real images, to keep a critic near 0 (Karras et al. 2018, appendix A.1: weight 0.001)."""
    return real_logits.square().mean()


@torch.no_grad()
def clip_weights(parameters: Iterable[nn.Parameter], bound: float) -> None:
    """Clamp every weight to [-bound, bound], in place (Arjovsky et al. 2017, algorithm 1)."""
    weights = [parameter.data for parameter in parameters]
    torch._foreach_clamp_min_(weights, -bound)
    torch._foreach_clamp_max_(weights, bound)


def gradient_norm(*networks: nn.Module) -> Tensor:
    """Return the L2 norm of all gradients of the networks, taken as one vector."""
    weights = [weight for network in networks for weight in network.parameters()]
    return nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])


def feature_matching(real_features: Tensor, fake_features: Tensor) -> Tensor:
    """Return ||E f(x) - E f(G(z))||₂² over features [N, F], divided by F (Salimans et al. 2016, section 3.1).

    The division makes one weight suit networks of any size.
    """
    return (real_features.mean(dim=0) - fake_features.mean(dim=0)).square().mean()


def mode_seeking(images_1: Tensor, images_2: Tensor, z_1: Tensor, z_2: Tensor, eps: float = 1e-5) -> Tensor:
    """Return 1 / (d(G(z₁), G(z₂)) / d(z₁, z₂)) with mean absolute distances (Mao et al. 2019, eq. 3, as in its code).

    It grows if different latents give the same image. Images [N, C, H, W], latents [N, z_dim].
    """
    distance = (images_1 - images_2).abs().mean() / (z_1 - z_2).abs().mean()
    return 1 / (distance + eps)


def _image_gradients(logits: Tensor, images: Tensor) -> Tensor:
    """Return ∇D at each image, from the sum of the logits; no logit may depend on another image."""
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients
