"""Mode collapse on a ring of eight Gaussians (Metz et al. 2017, arXiv:1611.02163), and what remedies do to it."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from gan_serve.training import regularizers
from gan_serve.training.learn.page import Page
from gan_serve.training.losses import LOSSES, soft_targets
from gan_serve.training.networks.layers import MinibatchDiscrimination, normalise_spectrally

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODES = torch.tensor([[math.cos(a * math.pi / 4), math.sin(a * math.pi / 4)] for a in range(8)])
DEVIATION = 0.05


class Remedy(NamedTuple):
    """The settings of a training on the ring; ``lr`` is that of both networks."""

    loss: str = "non-saturating"
    gp_weight: float = 0.0
    r1: float = 0.0
    n_critic: int = 1
    minibatch: bool = False
    feature_matching: float = 0.0
    mode_seeking: float = 0.0
    spectral_norm: bool = False
    lr: float = 1e-3
    batch_size: int = 64


REMEDIES = {
    "plain": Remedy(),
    "minibatch discrimination": Remedy(minibatch=True),
    "feature matching": Remedy(feature_matching=10.0),
    "mode seeking": Remedy(mode_seeking=0.1),
    "Wasserstein, penalty": Remedy("wasserstein", gp_weight=1.0, n_critic=3),
    "R1": Remedy(r1=1.0),
    "hinge, spectral norm": Remedy("hinge", spectral_norm=True),
    "stronger discriminator": Remedy(n_critic=3),
    "lower learning rates": Remedy(lr=2e-4),
    "larger batch": Remedy(batch_size=256),
}


def mode_collapse(steps: int = 1000) -> Page:
    """Train once with each remedy and the same seed."""
    points = {name: train_on_ring(remedy, steps) for name, remedy in REMEDIES.items()}
    numbers = {}
    for name, found in points.items():
        numbers[f"{name}: modes of 8"] = float(modes_found(found))
        numbers[f"{name}: share near a mode"] = near_a_mode(found)

    def panel(axes: Axes, name: str) -> None:
        axes.scatter(MODES[:, 0], MODES[:, 1], s=120, facecolors="none", edgecolors="tab:orange")
        axes.scatter(points[name][:, 0], points[name][:, 1], s=3)
        axes.set(title=name, xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")

    return Page(
        f"A ring of eight Gaussians after {steps} steps",
        "A mode counts as found if at least 1 % of the points lie within three standard deviations of it; points "
        "that lie everywhere find modes too, with a small share near one. One seed and one small network: the ring "
        "shows that a remedy can help, not which one is best, nor that one without effect here has none elsewhere.",
        numbers,
        tuple(partial(panel, name=name) for name in points),
    )


class Discriminator(nn.Module):
    """A network of two hidden layers on points [N, 2], or on images [N, 2, 1, 1] of one pixel."""

    def __init__(self, remedy: Remedy) -> None:
        super().__init__()
        compared: list[nn.Module] = [MinibatchDiscrimination(64, kernels=8, kernel_dim=3)] if remedy.minibatch else []
        self.features = nn.Sequential(
            *(nn.Flatten(), nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2)), *compared
        )
        self.logit = nn.Linear(72 if compared else 64, 1)
        if remedy.spectral_norm:
            normalise_spectrally(self)

    def forward(self, points: Tensor) -> Tensor:
        """Return logits [N]."""
        logits: Tensor = self.logit(self.features(points))
        return logits[:, 0]


def train_on_ring(remedy: Remedy, steps: int) -> Tensor:
    """Train generator and discriminator on the ring; return 1000 generated points, float32 [1000, 2]."""
    n = remedy.batch_size
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        discriminator = Discriminator(remedy)
        g_optimizer, d_optimizer = (
            torch.optim.Adam(network.parameters(), remedy.lr, (0.5, 0.9)) for network in (generator, discriminator)
        )
        for _ in range(steps):
            for _ in range(remedy.n_critic):
                real, fake = real_points(n), generator(torch.randn(n, 4)).detach()
                d_optimizer.zero_grad()
                discriminator_loss(remedy, discriminator, real, fake).backward()  # type: ignore[no-untyped-call]
                d_optimizer.step()
            g_optimizer.zero_grad()
            generator_loss(remedy, generator, discriminator, real).backward()  # type: ignore[no-untyped-call]
            g_optimizer.step()
        with torch.no_grad():
            points: Tensor = generator(torch.randn(1000, 4))
    return points


def discriminator_loss(remedy: Remedy, discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Return the adversarial loss with its penalty, a scalar."""
    n = len(real)
    targets = soft_targets(torch.zeros(n, 4))
    total = LOSSES[remedy.loss].discriminator(discriminator(real), discriminator(fake), targets)
    real_images, fake_images = (points[:, :, None, None] for points in (real, fake))  # the penalties take images
    if remedy.gp_weight:
        penalty = regularizers.gradient_penalty(discriminator, real_images, fake_images, torch.rand(n))
        total = total + remedy.gp_weight * penalty
    if remedy.r1:
        total = total + remedy.r1 * regularizers.zero_centred_penalty(discriminator, real_images)
    return total


def generator_loss(remedy: Remedy, generator: nn.Module, discriminator: Discriminator, real: Tensor) -> Tensor:
    """Return the adversarial loss on new points, with the terms of the remedy, a scalar."""
    z = torch.randn(len(real), 4)
    fake = generator(z)
    total: Tensor = LOSSES[remedy.loss].generator(discriminator(fake))
    if remedy.feature_matching:
        features = discriminator.features
        matching = regularizers.feature_matching(features(real).detach(), features(fake))
        total = total + remedy.feature_matching * matching
    if remedy.mode_seeking:
        other = torch.randn(len(real), 4)
        total = total + remedy.mode_seeking * regularizers.mode_seeking(fake, generator(other), z, other)
    return total


def real_points(n: int) -> Tensor:
    """Return float32 [n, 2] from the ring."""
    return MODES[torch.randint(len(MODES), (n,))] + DEVIATION * torch.randn(n, 2)


def modes_found(points: Tensor) -> int:
    """Return how many modes have at least 1 % of the points within three deviations."""
    near = torch.cdist(points, MODES) < 3 * DEVIATION
    return int((near.float().mean(dim=0) >= 0.01).sum())


def near_a_mode(points: Tensor) -> float:
    """Return the share of points within three deviations of a mode."""
    return (torch.cdist(points, MODES) < 3 * DEVIATION).any(dim=1).float().mean().item()
