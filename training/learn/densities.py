"""Densities on a line: the value of the game, the best discriminator, and distances where densities do not overlap.

Goodfellow et al. 2014, section 4.1: D*(x) = p(x) / (p(x) + q(x)), and V(D*, G) = 2 JSD(p, q) - log 4.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from gan_serve.training.learn.page import Page
from gan_serve.training.losses import discriminator_bce, soft_targets, value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = np.linspace(-12, 12, 6001)
STEP = float(GRID[1] - GRID[0])


def normal(x: np.ndarray, mean: float) -> np.ndarray:
    """Return the density of N(mean, 1)."""
    density: np.ndarray = np.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi)
    return density


def uniform(x: np.ndarray, start: float) -> np.ndarray:
    """Return the density that is 1 from ``start`` on, for a width of 1."""
    inside = ((x >= start) & (x < start + 1)).astype(float)
    density: np.ndarray = inside / (inside.sum() * STEP)
    return density


def quantiles(mean: float, n: int = 4096) -> Tensor:
    """Return the middles of n equally likely slices of N(mean, 1), float64 [n], in place of a random sample."""
    levels = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return mean + math.sqrt(2) * torch.erfinv(2 * levels - 1)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence in nats of two densities on ``GRID``: from 0 to ln 2."""
    middle = (p + q) / 2

    def divergence(density: np.ndarray) -> float:
        inside = density > 0
        return float((density[inside] * np.log(density[inside] / middle[inside])).sum() * STEP)

    return (divergence(p) + divergence(q)) / 2


def wasserstein(p: np.ndarray, q: np.ndarray) -> float:
    """Return the Wasserstein-1 distance of two densities on ``GRID``: the area between their distribution functions."""
    return float(np.abs(np.cumsum(p - q) * STEP).sum() * STEP)


def value_of_the_game() -> Page:
    """Compute V(D*, G) for data N(0, 1) and generators N(d, 1), from samples and from the divergence."""
    distances_ = np.linspace(0, 6, 25)

    def found(distance: float) -> float:
        """V by the logits of D*: log p/q = d (d - 2 x) / 2."""
        real, fake = quantiles(0), quantiles(distance)
        return value(distance * (distance - 2 * real) / 2, distance * (distance - 2 * fake) / 2).item()

    by_samples = [found(float(distance)) for distance in distances_]
    by_divergence = [
        2 * jensen_shannon(normal(GRID, 0), normal(GRID, distance)) - math.log(4) for distance in distances_
    ]

    def panel(axes: Axes) -> None:
        axes.plot(distances_, by_samples, "o", markersize=4, label="V(D*, G) on 4,096 points")
        axes.plot(distances_, by_divergence, label="2 JSD(p, q) - log 4")
        axes.axhline(-math.log(4), color="gray", linestyle="--", label="-log 4")
        axes.set(xlabel="distance of the two means", ylabel="V")
        axes.legend()

    return Page(
        "The value of the game",
        "V is -log 4 where the generator's distribution is that of the data, and rises towards 0 as they move apart. "
        "The discriminator's losses on real and on generated images add up to -V: to 2 ln 2 at the equilibrium, not "
        "to ln 2 (Goodfellow et al. 2014, section 4.1).",
        {
            "V where p = q": by_samples[0],
            "-log 4": -math.log(4),
            "sum of real and fake loss there": -by_samples[0],
            "2 ln 2": 2 * math.log(2),
            "V at a distance of 6": by_samples[-1],
            "largest difference from 2 JSD - log 4": float(np.abs(np.subtract(by_samples, by_divergence)).max()),
        },
        (panel,),
    )


def best_discriminator(steps: int = 500) -> Page:
    """Train a small discriminator on two Gaussians at -1 and 1, and compare it with p / (p + q)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    real, fake = (quantiles(mean, 512).float()[:, None] for mean in (-1, 1))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    targets = soft_targets(torch.zeros(512, 4))
    values = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = discriminator_bce(network(real)[:, 0], network(fake)[:, 0], targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
        values.append(-2 * loss.item())
    p, q = normal(GRID, -1), normal(GRID, 1)
    best = p / (p + q)
    with torch.no_grad():
        found = torch.sigmoid(network(torch.from_numpy(GRID).float()[:, None])[:, 0]).numpy()
    likely = (p > 0.01) | (q > 0.01)
    limit = 2 * jensen_shannon(p, q) - math.log(4)

    def curves(axes: Axes) -> None:
        near = np.abs(GRID) < 4
        axes.plot(GRID[near], p[near], label="p, the data")
        axes.plot(GRID[near], q[near], label="q, the generator")
        axes.plot(GRID[near], found[near], label="D, trained")
        axes.plot(GRID[near], best[near], "k--", label="p / (p + q)")
        axes.set(xlabel="x")
        axes.legend()

    def progress(axes: Axes) -> None:
        axes.plot(values, label="V(D, G)")
        axes.axhline(limit, color="k", linestyle="--", label="2 JSD - log 4")
        axes.set(xlabel="steps of the discriminator")
        axes.legend()

    return Page(
        "The best discriminator",
        "With the generator fixed, the discriminator approaches p / (p + q), and V approaches 2 JSD(p, q) - log 4 "
        "(Goodfellow et al. 2014, proposition 1 and theorem 1). V is computed on 512 points of each distribution, and "
        "may exceed the limit by as much as they differ from it.",
        {
            "largest |D - p / (p + q)| where p or q > 0.01": float(np.abs(found - best)[likely].max()),
            "V reached": values[-1],
            "2 JSD - log 4": limit,
        },
        (curves, progress),
    )


def distances() -> Page:
    """Compute both distances between two uniform densities of width 1 as one moves away."""
    shifts = np.linspace(0, 5, 51)
    p = uniform(GRID, 0)
    moved = [uniform(GRID, float(shift)) for shift in shifts]
    js = [jensen_shannon(p, q) for q in moved]
    w1 = [wasserstein(p, q) for q in moved]

    def panel(axes: Axes) -> None:
        axes.plot(shifts, js, label="Jensen-Shannon")
        axes.plot(shifts, w1, label="Wasserstein-1")
        axes.axhline(math.log(2), color="gray", linestyle="--", label="ln 2")
        axes.axvspan(1, 5, color="gray", alpha=0.1)
        axes.set(xlabel="shift; no overlap from 1 on", ylabel="distance")
        axes.legend()

    return Page(
        "Distances without overlap",
        "Where two distributions do not overlap, their Jensen-Shannon divergence is ln 2 at any distance, so that it "
        "gives the generator no gradient. The Wasserstein-1 distance grows with the distance (compare Arjovsky et al. "
        "2017, example 1).",
        {
            "JSD at a shift of 0.5": js[5],
            "JSD at a shift of 1": js[10],
            "JSD at a shift of 5": js[50],
            "ln 2": math.log(2),
            "Wasserstein at a shift of 1": w1[10],
            "Wasserstein at a shift of 5": w1[50],
        },
        (panel,),
    )
