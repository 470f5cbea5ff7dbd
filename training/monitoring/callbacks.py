"""Call the functions and loggers that follow a run, at each tick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_serve.images.pixels import UInt8Array


class Tick(NamedTuple):
    """A tick of a run, after its files are written.

    kimg: thousands of real images shown. figures: the line of ``log.jsonl``, as docs/training.md explains it.
    grid: uint8 [H, W, C], the grid of the averaged generator's images. run_dir: the folder of the run.
    snapshot: the path of the snapshot of this tick.
    """

    kimg: float
    figures: Mapping[str, Any]
    grid: UInt8Array
    run_dir: Path
    snapshot: Path


Callback = Callable[[Tick], object]  # one that returns True stops the run


@dataclass(frozen=True)
class Observers:
    """The functions and loggers that are called at each tick.

    callbacks: functions of a ``Tick``; if one returns True, the run stops as on Ctrl-C.
    wandb: the project of Weights & Biases to log to, with its own client; None: no.
    """

    callbacks: tuple[Callback, ...] = ()
    wandb: str | None = None

    def notify(self, tick: Tick) -> bool:
        """Call all callbacks in their order; return True if one of them stops the run."""
        returned = [callback(tick) for callback in self.callbacks]
        return any(isinstance(value, bool | np.bool_) and value for value in returned)
