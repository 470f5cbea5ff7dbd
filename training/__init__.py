"""Train GANs from images: ``gan-serve train --data photos/``, or ``train`` from Python; find latents: ``project``.

Needs the extra ``gan-serve[train]``. Nothing here is imported by the runtime; this package imports no torch by itself,
so that its commands can be listed where torch is not installed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gan_serve.lazy_names import import_on_use as _import_on_use

if __name__ != "gan_serve.training":
    raise ImportError("import gan_serve.training: the folder training/ of the checkout is installed under that name.")

# Threads of torch that wait for one another spin, for some milliseconds each time. Where other programs keep processors
# busy, this takes the time from the thread that they wait for, and a step lasts up to ten times as long. OpenMP (GNU's,
# the one of torch on Linux) reads this when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

if TYPE_CHECKING:
    from gan_serve.training.api import FinishedRun, train
    from gan_serve.training.monitoring.callbacks import Tick
    from gan_serve.training.projection.project import Projection, project

__all__ = ["FinishedRun", "Projection", "Tick", "project", "train"]
# They need torch.
__getattr__ = _import_on_use(
    __name__,
    {
        "FinishedRun": "api",
        "Projection": "projection.project",
        "Tick": "monitoring.callbacks",
        "project": "projection.project",
        "train": "api",
    },
)
