"""The service for BentoML: ``bentoml serve``, ``bentoml build`` and bentos run the app of ``gan-serve serve``.

The process that starts the workers also imports this module; only the workers import the app.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import bentoml

from gan_serve.service.settings import PREFIX, Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

METRICS = f"{PREFIX}METRICS_FOLDER"  # not a setting: set by the first process, read by its workers

settings = Settings.read()
if METRICS not in os.environ:  # BentoML's servers share one folder, which each empties at its start
    os.environ[METRICS] = tempfile.mkdtemp(prefix="gan-serve-")
    atexit.register(shutil.rmtree, os.environ[METRICS], ignore_errors=True)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ[METRICS]
os.environ["FORWARDED_ALLOW_IPS"] = ",".join(settings.proxies)  # uvicorn reads it


class _Service(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML has no types
    """A service whose ASGI app is ours: BentoML starts and watches the workers."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        import uvicorn.config

        from gan_serve.service.app import create

        # BentoML creates uvicorn's Config itself, with the default protocol, "auto".
        uvicorn.config.HTTP_PROTOCOLS["auto"] = "gan_serve.service.http_limits:LimitedProtocol"
        return create()


@bentoml.service(name="gan_serve", service_class=_Service, workers=settings.processes)
class GanService:
    """Images from small GANs: POST /sample, /condition, /interpolate, /mix; GET /models; a page to explore at /."""
