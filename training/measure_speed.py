"""Measure how fast a run would train here, in a few seconds."""

from __future__ import annotations

import math
import statistics
import time

import torch

from gan_serve.training.config import TrainConfig
from gan_serve.training.data.image_set import ImageSet
from gan_serve.training.data.loader import Loader
from gan_serve.training.step import Training

FEWEST = 3  # steps of each kind, if there is time: a single one may fall into a moment when other programs run
LONGEST = 3  # times the given seconds, after which too few steps must do


def images_per_second(config: TrainConfig, data: ImageSet, device: torch.device, seconds: float = 2.0) -> float:
    """Return the real images a second that a run of ``config`` shows, from a few steps of its networks at full size.

    Steps with lazy penalties (``r1_every``) take longer, and are measured apart and counted as often as they occur. The
    median is used, so that a step that another program delays does not count.

    Args:
        config: with the settings that the data and the machine decide; see ``loop.resolve_settings``.
        data: the training images. device: of the run.
        seconds: how long to measure; three times as long on a machine so slow or busy that these are few steps.

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

    kinds = (1, 0) if every > 1 else (0,)
    times: dict[int, list[float]] = {turn: [] for turn in kinds}
    began = time.perf_counter()

    def has_time() -> bool:
        return time.perf_counter() - began < seconds * (1 if len(times[0]) > FEWEST else LONGEST)

    # The first step of a kind also allocates memory and chooses kernels: it counts only if there is no time for others,
    # and a first step that takes all the time stands for both kinds.
    while not times[kinds[0]] or has_time():
        for turn in kinds:
            if turn == kinds[0] or times[turn] or has_time():
                times[turn].append(step(turn))
    typical = [statistics.median_low(each[1:] or each) for each in times.values() if each]
    return cycle / (typical[-1] + (every - 1) * typical[0])
