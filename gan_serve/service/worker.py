"""What a worker is made of: the models, the app that draws with them, and the gate in front."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from gan_serve.service import http_limits as protocol
from gan_serve.service import metrics
from gan_serve.service import request_log as logs
from gan_serve.service import shutdown as drain
from gan_serve.service.app import ENDPOINTS, create_app
from gan_serve.service.error_responses import ErrorEnvelope
from gan_serve.service.middleware import Gate
from gan_serve.service.models import Models
from gan_serve.service.settings import Settings

CALLERS_SEND = ["Authorization", "Content-Type", "If-None-Match", "X-Request-Id"]
CALLERS_READ = [
    "ETag",
    "Retry-After",
    "X-Gan-Serve-Digest",
    "X-Gan-Serve-Error",
    "X-Gan-Serve-Receipt",
    "X-Gan-Serve-Seeds",
    "X-Request-Id",
]

settings = Settings.from_environment()
models = Models()
app = create_app(models, settings)


def gate(bento: ASGIApp) -> ASGIApp:
    """Our app and BentoML's, whose errors wear our envelope; pages of the origins that are set may call them."""
    made = Gate(app, ErrorEnvelope(bento), settings, endpoints=ENDPOINTS)
    drain.gates.append(made)
    if not settings.cors_origins:
        return made
    return CORSMiddleware(
        made,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=CALLERS_SEND,
        expose_headers=CALLERS_READ,
    )


def start() -> None:
    """Load the models; called once, in the event loop, before the first request."""
    logs.configure(settings)
    metrics.forget_the_dead()
    models.load(settings)
    protocol.install()
    drain.on_sigterm(settings.drain)
    drain.end_with_the_parent()
