"""The app of the service: endpoints, startup and shutdown. ``gan-serve serve`` and BentoML run the same app."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from gan_serve._version import __version__
from gan_serve.sampling.walks import make_walk
from gan_serve.service import metrics, openapi, request_log
from gan_serve.service.batching import Batcher
from gan_serve.service.error_responses import add_error_handlers, status_envelope
from gan_serve.service.json_body import BodyRoute
from gan_serve.service.middleware import Middleware
from gan_serve.service.models import Models
from gan_serve.service.page import add_page
from gan_serve.service.projecting import add_projection
from gan_serve.service.responses import Responses, not_modified
from gan_serve.service.schemas import STREAM, ConditionRequest, InterpolateRequest, MixRequest, SampleRequest
from gan_serve.service.served_model import ModelDetails, ModelInfo
from gan_serve.service.settings import Settings
from gan_serve.service.shutdown import Shutdown, end_when, end_with_the_parent
from gan_serve.service.tracing import Tracing
from gan_serve.service.translate import Translating, add_translation

OVERDUE = 3  # a batch is overdue after this many times the timeout of a request
ENDPOINTS = (
    *("/", "/docs", "/sample", "/condition", "/interpolate", "/mix", "/translate", "/project", "/models"),
    *("/docs.json", "/openapi.json", "/schema.json", "/livez", "/readyz", "/metrics"),
)


class Limits(BaseModel):
    """The limits of this server for one request."""

    max_images: int
    max_frames: int
    max_pixels: int
    project: float = Field(description="Seconds that POST /project may take; 0: there is no such endpoint.")


class ModelList(BaseModel):
    """The body of ``GET /models``."""

    models: list[ModelInfo]
    limits: Limits


def create() -> ASGIApp:
    """Return the service of a worker, with settings from the environment; models are loaded at startup."""
    settings = Settings.read()
    request_log.configure(settings)
    shutdown = Shutdown(settings.drain)
    models = Models()
    app = create_app(models, settings, shutdown)
    tracing = Tracing.from_environment()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        metrics.start()
        models.load(settings)
        shutdown.install()
        patience = settings.drain + settings.timeout
        watches = [
            asyncio.create_task(end_with_the_parent()),
            asyncio.create_task(end_when(lambda: app.state.batcher.overdue, patience)),
        ]
        yield
        for watch in watches:
            watch.cancel()
        metrics.forget(os.getpid())
        if tracing:
            await asyncio.to_thread(tracing.close)

    app.router.lifespan_context = lifespan
    return Middleware(app, settings, shutdown, endpoints=ENDPOINTS, tracing=tracing)


def create_app(models: Models, settings: Settings, shutdown: Shutdown | None = None) -> FastAPI:
    """Return the endpoints. ``models`` may be loaded later, before the first request."""
    app = openapi.DocumentedApp(
        title="gan-serve",
        version=__version__,
        summary="Images from small GANs.",
        openapi_url="/docs.json",
        # FastAPI's pages load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ``tracing`` exports spans
    )
    app.models = models
    app.router.route_class = BodyRoute
    app.state.settings = settings
    app.state.body_bytes = 0  # of the requests that are being read, see json_body
    add_error_handlers(app)
    batcher = Batcher(
        threads=settings.sampling_threads,
        max_queue=settings.max_queue,
        max_queued_images=settings.max_queued_images,
        max_queued_bytes=settings.max_queued_bytes,
        max_wait=settings.max_wait,
        max_seconds=OVERDUE * settings.timeout,
    )
    app.state.batcher = batcher
    _add_sampling(app, models, Responses(batcher, settings))
    add_translation(app, models, Translating(batcher, settings))
    add_projection(app, models, settings)
    _add_models(app, models, settings)
    _add_operation(app, models, batcher, shutdown or Shutdown(0))
    add_page(app, models, settings)
    return app


def _add_sampling(app: FastAPI, models: Models, responses: Responses) -> None:
    @app.post("/sample", response_class=Response, responses=openapi.IMAGES, openapi_extra=openapi.REQUEST_HEADERS)
    async def sample(body: SampleRequest, request: Request) -> Response:
        """Sample images from seeds or latents."""
        generator = await models.get_in(body.model, body.precision)
        wanted = generator.sample_request(body.n, label=body.label, **body.latent_options())
        return await responses.whole(request, body, generator, wanted)

    @app.post("/condition", response_class=Response, responses=openapi.IMAGES, openapi_extra=openapi.REQUEST_HEADERS)
    async def condition(body: ConditionRequest, request: Request) -> Response:
        """Sample the same latents under each label. A PNG has a row for each label, a column for each latent."""
        generator = await models.get(body.model)
        wanted = generator.condition_request(body.n, labels=body.labels, **body.latent_options())
        return await responses.whole(request, body, generator, wanted)

    @app.post("/interpolate", response_class=Response, responses=openapi.FRAMES, openapi_extra=openapi.REQUEST_HEADERS)
    async def interpolate(body: InterpolateRequest, request: Request) -> Response:
        """Sample the frames of a walk between seeds, all in one response or as a stream."""
        generator = await models.get(body.model)
        walk = make_walk(
            body.seeds, steps=body.steps, method=body.method, loop=body.loop, start=body.start, stop=body.stop
        )
        wanted = generator.walk_request(walk, label=body.label, truncation=body.truncation)
        respond = responses.stream if body.format == STREAM else responses.whole
        return await respond(request, body, generator, wanted)

    @app.post("/mix", response_class=Response, responses=openapi.IMAGES, openapi_extra=openapi.REQUEST_HEADERS)
    async def mix(body: MixRequest, request: Request) -> Response:
        """Mix styles: each coarse seed with each fine seed. A PNG has a row for each coarse seed."""
        generator = await models.get(body.model)
        wanted = generator.mix_request(
            body.coarse, body.fine, crossover=body.crossover, label=body.label, truncation=body.truncation
        )
        return await responses.whole(request, body, generator, wanted)


def _add_models(app: FastAPI, models: Models, settings: Settings) -> None:
    @app.get("/models", responses=openapi.errors(401, 500, 504))
    def list_models() -> ModelList:
        """List the models of this server, and its limits for one request."""
        return ModelList(models=models.describe(), limits=Limits.model_validate(settings, from_attributes=True))

    @app.get("/models/{name}", responses=openapi.errors(401, 404, 500, 504))
    def get_model(name: str) -> ModelDetails:
        """Describe a model: its sizes, classes, licence, digests and metrics."""
        return models.find(name).details()

    @app.get(
        "/models/{name}/samples.png",
        response_class=Response,
        responses=openapi.errors(401, 404, 500, 503, 504)
        | {200: {"content": {"image/png": {"schema": openapi.BINARY}}}, 304: openapi.UNCHANGED},
    )
    def get_model_samples(name: str, request: Request) -> Response:
        """Return the sample grid in the model's checkpoint."""
        content, sha256 = models.samples(name)
        headers = {"ETag": f'"{sha256}"', "Cache-Control": "no-cache"}
        if not_modified(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type="image/png", headers=headers)


def _add_operation(app: FastAPI, models: Models, batcher: Batcher, shutdown: Shutdown) -> None:
    @app.get("/livez", response_class=PlainTextResponse, responses=openapi.errors(400, 500))
    async def livez() -> Response:
        """Return 200 while the server runs."""
        return PlainTextResponse("")

    @app.get("/readyz", response_class=PlainTextResponse, responses=openapi.errors(400, 500, 503))
    async def readyz() -> Response:
        """Return 200 if all loaded models computed their golden samples, none hangs and no shutdown began; else 503."""
        if not models.ready:
            await asyncio.to_thread(models.retry)
        ready = models.ready and not shutdown.draining and not batcher.overdue
        return PlainTextResponse("") if ready else status_envelope(503)

    @app.get("/metrics", response_class=PlainTextResponse, responses=openapi.errors(401, 500))
    def get_metrics() -> Response:
        """Return the metrics for Prometheus."""
        return PlainTextResponse(metrics.exposition(), media_type="text/plain; version=0.0.4")

    @app.get("/openapi.json", include_in_schema=False)
    def get_openapi() -> Response:
        return JSONResponse(app.openapi())

    @app.get("/schema.json", include_in_schema=False)
    def get_schema() -> Response:
        return JSONResponse(openapi.bentoml_schema(app.openapi()))
