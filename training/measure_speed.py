"""Measure how fast a run would train here, in a few seconds."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter

import torch

from gan_serve.training.config import TrainConfig
from gan_serve.training.data.batch_loader import Loader
from gan_serve.training.data.image_set import ImageSet
from gan_serve.training.step import Training

FEWEST = 3  # steps of each kind, if there is time: a single one may fall into a moment when other programs run
LONGEST = 3  # times the given seconds, after which too few steps must do


def images_per_second(config: TrainConfig, data: ImageSet, device: torch.device, seconds: float = 2.0) -> float:
    """Return the real images a second that a run of ``config`` shows, from a few steps of its networks at full size.

    Steps with lazy penalties (``r1_every``) take longer: steps are measured by how many of them they have, and counted
    as often as they occur. The median is used, so that a step that another program delays does not count.

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
    every = config.r1_every if config.r1 or config.r2 else 1  # also the number of steps after which they repeat
    cycle = every * training.images_a_step
    batches_a_step = training.images_a_step // config.batch_size

    def penalties(number: int) -> int:
        """Return how many of a step's updates of the discriminator have the lazy penalties."""
        first = number * batches_a_step
        return sum(min(first + turn, first + batches_a_step) % every == 0 for turn in range(config.n_critic))

    def step(number: int) -> float:
        """Return the seconds of step ``number`` of a cycle."""
        training.shown = (math.ceil(full_size / cycle) * every + number) * training.images_a_step
        batches = [loader.batch(training.shown, config.batch_size)]
        batches *= config.n_critic
        fresh = loader.fresh_batch(0, config.batch_size) if training.needs_fresh_batch else None
        began = time.perf_counter()
        training.step(batches, fresh)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    occurs = Counter(map(penalties, range(every)))
    example = {penalties(number): number for number in range(every)}
    times: dict[int, list[float]] = {kind: [] for kind in sorted(occurs)}
    plain, slowest = min(times), max(times)
    began = time.perf_counter()

    def has_time() -> bool:
        return time.perf_counter() - began < seconds * (1 if len(times[slowest]) > FEWEST else LONGEST)

    # The first step of a kind also allocates memory and chooses kernels: it counts only if there is no time for others,
    # and if a first step takes all the time, it counts as all kinds.
    while not times[plain] or has_time():
        for kind in times:
            if kind == plain or times[kind] or has_time():
                times[kind].append(step(example[kind]))
    typical = {kind: statistics.median_low(each[1:] or each) for kind, each in times.items() if each}
    return cycle / sum(count * typical.get(kind, typical[plain]) for kind, count in occurs.items())
