"""The BentoML service: our app, with BentoML's probes, metrics, limits and workers around it."""

from __future__ import annotations

from typing import Any

import bentoml

from gan_serve.service.app import create_app
from gan_serve.service.errors import ErrorEnvelope
from gan_serve.service.models import Models
from gan_serve.service.settings import Settings

settings = Settings.from_environment()
models = Models()


class _EnvelopedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML has no types
    """BentoML answers in its own way where its limits are met; this puts our error envelope around all of it."""

    def to_asgi(self, is_main: bool = True) -> ErrorEnvelope:
        return ErrorEnvelope(super().to_asgi(is_main))


@bentoml.service(
    name="gan_serve",
    service_class=_EnvelopedService,
    workers=settings.workers,
    traffic={"timeout": settings.timeout, "max_concurrency": settings.max_concurrency},
)
@bentoml.asgi_app(create_app(models, settings), path="/")
class GanService:
    """Images from small GANs: POST /sample, POST /interpolate, GET /models."""

    def __init__(self) -> None:
        models.load(settings)

    def __is_ready__(self) -> bool:
        """What /readyz answers."""
        return models.ready
