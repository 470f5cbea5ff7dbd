"""The endpoints. Each asks the generator for samples and answers with their bytes in the format asked for."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.responses import Response

from gan_serve._version import __version__
from gan_serve.errors import TooManyImages
from gan_serve.latents import choose_seeds, parse_seeds, seeds_as_text, walk_length
from gan_serve.samples import FORMATS, Samples, encode
from gan_serve.service.errors import ErrorBody, add_error_handlers
from gan_serve.service.models import ModelInfo, Models
from gan_serve.service.schemas import InterpolateRequest, SampleRequest
from gan_serve.service.settings import Settings

MAX_HEADER = 4000  # characters; servers and proxies refuse long headers

_IMAGES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The images in the format asked for.",
        "content": {format.media_type: {} for format in FORMATS.values()},
    },
    "default": {"description": "What went wrong, and what would be right.", "model": ErrorBody},
}


class ModelList(BaseModel):
    """What ``GET /models`` answers."""

    models: list[ModelInfo]


def create_app(models: Models, settings: Settings) -> FastAPI:
    """The web application. ``models`` may be loaded later, before the first request."""
    app = FastAPI(
        title="gan-serve",
        version=__version__,
        openapi_url="/docs.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=settings.max_body,
    )
    add_error_handlers(app)

    @app.get("/")
    def index() -> dict[str, Any]:
        """What is here."""
        return {
            "name": "gan-serve",
            "version": __version__,
            "models": models.names(),
            "paths": {
                "POST /sample": "images from seeds",
                "POST /interpolate": "a walk between seeds",
                "GET /models": "the models and whether they are ready",
                "GET /docs.json": "all of this as OpenAPI",
                "GET /livez": "200 while the server runs",
                "GET /readyz": "200 when every model is ready",
                "GET /metrics": "for Prometheus",
            },
        }

    @app.get("/models")
    def list_models() -> ModelList:
        """The models of this server."""
        return ModelList(models=models.describe())

    # Not async: Starlette runs these in threads, so that drawing and encoding leave the event loop free.
    @app.post("/sample", response_class=Response, responses=_IMAGES)
    def sample(request: SampleRequest) -> Response:
        """Draw images."""
        generator = models.get(request.model)
        _check_count(_count_images(request), settings)
        samples = generator.sample(
            request.n,
            seed=request.seed,
            seeds=request.seeds,
            latents=request.latents,
            label=request.label,
            truncation=request.truncation,
        )
        return _answer(samples, request.format, columns=request.columns)

    @app.post("/interpolate", response_class=Response, responses=_IMAGES)
    def interpolate(request: InterpolateRequest) -> Response:
        """Draw the frames of a walk."""
        generator = models.get(request.model)
        seeds = parse_seeds(request.seeds)
        _check_count(walk_length(len(seeds), request.steps, request.loop), settings)
        samples = generator.sample_walk(
            seeds,
            steps=request.steps,
            method=request.method,
            loop=request.loop,
            label=request.label,
            truncation=request.truncation,
        )
        return _answer(samples, request.format, columns=request.columns, fps=request.fps)

    return app


def _count_images(request: SampleRequest) -> int:
    if request.latents is not None:
        return len(request.latents)
    return len(choose_seeds(request.n, request.seed, request.seeds))


def _check_count(count: int, settings: Settings) -> None:
    if count > settings.max_images:
        raise TooManyImages(
            f"{count} images are more than the {settings.max_images} that this server draws for one request.",
            "Split them over several requests.",
        )


def _answer(samples: Samples, format: str, *, columns: int | None = None, fps: float = 12.0) -> Response:
    body = encode(samples, format, columns=columns, fps=fps)
    return Response(body, media_type=FORMATS[format].media_type, headers=_headers(samples))


def _headers(samples: Samples) -> dict[str, str]:
    """What a client that only keeps the picture needs to make it again; left out where it is too long for a header."""
    headers = {"X-Gan-Serve-Digest": samples.digest}
    if samples.seeds is not None:
        headers["X-Gan-Serve-Seeds"] = seeds_as_text(samples.seeds)
    if len(samples) == 1:
        headers["X-Gan-Serve-Receipt"] = json.dumps(samples.receipt(0).as_dict())  # ASCII, as headers must be
    return {name: value for name, value in headers.items() if len(value) <= MAX_HEADER}
