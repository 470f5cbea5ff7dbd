"""Means of scalars over a tick, summed on the device, so that no step waits for the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_serve.training.distributed import average


class TickMeans:
    """Sums of named scalars, and the step in which each was first not finite."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._first_bad: dict[str, Tensor] = {}

    def add(self, step: int, **scalars: Tensor) -> None:
        """Add the scalars of step number ``step``."""
        for name, scalar in scalars.items():
            value = scalar.detach().double()
            bad = torch.where(value.isfinite(), value.new_tensor(torch.inf), value.new_tensor(float(step)))
            if name in self._sums:
                self._sums[name] += value
                self._counts[name] += 1
                torch.minimum(self._first_bad[name], bad, out=self._first_bad[name])
            else:
                self._sums[name], self._counts[name], self._first_bad[name] = value.clone(), 1, bad

    def latest(self) -> dict[str, float]:
        """Return the means of this process so far."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}

    def first_not_finite(self) -> tuple[int, str] | None:
        """Return the first step with a scalar that was not finite, and the scalar's name."""
        found = [(float(step), name) for name, step in self._first_bad.items()]
        # Of several, the one that was added first.
        step, name = min(found, key=lambda one: one[0], default=(torch.inf, ""))
        return None if step == torch.inf else (int(step), name)

    def pop(self) -> dict[str, float]:
        """Return the means over all processes, and reset."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        means = average(torch.stack([self._sums[name] / self._counts[name] for name in names])).tolist()
        self._sums, self._counts, self._first_bad = {}, {}, {}
        return dict(zip(names, means, strict=True))
