"""Snapshots of a run: everything that the next step depends on, so that a killed run resumes to the same weights.

A snapshot holds both networks, both optimisers, the generator's average, how many images were shown and how long it
took. The order of the data (``DataOrder``), random numbers (``StepRandom``), schedules and the growing of a network
need no state: they follow from the seed, the images shown and the config.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_serve.atomic_files import write_atomically
from gan_serve.errors import RunError


class DataOrder:
    """The endless order in which N images are shown: pass after pass, each a new permutation drawn from (seed, pass).

    A batch may reach over the end of a pass, so a set smaller than a batch works too. Indices lie on ``device``.
    """

    def __init__(self, n: int, seed: int, device: torch.device | None = None) -> None:
        self.n = n
        self.seed = seed
        self.device = device
        self._permutations: dict[int, Tensor] = {}

    def batch(self, shown: int, size: int) -> Tensor:
        """Indices int64 [size] of the images that follow when ``shown`` images were shown so far."""
        pieces = []
        end = shown + size
        while shown < end:
            number, position = divmod(shown, self.n)
            pieces.append(self._permutation(number)[position : position + end - shown])
            shown += len(pieces[-1])
        return torch.cat(pieces)

    def _permutation(self, number: int) -> Tensor:
        if number not in self._permutations:
            self._permutations = {k: v for k, v in self._permutations.items() if abs(k - number) == 1}
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
            self._permutations[number] = torch.randperm(self.n, generator=generator).to(self.device)
        return self._permutations[number]


def snapshots(run_dir: Path) -> list[Path]:
    """Return the snapshots of a run, oldest first."""
    return sorted((run_dir / "snapshots").glob("kimg*.pt"))


def snapshot_path(run_dir: Path, kimg: float) -> Path:
    """Return the path of the snapshot after ``kimg`` thousand images, kept or not."""
    return run_dir / "snapshots" / f"kimg{kimg:010.3f}.pt"


def save_snapshot(run_dir: Path, state: dict[str, Any], *, keep: int, best: float | None = None) -> Path:
    """Write a snapshot, whole or not at all, then remove all but the last ``keep`` and that of ``best`` kimg.

    Raises:
        CannotWrite: the disk refuses; earlier snapshots are untouched.
    """
    path = snapshot_path(run_dir, state["shown"] / 1000)
    content = io.BytesIO()  # torch hides the reason where a disk refuses its own writing
    torch.save(state, content)
    write_atomically(path, content.getvalue())
    for old in snapshots(run_dir)[:-keep]:
        if best is None or old != snapshot_path(run_dir, best):
            old.unlink()
    return path


def load_snapshot(path: Path) -> dict[str, Any]:
    """Read a snapshot; tensors and plain values only, so a foreign file can run no code.

    Raises:
        RunError: it is damaged or no snapshot.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise RunError(
            f"The snapshot {path} cannot be read: {error}", "Remove it to go on from the one before."
        ) from error
    if not isinstance(state, dict):
        raise RunError(f"The file {path} is no snapshot of a run.", "Remove it to go on from the one before.")
    return state


def all_finite(weights: Mapping[str, Tensor]) -> bool:
    """Return whether no weight holds NaN or infinity."""
    return all(bool(torch.isfinite(weight).all()) for weight in weights.values())
