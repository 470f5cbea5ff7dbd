"""Load the averaged generator of a run from one of its snapshots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from gan_serve.checkpoint.config import TrainingData
from gan_serve.errors import RunError
from gan_serve.training.config import TrainConfig, generator_arguments, read_config
from gan_serve.training.monitoring.run_log import best_kimg
from gan_serve.training.networks.fitting import build_fitting
from gan_serve.training.run_info import RunInfo, read_run_info
from gan_serve.training.snapshots import all_finite, fitting_snapshot, load_snapshot, snapshot_path, snapshots


class Trained(NamedTuple):
    """The averaged generator of a run in eval mode, with the record of the run.

    arguments: those of ``build_generator``. shown: real images shown. seconds: duration of the training.
    """

    generator: nn.Module
    config: TrainConfig
    info: RunInfo
    arguments: dict[str, Any]
    shown: int
    seconds: float

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of a conditional generator; empty for an unconditional one."""
        return self.info.data.class_names if self.config.conditional else ()

    @property
    def training_data(self) -> TrainingData:
        """The record of the training images for a checkpoint."""
        data, config = self.info.data, self.config
        return TrainingData(name=data.name, digest=data.digest, holdout=config.holdout or 0.0, labels=config.labels)

    @property
    def diverged(self) -> bool:
        """Return True if a weight is not finite."""
        return not all_finite(self.generator.state_dict())


def load_trained(run_dir: Path, snapshot: str | Path | None = None) -> Trained:
    """Build the averaged generator of a run.

    Args:
        run_dir: the folder of a training run.
        snapshot: a snapshot of the run, or ``best`` for the one with the best quality in the log; the last one if None.

    Raises:
        RunError: there is no run, or no snapshot that fits its config.
    """
    info = read_run_info(run_dir)
    config = read_config(run_dir / "config.json")
    state = load_snapshot(find_snapshot(run_dir, snapshot))
    c_dim = len(info.data.class_names) if config.conditional else 0
    arguments = generator_arguments(config, img_channels=info.data.img_channels, c_dim=c_dim)
    with fitting_snapshot("Give the run that it belongs to."):
        generator = build_fitting(config.family, arguments, state["ema"])
        generator.load_state_dict(state["ema"])
    return Trained(generator.eval(), config, info, arguments, state["shown"], state["seconds"])


def find_snapshot(run_dir: Path, wanted: str | Path | None) -> Path:
    """Return the path of a snapshot; see ``load_trained`` for the arguments and errors."""
    found = snapshots(run_dir)
    if not found:
        raise RunError(f"The run in {run_dir} has no snapshot yet.", "Train for at least one tick.")
    if not wanted:
        return found[-1]
    if wanted == "best":
        kimg = best_kimg(run_dir)
        if kimg is None:
            raise RunError(
                f"The log of {run_dir} has no quality, so there is no best snapshot.",
                "Leave out --snapshot to use the last one.",
            )
        return snapshot_path(run_dir, kimg)
    if not os.path.isfile(wanted):  # Path.is_file raises for names that are too long
        raise RunError(
            f"There is no snapshot {wanted}.",
            f"The run has {', '.join(map(str, found))}; `best` stands for the best of them.",
        )
    return Path(wanted)
