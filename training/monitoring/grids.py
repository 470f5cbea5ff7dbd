"""The grids that a run writes at each tick, always of the same latents and labels, and the animation of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_serve.atomic_files import write_atomically
from gan_serve.images.animation import encode_animation
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, from_pil
from gan_serve.images.png import encode_png
from gan_serve.sampling.latents import latents_from_seeds

GRID_SEEDS = range(64)
ROW_SEEDS = range(8)  # the latents in the row of each class of a conditional run
MAX_ROWS = 16

GIF_FRAMES = 60
GIF_WIDTH = 544  # pixels; a row of eight images of 64 fits without resizing
GIF_FPS = 8


def grid_inputs(z_dim: int, c_dim: int = 0) -> tuple[Tensor, Tensor | None]:
    """Return z float32 [N, z_dim] and, for a conditional generator, c int64 [N].

    Without classes, the seeds are 0 to 63; with classes, each of the first 16 has a row with the seeds 0 to 7.
    """
    if not c_dim:
        return torch.from_numpy(latents_from_seeds(GRID_SEEDS, z_dim)), None
    rows = min(c_dim, MAX_ROWS)
    latents = torch.from_numpy(latents_from_seeds(ROW_SEEDS, z_dim))
    return latents.repeat(rows, 1), torch.arange(rows).repeat_interleave(len(ROW_SEEDS))


def write_grid(run_dir: Path, kimg: float, images: UInt8Array) -> UInt8Array:
    """Write the grid of images uint8 [N, H, W, C] after ``kimg`` thousand images, and return it, uint8 [H, W, C]."""
    sheet = grid(images, len(ROW_SEEDS))
    write_atomically(run_dir / "grids" / f"kimg{kimg:010.3f}.png", encode_png(sheet))
    return sheet


def write_progress(run_dir: Path) -> None:
    """Write ``progress.gif``: the run's grids in order, at most 60 of them, the first and the last included."""
    paths = sorted((run_dir / "grids").glob("kimg*.png"))
    if not paths:
        return
    chosen = sorted({round(at) for at in np.linspace(0, len(paths) - 1, min(len(paths), GIF_FRAMES))})
    frames = np.stack([_frame(paths[number]) for number in chosen])
    write_atomically(run_dir / "progress.gif", encode_animation(frames, "gif", fps=GIF_FPS))


def _frame(path: Path) -> UInt8Array:
    with Image.open(path, formats=["PNG"]) as image:
        if image.width > GIF_WIDTH:
            height = round(image.height * GIF_WIDTH / image.width)
            return from_pil(image.resize((GIF_WIDTH, height), Image.Resampling.LANCZOS))
        return from_pil(image)
