"""Snapshots of a run: everything that the next step depends on, so that a killed run resumes to the same weights.

A snapshot holds both networks, both optimisers, the generator's average, the random states, how many images were shown
and how long it took. The order of the data needs none: it follows from the seed and the images shown (``DataOrder``).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_serve.errors import RunError
from gan_serve.files import write_atomically


class DataOrder:
    """The endless order in which N images are shown: pass after pass, each a new permutation drawn from (seed, pass).

    A batch may reach over the end of a pass, so a set smaller than a batch works too.
    """

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self.seed = seed
        self._permutations: dict[int, Tensor] = {}

    def batch(self, shown: int, size: int) -> Tensor:
        """Indices int64 [size] of the images that follow when ``shown`` images were shown so far."""
        positions = torch.arange(shown, shown + size)
        passes = positions // self.n
        indices = torch.empty(size, dtype=torch.int64)
        for number in range(int(passes[0]), int(passes[-1]) + 1):
            here = passes == number
            indices[here] = self._permutation(number)[positions[here] % self.n]
        return indices

    def _permutation(self, number: int) -> Tensor:
        if number not in self._permutations:
            self._permutations = {k: v for k, v in self._permutations.items() if k == number - 1}
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
            self._permutations[number] = torch.randperm(self.n, generator=generator)
        return self._permutations[number]


def random_state() -> dict[str, Tensor | list[Tensor]]:
    """Torch's random states, CPU and CUDA."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what ``random_state`` returned."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def snapshots(run_dir: Path) -> list[Path]:
    """The snapshots of a run, oldest first."""
    return sorted((run_dir / "snapshots").glob("kimg*.pt"))


def save_snapshot(run_dir: Path, state: dict[str, Any], *, keep: int) -> Path:
    """Write a snapshot, whole or not at all, then remove all but the last ``keep``.

    Raises:
        CannotWrite: the disk refuses; earlier snapshots are untouched.
    """
    path = run_dir / "snapshots" / f"kimg{state['shown'] / 1000:010.3f}.pt"
    content = io.BytesIO()  # torch hides the reason where a disk refuses its own writing
    torch.save(state, content)
    write_atomically(path, content.getvalue())
    for old in snapshots(run_dir)[:-keep]:
        old.unlink()
    return path


def load_snapshot(path: Path) -> dict[str, Any]:
    """Read a snapshot; tensors and plain values only, so a foreign file can run no code.

    Raises:
        RunError: it is damaged or no snapshot.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise RunError(
            f"The snapshot {path} cannot be read: {error}", "Remove it to go on from the one before."
        ) from error
    return state
