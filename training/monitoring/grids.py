"""The inputs of the grids that a run writes at each tick: always the same latents and labels."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_serve.sampling.latents import latents_from_seeds

GRID_SEEDS = range(64)
ROW_SEEDS = range(8)  # of a conditional run: the same latents in the row of every class
MAX_ROWS = 16


def grid_inputs(z_dim: int, c_dim: int = 0) -> tuple[Tensor, Tensor | None]:
    """Return z float32 [N, z_dim] and, for a conditional generator, c int64 [N].

    Seeds 0 to 63 without classes; else the seeds 0 to 7 under each of the first 16 classes, a row for each.
    """
    if not c_dim:
        return torch.from_numpy(latents_from_seeds(GRID_SEEDS, z_dim)), None
    rows = min(c_dim, MAX_ROWS)
    latents = torch.from_numpy(latents_from_seeds(ROW_SEEDS, z_dim))
    return latents.repeat(rows, 1), torch.arange(rows).repeat_interleave(len(ROW_SEEDS))
