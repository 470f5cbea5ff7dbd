"""A critic's slope under clipped weights, a gradient penalty and spectral normalisation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gan_serve.training import regularizers
from gan_serve.training.learn.densities import quantiles
from gan_serve.training.learn.page import Page
from gan_serve.training.losses import critic_wasserstein, soft_targets
from gan_serve.training.networks.layers import normalise_spectrally

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DISTANCE = 3.0  # of the means of data and generator, both N(., 1): their Wasserstein-1 distance
KINDS = ("clipping", "penalty", "spectral norm")
GRID = torch.linspace(-5, 8, 131)


def lipschitz(steps: int = 500) -> Page:
    """Train a critic between two Gaussians under each constraint; measure its slope and estimate."""
    numbers: dict[str, float] = {"true Wasserstein distance": DISTANCE}
    scores: dict[str, Tensor] = {}
    for kind in KINDS:
        critic = train_critic(kind, steps)
        x = GRID[:, None].clone().requires_grad_()
        output = critic(x)
        (slopes,) = torch.autograd.grad(output.sum(), x)
        scores[kind] = output.detach()
        with torch.no_grad():
            real, fake = (critic(quantiles(mean, 512).float()[:, None]).mean() for mean in (0.0, DISTANCE))
        numbers[f"{kind}: largest slope"] = slopes.abs().max().item()
        numbers[f"{kind}: E[D(x)] - E[D(G(z))]"] = (real - fake).item()

    def panel(axes: Axes, kind: str) -> None:
        axes.plot(GRID, scores[kind])
        axes.set(title=f"{kind}: slope up to {numbers[f'{kind}: largest slope']:.2g}", xlabel="x", ylabel="D(x)")

    return Page(
        "Three ways to a Lipschitz critic",
        "The best critic has a slope of 1, and its scores differ by the Wasserstein distance. With weights clipped at "
        "0.01 the slope of this network is far below 1, and so is the estimate below the distance. The penalty "
        "(Gulrajani et al. 2017) pulls the slope towards 1 without bounding it. Spectral normalisation (Miyato et al. "
        "2018) bounds the slope of each layer by 1, and so that of the network. The vertical axes differ.",
        numbers,
        tuple(partial(panel, kind=kind) for kind in KINDS),
    )


def train_critic(kind: str, steps: int, *, normal_mixing: bool = False) -> nn.Module:
    """Return a critic trained on N(0, 1) against N(DISTANCE, 1).

    ``normal_mixing`` takes the mixing weight of the penalty from N(0, 1) instead of U(0, 1).
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = nn.Sequential(
            *(nn.Flatten(), nn.Linear(1, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2)),
            *(nn.Linear(64, 1), nn.Flatten(0)),
        )
        if kind == "spectral norm":
            normalise_spectrally(critic)
        optimizer = torch.optim.Adam(critic.parameters(), 2e-3, (0.0, 0.9))
        targets = soft_targets(torch.zeros(256, 4))
        for _ in range(steps):
            real, fake = torch.randn(256, 1), DISTANCE + torch.randn(256, 1)
            optimizer.zero_grad()
            loss = critic_wasserstein(critic(real), critic(fake), targets)
            if kind == "penalty":
                weight = torch.randn(256) if normal_mixing else torch.rand(256)
                pair = (real[:, :, None, None], fake[:, :, None, None])
                loss = loss + 10 * regularizers.gradient_penalty(critic, *pair, weight)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if kind == "clipping":
                regularizers.clip_weights(critic.parameters(), 0.01)
    return critic.eval()
