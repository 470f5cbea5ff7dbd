"""The theory of the lessons on a toy: with the generator fixed, what the best discriminator is, and what it is worth.

Goodfellow et al. 2014, section 4.1: D*(x) = p(x) / (p(x) + q(x)), and V(D*, G) = 2 JSD(p, q) - log 4.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from gan_serve.training.losses import LOSSES, soft_targets, value
from gan_serve.training.networks.discriminator import Discriminator

GRID = np.linspace(-8, 8, 4001)


class Normal(NamedTuple):
    mean: float
    deviation: float

    def density(self, x: np.ndarray) -> np.ndarray:
        return np.exp(-(((x - self.mean) / self.deviation) ** 2) / 2) / (self.deviation * math.sqrt(2 * math.pi))

    def sample(self, n: int) -> torch.Tensor:
        """The middles of n equally likely slices, as images of one pixel [n, 1, 1, 1]: a sample without luck."""
        levels = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        x = self.mean + self.deviation * math.sqrt(2) * torch.erfinv(2 * levels - 1)
        return x.float().view(-1, 1, 1, 1)


PAIRS = {
    "apart": (Normal(-1, 1), Normal(1, 1)),
    "wide and narrow": (Normal(-0.5, 1.5), Normal(0.5, 0.7)),
    "equal": (Normal(0, 1), Normal(0, 1)),
}


def jensen_shannon(p: Normal, q: Normal) -> float:
    """JSD in nats, summed over the grid."""
    a, b = p.density(GRID), q.density(GRID)
    middle = (a + b) / 2
    return float((a * np.log(a / middle) + b * np.log(b / middle)).sum() * (GRID[1] - GRID[0]) / 2)


@functools.cache
def best_discriminator(loss: str, p: Normal, q: Normal, steps: int = 600) -> Discriminator:
    """A small network trained to its end against a generator that stands still."""
    torch.manual_seed(0)
    real, fake = p.sample(512), q.sample(512)
    body = nn.Sequential(nn.Flatten(), nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
    discriminator = Discriminator(body, 32)
    optimizer = torch.optim.Adam(discriminator.parameters(), 0.01)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    targets = soft_targets(torch.rand(len(real), 4))
    for _ in range(steps):
        optimizer.zero_grad()
        LOSSES[loss].discriminator(discriminator(real), discriminator(fake), targets).backward()
        optimizer.step()
        decay.step()
    return discriminator.eval().requires_grad_(False)


ONE_OF_PAIRS = [pytest.param(pair, marks=() if pair == "wide and narrow" else pytest.mark.slow) for pair in PAIRS]
CASES = [
    pytest.param(pair, loss, marks=() if (pair, loss) == ("wide and narrow", "non-saturating") else pytest.mark.slow)
    for pair, loss in [*((pair, "non-saturating") for pair in PAIRS), ("apart", "lsgan")]
]


@pytest.mark.parametrize(("pair", "loss"), CASES)
def test_the_trained_discriminator_is_p_over_p_plus_q(pair, loss):
    """Compare where either density is at least 0.01. The least-squares D has no sigmoid (Mao et al. 2017)."""
    p, q = PAIRS[pair]
    discriminator = best_discriminator(loss, p, q)
    x = GRID[(p.density(GRID) > 0.01) | (q.density(GRID) > 0.01)]
    output = discriminator(torch.from_numpy(x).float().view(-1, 1, 1, 1))
    found = (output if loss == "lsgan" else torch.sigmoid(output)).numpy()
    assert np.abs(found - p.density(x) / (p.density(x) + q.density(x))).max() < 0.05


@pytest.mark.parametrize("pair", ONE_OF_PAIRS)
def test_the_value_reaches_2_jsd_minus_log_4(pair):
    p, q = PAIRS[pair]
    discriminator = best_discriminator("non-saturating", p, q)
    expected = 2 * jensen_shannon(p, q) - math.log(4)
    assert value(discriminator(p.sample(4096)), discriminator(q.sample(4096))).item() == pytest.approx(
        expected, abs=0.01
    )


def test_no_other_discriminator_is_worth_more():
    """2 JSD - log 4 is the most that V can be: the exact D* has it, and any shift of its logits has less."""
    p, q = PAIRS["apart"]
    real, fake = p.sample(4096).double(), q.sample(4096).double()

    def worth(shift: float) -> float:  # log p/q = -2 x for these two
        return value(-2 * real.flatten() + shift, -2 * fake.flatten() + shift).item()

    best = 2 * jensen_shannon(p, q) - math.log(4)
    assert worth(0) == pytest.approx(best, abs=1e-3)
    assert all(worth(shift) < worth(0) for shift in (-0.5, -0.1, 0.1, 0.5))


def test_equal_distributions_are_worth_minus_log_4_and_distant_ones_0():
    near, far = jensen_shannon(*PAIRS["equal"]), jensen_shannon(Normal(-3, 0.5), Normal(3, 0.5))
    assert 2 * near - math.log(4) == pytest.approx(-math.log(4))
    assert 2 * far - math.log(4) == pytest.approx(0, abs=1e-6)
