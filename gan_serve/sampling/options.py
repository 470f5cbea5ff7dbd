"""The keywords that choose latents, as a type."""

from __future__ import annotations

from typing import TypedDict

import numpy.typing as npt

from gan_serve.sampling.keys import Keys


class LatentOptions(TypedDict, total=False):
    """The keywords that choose latents, beside ``n``, and their truncation."""

    seed: int | None
    seeds: Keys | None
    latents: npt.ArrayLike | None
    offsets: npt.ArrayLike | None
    truncation: float
