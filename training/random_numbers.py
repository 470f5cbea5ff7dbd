"""The random numbers of a step. They depend only on the seed and the images shown, so snapshots do not have them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class StepRandom:
    """Random numbers of one step, for one of ``world`` processes that share a batch.

    Each number belongs to an image of the whole batch. A process generates the numbers of all images and keeps its own,
    so that they do not depend on the number of processes. Dropout and noise inside networks use torch's own state,
    which is seeded for each step and process.

    Args:
        seed: the seed of the run. shown: real images shown before this step.
        rank, world: number of this process, and number of processes.
    """

    def __init__(self, seed: int, shown: int, device: torch.device, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world, self.device = rank, world, device
        own, *_ = np.random.SeedSequence([seed, shown, 1, rank]).generate_state(1, np.uint64)
        common, *_ = np.random.SeedSequence([seed, shown, 0]).generate_state(1, np.uint64)
        torch.manual_seed(int(own) >> 1)
        self._generator = torch.Generator(device).manual_seed(int(common) >> 1)

    def uniform(self, n: int, *shape: int) -> Tensor:
        """Return float32 [n, *shape], uniform from 0 to 1, for the n images of this process."""
        return self._own(torch.rand(n * self.world, *shape, generator=self._generator, device=self.device), n)

    def normal(self, n: int, *shape: int) -> Tensor:
        """Return float32 [n, *shape], normal with mean 0 and variance 1, for the n images of this process."""
        return self._own(torch.randn(n * self.world, *shape, generator=self._generator, device=self.device), n)

    def _own(self, numbers: Tensor, n: int) -> Tensor:
        return numbers[self.rank * n : (self.rank + 1) * n]
