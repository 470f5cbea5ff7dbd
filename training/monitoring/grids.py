"""The grids that a run writes at each tick, of the same latents and labels, and their animation and filmstrip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_serve.atomic_files import write_atomically
from gan_serve.images.animation import encode_animation
from gan_serve.images.captions import enlarge_small, resized, with_caption, with_row_names
from gan_serve.images.grid import GRID_GAP, cut_grid, grid
from gan_serve.images.pixels import UInt8Array, from_pil
from gan_serve.images.png import encode_png
from gan_serve.sampling.latents import latents_from_seeds

GRID_SEEDS = range(64)
ROW_SEEDS = range(8)  # the latents in the row of each class of a conditional run
MAX_ROWS = 16

GIF_FRAMES = 60
GIF_WIDTH = 544  # pixels; a row of eight images of 64 fits without resizing
GIF_FPS = 8
STRIP_ROWS = 12


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


def write_progress(run_dir: Path, *, class_names: Sequence[str] = (), epoch_kimg: float = 0.0) -> None:
    """Write ``progress.gif`` from the run's grids in order, at most 60 of them, the first and the last included.

    Small images are enlarged, and each frame has a caption.

    Args:
        class_names: of a conditional run; written beside the rows.
        epoch_kimg: images of the data set, in thousands; 0 if unknown.
    """
    paths = sorted((run_dir / "grids").glob("kimg*.png"))
    if paths:
        frames = [_frame(path, class_names, epoch_kimg) for path in _spread(paths, GIF_FRAMES)]
        write_atomically(run_dir / "progress.gif", encode_animation(np.stack(frames), "gif", fps=GIF_FPS))


def write_filmstrip(run_dir: Path, *, by_class: bool = False, epoch_kimg: float = 0.0) -> None:
    """Write ``filmstrip.png``: the same latents after more and more images, a row for each of at most 12 grids.

    Args:
        by_class: the run is conditional; each column has another class then.
        epoch_kimg: images of the data set, in thousands; 0 if unknown.
    """
    paths = sorted((run_dir / "grids").glob("kimg*.png"))
    if not paths:
        return
    chosen = _spread(paths, STRIP_ROWS)
    strips = np.concatenate([_strip(path, by_class) for path in chosen])
    columns = len(strips) // len(chosen)
    sheet = enlarge_small(grid(strips, columns), strips.shape[2])
    captions = [_caption(path, epoch_kimg) for path in chosen]
    write_atomically(run_dir / "filmstrip.png", encode_png(with_row_names(sheet, captions)))


def _spread(paths: Sequence[Path], most: int) -> list[Path]:
    numbers = np.linspace(0, len(paths) - 1, min(len(paths), most))
    return [paths[number] for number in sorted({round(at) for at in numbers})]


def _frame(path: Path, class_names: Sequence[str], epoch_kimg: float) -> UInt8Array:
    sheet = _read(path)
    shown = enlarge_small(sheet, sheet.shape[1] // len(ROW_SEEDS) - GRID_GAP)
    if shown.shape[1] > GIF_WIDTH:
        shown = resized(shown, GIF_WIDTH)
    if class_names:
        shown = with_row_names(shown, class_names[:MAX_ROWS])
    return with_caption(shown, _caption(path, epoch_kimg))


def _strip(path: Path, by_class: bool) -> UInt8Array:
    """Return the first row of a grid, or the first images of its first rows if each row has a class of its own."""
    sheet = _read(path)
    cell = (sheet.shape[1] - GRID_GAP) // len(ROW_SEEDS)
    rows = (sheet.shape[0] - GRID_GAP) // cell
    images = cut_grid(sheet, rows * len(ROW_SEEDS), len(ROW_SEEDS))
    return images[:: len(ROW_SEEDS) if by_class else 1][: len(ROW_SEEDS)]


def _caption(path: Path, epoch_kimg: float) -> str:
    kimg = float(path.stem.removeprefix("kimg"))
    return f"{kimg:g} kimg" + (f", epoch {kimg / epoch_kimg:.1f}" if epoch_kimg else "")


def _read(path: Path) -> UInt8Array:
    with Image.open(path, formats=["PNG"]) as image:
        return from_pil(image)
