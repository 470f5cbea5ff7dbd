"""The endpoints. Each plans what is asked for, which checks it, and answers with what the engine draws."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.responses import Response

from gan_serve._version import __version__
from gan_serve.sampling.formats import FORMATS
from gan_serve.sampling.walks import make_walk
from gan_serve.service import page as web
from gan_serve.service.batching import Engine
from gan_serve.service.error_responses import ErrorBody, add_error_handlers
from gan_serve.service.json_body import BodyRoute
from gan_serve.service.models import ModelDetails, ModelInfo, Models
from gan_serve.service.openapi import STREAM_TYPE, DocumentedApp
from gan_serve.service.responses import Answers, not_modified
from gan_serve.service.schemas import STREAM, ConditionRequest, InterpolateRequest, SampleRequest
from gan_serve.service.settings import Settings

ENDPOINTS = ("/", "/sample", "/condition", "/interpolate", "/models", "/docs.json", "/livez", "/readyz", "/metrics")


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _again(status: int) -> dict[str, Any]:
    told = _header("Seconds after which the same request may succeed; with 503 only where it may.")
    return {"headers": {"Retry-After": told}} if status in (429, 503) else {}


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "model": ErrorBody} | _again(status)
    for status, description in {
        401: "The server wants a key, and got none or another.",
        404: "There is no such model, or no such path.",
        500: "The server made a mistake.",
        503: "The model cannot be used, or the server is about to stop.",
        504: "It took longer than this server allows.",
    }.items()
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "model": ErrorBody} | _again(status)
    for status, description in {
        400: "The body is not JSON.",
        413: "The body is larger than this server reads.",
        415: "The body is not declared as JSON.",
        422: "What was asked for makes no sense: what was wrong, and what would be right.",
        429: "As many requests wait as the server keeps waiting; Retry-After says when to come again.",
    }.items()
}


class Limits(BaseModel):
    """What this server draws for one request."""

    max_images: int
    max_frames: int
    max_pixels: int


class ModelList(BaseModel):
    """What ``GET /models`` answers."""

    models: list[ModelInfo]
    limits: Limits


def create_app(models: Models, settings: Settings) -> FastAPI:
    """The web application. ``models`` may be loaded later, before the first request."""
    app = DocumentedApp(
        title="gan-serve",
        version=__version__,
        summary="Images from small GANs.",
        openapi_url="/docs.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.models = models
    app.router.route_class = BodyRoute
    app.state.max_body = settings.max_body
    add_error_handlers(app)
    engine = Engine(
        threads=settings.drawing_threads,
        max_queue=settings.max_queue,
        max_queued_images=settings.max_queued_images,
    )
    answers = Answers(engine, settings)

    @app.get("/models", responses=_some(401, 500, 504))
    def list_models() -> ModelList:
        """The models of this server, and what it draws for one request."""
        return ModelList(models=models.describe(), limits=Limits.model_validate(settings, from_attributes=True))

    @app.get("/models/{name}", responses=_some(401, 404, 500, 504))
    def describe_model(name: str) -> ModelDetails:
        """A model: its sizes, classes, licence, digests, and how it was measured."""
        return models.find(name).details()

    @app.get(
        "/models/{name}/samples.png",
        response_class=Response,
        responses=_some(401, 404, 500, 503, 504) | {200: {"content": {"image/png": {}}}, 304: _UNCHANGED},
    )
    def show_samples(name: str, request: Request) -> Response:
        """The picture of samples in the model's checkpoint."""
        content, sha256 = models.samples(name)
        headers = {"ETag": f'"{sha256}"', "Cache-Control": "no-cache"}
        if not_modified(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type="image/png", headers=headers)

    @app.post("/sample", response_class=Response, responses=_IMAGES)
    async def sample(body: SampleRequest, request: Request) -> Response:
        """Draw images from seeds or latents."""
        generator = await models.get(body.model)
        plan = generator.sample_request(body.n, label=body.label, **body.latent_options())
        return await answers.give(request, body, generator, plan)

    @app.post("/condition", response_class=Response, responses=_IMAGES)
    async def condition(body: ConditionRequest, request: Request) -> Response:
        """Draw the same latents under each label. A PNG is a sheet: a row for a label, a column for a latent."""
        generator = await models.get(body.model)
        plan = generator.condition_request(body.n, labels=body.labels, **body.latent_options())
        return await answers.give(request, body, generator, plan)

    @app.post("/interpolate", response_class=Response, responses=_FRAMES)
    async def interpolate(body: InterpolateRequest, request: Request) -> Response:
        """Draw the frames of a walk between seeds, all in one answer or as a stream."""
        generator = await models.get(body.model)
        walk = make_walk(
            body.seeds, steps=body.steps, method=body.method, loop=body.loop, start=body.start, stop=body.stop
        )
        plan = generator.walk_request(walk, label=body.label, truncation=body.truncation)
        give = answers.stream if body.format == STREAM else answers.give
        return await give(request, body, generator, plan)

    app.include_router(web.router)
    return app


def _some(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: _ERRORS[status] for status in statuses}


_UNCHANGED: dict[str, Any] = {"description": "The answer that If-None-Match names is still right; there is no body."}
_IMAGES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The images in the format asked for.",
        "content": {format.media_type: {} for format in FORMATS.values()},
        "headers": {
            "ETag": _header("Where the request names its seeds or latents: the same request has the same answer."),
            "X-Gan-Serve-Digest": _header("The sha256 of the network that drew them."),
            "X-Gan-Serve-Seeds": _header("Their seeds, as the field seeds takes them."),
            "X-Gan-Serve-Receipt": _header("Of one image or an animation, what made it: JSON."),
        },
    },
    304: _UNCHANGED,
    **_ERRORS,
    **_REFUSALS,
}
_FRAMES = _IMAGES | {200: _IMAGES[200] | {"content": _IMAGES[200]["content"] | {STREAM_TYPE: {}}}}
