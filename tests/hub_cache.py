"""The state of a client of the Hub: the files that were sent, its cache, and a generator that samples as published."""

from __future__ import annotations

import numpy as np
from hub_server import Hub
from tiny_checkpoint import pixels

from gan_serve import Generator


def draws(generator: Generator, weights: int = 0) -> bool:
    return bool((np.abs(generator.generate(seed=7, output="numpy")[0] - pixels(7, weights).astype(int)) <= 1).all())


def downloads(hub: Hub) -> list[str]:
    """The names of the files that were sent, in order."""
    return [line.rsplit("/", 1)[1] for line in hub.log if line.startswith("GET ")]


def hub_cache() -> str:
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE
