"""What a worker is made of: the models, the app that draws with them, and the gate in front."""

from __future__ import annotations

from starlette.types import ASGIApp

from gan_serve.service import drain, logs, metrics, protocol
from gan_serve.service.app import ENDPOINTS, create_app
from gan_serve.service.errors import ErrorEnvelope
from gan_serve.service.gate import Gate
from gan_serve.service.models import Models
from gan_serve.service.settings import Settings

settings = Settings.from_environment()
models = Models()
app = create_app(models, settings)


def gate(bento: ASGIApp) -> Gate:
    """Our app and BentoML's, whose errors wear our envelope."""
    made = Gate(app, ErrorEnvelope(bento), settings, endpoints=ENDPOINTS)
    drain.gates.append(made)
    return made


def start() -> None:
    """Load the models; called once, in the event loop, before the first request."""
    logs.configure(settings)
    metrics.forget_the_dead()
    models.load(settings)
    protocol.install()
    drain.on_sigterm(settings.drain)
    drain.end_with_the_parent()
