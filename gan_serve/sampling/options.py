"""The keywords of the calls that sample, as types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy.typing as npt

from gan_serve.progress import ProgressOption
from gan_serve.sampling.keys import Keys

Label = str | int
Labels = Label | Sequence[Label]


class LatentOptions(TypedDict, total=False):
    """The keywords that choose latents, beside ``n``, and their truncation."""

    seed: int | None
    seeds: Keys | None
    latents: npt.ArrayLike | None
    offsets: npt.ArrayLike | None
    truncation: float


class SampleOptions(LatentOptions, ProgressOption, total=False):
    """The keywords of ``Generator.generate`` beside ``n`` and ``output``."""

    label: Labels | None


class ConditionOptions(LatentOptions, ProgressOption, total=False):
    """The keywords of ``Generator.condition`` beside ``n`` and ``output``."""

    labels: Labels | None


class WalkOptions(ProgressOption, total=False):
    """The keywords of ``Generator.interpolate`` beside ``seeds`` and ``output``."""

    steps: int
    method: str
    loop: bool
    label: Labels | None
    truncation: float
    start: int
    stop: int | None
