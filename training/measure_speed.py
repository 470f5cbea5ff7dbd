"""Measure how fast a run would train here, in a few seconds."""

from __future__ import annotations

import math
import time

import torch

from gan_serve.training.config import TrainConfig
from gan_serve.training.data.image_set import ImageSet
from gan_serve.training.data.loader import Loader
from gan_serve.training.step import Training

SLOW = 1.0  # seconds of a step, beside which the work of the first one does not count


def images_per_second(config: TrainConfig, data: ImageSet, device: torch.device, seconds: float = 2.0) -> float:
    """Return the real images a second that a run of ``config`` shows, from a few steps of its networks at full size.

    Steps with lazy penalties (``r1_every``) take longer, and are measured apart and counted as often as they occur.

    Args:
        config: with the settings that the data and the machine decide; see ``loop.resolve_settings``.
        data: the training images. device: of the run.
        seconds: how long to measure, beyond the first steps.

    Raises:
        InvalidOption: the networks cannot be built so.
    """
    training = Training.start(config, device, c_dim=len(data.class_names) if config.conditional else 0)
    loader = Loader(data, seed=config.seed, labels=bool(config.conditional), device=device)
    full_size = 1000 * training.levels * ((config.stage_kimg or 0) + (config.fade_kimg or 0))  # images shown by then
    every = config.r1_every if config.r1 or config.r2 else 1
    cycle = every * training.images_a_step

    def step(turn: int) -> float:
        """Return the seconds of a step; that of turn 0 has the lazy penalties."""
        training.shown = (math.ceil(full_size / cycle) * every + turn) * training.images_a_step
        batches = [loader.batch(training.shown, config.batch_size)]
        batches *= config.n_critic
        fresh = loader.fresh_batch(0, config.batch_size) if training.needs_fresh_batch else None
        began = time.perf_counter()
        training.step(batches, fresh)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    def warm_step(turn: int) -> float:
        """Return the seconds of a step without what only the first one does: allocate memory, choose kernels."""
        first = step(turn)
        return first if first > SLOW else step(turn)

    with_penalty = warm_step(0)
    others = [warm_step(1)] if every > 1 else [with_penalty]
    while sum(others) < seconds:
        others.append(step(1))
    plain = sum(others) / len(others)
    return cycle / ((with_penalty if every > 1 else plain) + (every - 1) * plain)
