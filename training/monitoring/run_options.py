"""Options of a run that are not in its config: output, callbacks and measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gan_serve.training.data.image_set import ImageSet
from gan_serve.training.monitoring.callbacks import Observers
from gan_serve.training.monitoring.quality import Measure


@dataclass(frozen=True)
class RunOptions:
    """Everything that changes what a run writes and prints, and nothing that it computes.

    resume: continue from the last snapshot, or from the start if there is none.
    quiet: show no progress bar.
    evaluate: measures the averaged generator (in eval mode) every ``config.ticks_per_evaluation`` ticks of
        ``config.kimg_per_tick``. The values are logged, and the first one is the quality, lower is better. By default a
        distance to the training images, see ``monitoring.quality``.
    observers: what is called at each tick.
    data: the images that the config names, if they have been read already.
    length: how the length of the run was measured, for ``run.json``.
    reasons: why settings were chosen, for ``run.json``.
    """

    resume: bool = False
    quiet: bool = False
    evaluate: Measure | None = None
    observers: Observers = field(default_factory=Observers)
    data: ImageSet | None = None
    length: Mapping[str, Any] | None = None
    reasons: Sequence[str] = ()
