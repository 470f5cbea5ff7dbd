"""The latents and labels of the grids that a run writes at each tick; they are always the same."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_serve.sampling.latents import latents_from_seeds

GRID_SEEDS = range(64)
ROW_SEEDS = range(8)  # the latents in the row of each class of a conditional run
MAX_ROWS = 16


def grid_inputs(z_dim: int, c_dim: int = 0) -> tuple[Tensor, Tensor | None]:
    """Return z float32 [N, z_dim] and, for a conditional generator, c int64 [N].

    Without classes, the seeds are 0 to 63; with classes, each of the first 16 has a row with the seeds 0 to 7.
    """
    if not c_dim:
        return torch.from_numpy(latents_from_seeds(GRID_SEEDS, z_dim)), None
    rows = min(c_dim, MAX_ROWS)
    latents = torch.from_numpy(latents_from_seeds(ROW_SEEDS, z_dim))
    return latents.repeat(rows, 1), torch.arange(rows).repeat_interleave(len(ROW_SEEDS))
