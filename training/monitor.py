"""What a run shows of itself: log.jsonl, a progress bar, curves.png and a grid of fixed latents each tick."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

from gan_serve.files import write_atomically
from gan_serve.images import encode_png, grid
from gan_serve.latents import latents_from_seeds
from gan_serve.training.config import TrainConfig
from gan_serve.training.networks import to_pixels

GRID_SEEDS = range(64)


class TickMeans:
    """Means of scalars over a tick, summed on the device: nothing waits for the GPU until ``pop``."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, **scalars: Tensor) -> None:
        """Count one step."""
        self._count += 1
        for name, value in scalars.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def latest(self) -> dict[str, float]:
        """The means so far."""
        return {name: float(total) / self._count for name, total in self._sums.items()}

    def pop(self) -> dict[str, float]:
        """The means, and begin anew."""
        means = self.latest()
        self._sums, self._count = {}, 0
        return means


class Monitor:
    """Writes a run's log, curves and grids, and draws its progress bar."""

    def __init__(self, run_dir: Path, config: TrainConfig, shown: int, *, quiet: bool) -> None:
        self.run_dir = run_dir
        self.config = config
        self._latents = torch.from_numpy(latents_from_seeds(GRID_SEEDS, config.z_dim))
        self._bar = tqdm(
            total=config.kimg, initial=shown / 1000, unit="kimg", disable=quiet, dynamic_ncols=True,
            bar_format="{percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]",
        )  # fmt: skip

    def step(self, shown: int, means: TickMeans, every: int = 10) -> None:
        """Move the progress bar; losses are read from the device only every few steps."""
        if self._bar.disable:
            return
        self._bar.update(min(shown / 1000, self.config.kimg) - self._bar.n)
        if (shown // self.config.batch_size) % every == 0:
            latest = means.latest()
            self._bar.set_postfix({name: f"{latest[name]:.3f}" for name in ("d_loss", "g_loss")}, refresh=False)

    def tick(self, generator: nn.Module, record: dict[str, Any]) -> None:
        """Write one line of the log, the curves, and the grid of ``generator`` (the average) at this point."""
        with open(self.run_dir / "log.jsonl", "a") as log:
            log.write(json.dumps(record) + "\n")
        write_curves(self.run_dir)
        save_grid(self.run_dir / "grids" / f"kimg{record['kimg']:010.3f}.png", generator, self._latents)

    def close(self) -> None:
        """Leave the progress bar as it stands."""
        self._bar.close()


@torch.no_grad()
def save_grid(path: Path, generator: nn.Module, latents: Tensor) -> None:
    """Write a PNG grid of the images that ``generator`` draws from ``latents`` float32 [N, z_dim]."""
    device = next(generator.parameters()).device
    pixels = to_pixels(generator(latents.to(device))).cpu().numpy()
    write_atomically(path, encode_png(grid(pixels)))


def read_log(run_dir: Path) -> list[dict[str, Any]]:
    """The records of ``log.jsonl``; a line cut off by a kill is left out."""
    path = run_dir / "log.jsonl"
    if not path.exists():
        return []
    return list(_whole_records(path.read_text().splitlines()))


def rewind_log(run_dir: Path, kimg: float) -> None:
    """Drop what was logged after the snapshot that a run resumes from, so that no tick stands there twice."""
    kept = [json.dumps(record) + "\n" for record in read_log(run_dir) if record["kimg"] <= kimg]
    write_atomically(run_dir / "log.jsonl", "".join(kept))


def write_curves(run_dir: Path) -> None:
    """Draw ``curves.png`` from the log: both losses with their equilibrium ln 2, and the accuracies."""
    records = read_log(run_dir)
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracies = figure.subplots(1, 2)
    kimg = [record["kimg"] for record in records]
    marker = "o" if len(records) == 1 else None
    for axes, names in ((losses, ("d_loss", "g_loss")), (accuracies, ("d_real_acc", "d_fake_acc", "g_acc"))):
        for name in names:
            axes.plot(kimg, [record.get(name, math.nan) for record in records], label=name, marker=marker)
        axes.set_xlabel("kimg (thousands of real images shown)")
    losses.axhline(math.log(2), color="gray", linestyle="--", label="equilibrium, ln 2")
    losses.set_ylabel("loss")
    accuracies.axhline(0.5, color="gray", linestyle="--", label="equilibrium, 0.5")
    accuracies.set_ylabel("accuracy")
    accuracies.set_ylim(0, 1)
    for axes in (losses, accuracies):
        axes.legend()
    write_atomically(run_dir / "curves.png", lambda file: figure.savefig(file, format="png", dpi=100))


def _whole_records(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "kimg" in record:
            yield record
