"""The BentoML service. BentoML starts and watches the workers, and answers for them: probes and metrics.

The process that starts the workers imports this module too, hence what answers requests is imported by workers only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import bentoml

from gan_serve.service.settings import METRICS_FOLDER, Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

settings = Settings.from_environment()
if METRICS_FOLDER in os.environ:  # BentoML's own is one for all its servers, and emptied at each start
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ[METRICS_FOLDER]


class _GatedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML has no types
    """BentoML's ASGI app and our own, behind one gate."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        from gan_serve.service import worker

        return worker.gate(super().to_asgi(is_main))


@bentoml.service(name="gan_serve", service_class=_GatedService, workers=settings.processes)
class GanService:
    """Images from small GANs: POST /sample, /condition and /interpolate, GET /models, and a page to explore at /."""

    def __init__(self) -> None:
        from gan_serve.service import worker

        worker.start()
        self._models = worker.models

    def __is_ready__(self) -> bool:
        """What /readyz answers."""
        return self._models.ready
