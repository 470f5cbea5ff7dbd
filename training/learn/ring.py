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
BATCH = 64


class Remedy(NamedTuple):
    """The settings of a training on the ring."""

    loss: str = "non-saturating"
    gp_weight: float = 0.0
    r1: float = 0.0
    n_critic: int = 1
    minibatch: bool = False
    spectral_norm: bool = False


REMEDIES = {
    "plain": Remedy(),
    "minibatch discrimination": Remedy(minibatch=True),
    "R1": Remedy(r1=1.0),
    "Wasserstein, penalty": Remedy("wasserstein", gp_weight=1.0, n_critic=3),
    "hinge, spectral norm": Remedy("hinge", spectral_norm=True),
}


def mode_collapse(steps: int = 1000) -> Page:
    """Play the game once for each remedy, from the same weights and random numbers."""
    points = {name: play(remedy, steps) for name, remedy in REMEDIES.items()}
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
        "A mode counts as found when one of a hundred points lies within three deviations of it. One seed, one small "
        "network: the ring shows what a remedy does, not which is best. A critic of slope 1, as spectral normalisation "
        "makes it, is too smooth to tell such narrow modes apart in this time.",
        numbers,
        tuple(partial(panel, name=name) for name in points),
    )


def play(remedy: Remedy, steps: int) -> Tensor:
    """Train generator and discriminator on the ring; return 1000 generated points, float32 [1000, 2]."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        compared: list[nn.Module] = [MinibatchDiscrimination(64, kernels=8, kernel_dim=3)] if remedy.minibatch else []
        discriminator = nn.Sequential(
            *(nn.Flatten(), nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2)),
            *(*compared, nn.Linear(72 if compared else 64, 1), nn.Flatten(0)),
        )
        if remedy.spectral_norm:
            normalise_spectrally(discriminator)
        g_optimizer = torch.optim.Adam(generator.parameters(), 1e-3, (0.5, 0.9))
        d_optimizer = torch.optim.Adam(discriminator.parameters(), 1e-3, (0.5, 0.9))
        loss = LOSSES[remedy.loss]
        for _ in range(steps):
            for _ in range(remedy.n_critic):
                real, fake = real_points(BATCH), generator(torch.randn(BATCH, 4)).detach()
                d_optimizer.zero_grad()
                total = loss.discriminator(
                    discriminator(real), discriminator(fake), soft_targets(torch.zeros(BATCH, 4))
                )
                real_images, fake_images = (
                    points[:, :, None, None] for points in (real, fake)
                )  # the penalties take images
                if remedy.gp_weight:
                    mix = torch.rand(BATCH)
                    penalty = regularizers.gradient_penalty(discriminator, real_images, fake_images, mix)
                    total = total + remedy.gp_weight * penalty
                if remedy.r1:
                    total = total + remedy.r1 * regularizers.zero_centred_penalty(discriminator, real_images)
                total.backward()  # type: ignore[no-untyped-call]
                d_optimizer.step()
            g_optimizer.zero_grad()
            loss.generator(discriminator(generator(torch.randn(BATCH, 4)))).backward()  # type: ignore[no-untyped-call]
            g_optimizer.step()
        with torch.no_grad():
            points: Tensor = generator(torch.randn(1000, 4))
    return points


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
