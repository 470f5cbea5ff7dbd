"""Snapshots of a run: everything that the next step depends on, so that a killed run resumes to the same weights.

A snapshot contains both networks, both optimisers, the average of the generator, the number of images shown and the
duration. The order of the data (``DataOrder``), random numbers (``StepRandom``), schedules and the growth of a network
need no state: they follow from the seed, the images shown and the config.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_serve.atomic_files import write_atomically
from gan_serve.errors import RunError
from gan_serve.regular_files import open_regular
from gan_serve.training.torch_files import NoTensors, load_torch_file


class DataOrder:
    """The endless order in which N images are shown: one pass after the other, each a permutation from (seed, pass).

    A batch may extend beyond the end of a pass, so a set smaller than a batch works too. Indices are on ``device``.
    """

    def __init__(self, n: int, seed: int, device: torch.device | None = None) -> None:
        self.n = n
        self.seed = seed
        self.device = device
        self._permutations: dict[int, Tensor] = {}

    def batch(self, shown: int, size: int) -> Tensor:
        """Return the indices int64 [size] of the next images after ``shown`` images."""
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
    """Return the path of the snapshot after ``kimg`` thousand images, whether it exists or not."""
    return run_dir / "snapshots" / f"kimg{kimg:010.3f}.pt"


def save_snapshot(run_dir: Path, state: dict[str, Any], *, keep: int, best: float | None = None) -> Path:
    """Write a snapshot atomically, then remove all except the last ``keep`` and the one at ``best`` kimg.

    Raises:
        CannotWrite: writing fails; earlier snapshots are unchanged.
    """
    path = snapshot_path(run_dir, state["shown"] / 1000)
    content = io.BytesIO()  # torch.save to a file hides the reason of an error
    torch.save(state, content)
    write_atomically(path, content.getvalue())
    for old in snapshots(run_dir)[:-keep]:
        if best is None or old != snapshot_path(run_dir, best):
            old.unlink()
    return path


def load_snapshot(path: Path) -> dict[str, Any]:
    """Read a snapshot. Only tensors and plain values are loaded, so a file of others cannot run code.

    Raises:
        RunError: it is damaged, or not a snapshot.
    """
    try:
        with open_regular(path) as file:
            state = load_torch_file(file)
    except (NoTensors, OSError) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        raise RunError(
            f"The snapshot {path} cannot be read: {why}.", "Remove it to resume from the one before."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(state.get(key), int | float) for key in ("shown", "seconds")):
        raise RunError(f"The file {path} is not a snapshot of a run.", "Remove it to resume from the one before.")
    return state


@contextlib.contextmanager
def fitting_snapshot(hint: str) -> Iterator[None]:
    """Raise ``RunError`` with this hint if a snapshot does not fit the networks that it is loaded into in the block."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise RunError(f"The snapshot does not fit the run's config: {error}", hint) from error


def all_finite(weights: Mapping[str, Tensor]) -> bool:
    """Return True if no weight has NaN or infinity."""
    return all(bool(torch.isfinite(weight).all()) for weight in weights.values())
