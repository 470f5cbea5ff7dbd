"""``/docs.json``: FastAPI's OpenAPI document, with schemas of responses, examples for this server's models, the key."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.types import Receive, Scope, Send

from gan_serve.sampling.formats import served_formats
from gan_serve.sampling.receipt import Receipt
from gan_serve.service.error_responses import EXPECTED, ErrorBody, error_response
from gan_serve.service.json_body import BodyRoute
from gan_serve.service.models import Models
from gan_serve.service.schemas import STREAM
from gan_serve.service.served_model import ModelInfo

STREAM_TYPE = "application/x-ndjson"
BINARY = {"type": "string", "format": "binary"}
_REFERENCE = "#/components/schemas/{model}"


class EncodedImage(BaseModel):
    """An image in a response in the format json: a PNG in base64, and its receipt."""

    png: str
    receipt: Receipt


class EncodedImages(BaseModel):
    """A response in the format json."""

    model: str
    images: list[EncodedImage]


class EncodedFrame(EncodedImage):
    """A line of a response in the format ndjson: one of ``frames`` frames."""

    frame: int
    frames: int


class DocumentedApp(FastAPI):
    """FastAPI with these additions. The document describes the models at the time of the first request for it."""

    models: Models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. One with a JSON body goes to its route directly, past ten layers of FastAPI."""
        route = self._with_body.get(scope["path"]) if scope.get("method") == "POST" else None
        if route is None:
            await super().__call__(scope, receive, send)
        else:
            scope["app"] = self
            try:
                await route.handle(scope, receive, send)
            except EXPECTED as error:
                await error_response(error)(scope, receive, send)

    @functools.cached_property
    def _with_body(self) -> dict[str, BodyRoute]:
        return {route.path: route for route in self.routes if isinstance(route, BodyRoute) and route.body_field}

    def openapi(self) -> dict[str, Any]:
        """Return the document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi(), self.models.describe())
        return self.openapi_schema


def header(description: str) -> dict[str, Any]:
    """Return the documentation of a response header."""
    return {"description": description, "schema": {"type": "string"}}


def _error(status: int, description: str) -> dict[str, Any]:
    retry = header("Seconds after which the same request may succeed; a 503 has it only if waiting can help.")
    headers = {"X-Gan-Serve-Error": header("The code of the error.")}
    return {
        "description": description,
        "model": ErrorBody,
        "headers": headers | ({"Retry-After": retry} if status in (429, 503) else {}),
    }


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: _error(status, description)
    for status, description in {
        400: "The request is not valid HTTP for this server, or its body is not JSON.",
        401: "The API key is missing or wrong.",
        404: "There is no such model, or no such path.",
        413: "The body is larger than this server accepts.",
        415: "The body is not declared as JSON.",
        422: "A value is invalid; the message and the hint say what is wrong and what would be right.",
        429: "The queue is full, or the API key has reached its rate limit.",
        500: "An error occurred in the server.",
        503: "The model cannot be used, or the server is shutting down.",
        504: "The request took longer than this server allows.",
    }.items()
}


ALL_ERRORS = dict(_ERRORS)


def errors(*statuses: int | str) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of responses with these statuses."""
    return {status: _ERRORS[status] for status in statuses}


UNCHANGED: dict[str, Any] = {"description": "The response that If-None-Match names is still valid; there is no body."}
# Client generators use the first type that they know: bytes, which fits every format.
_FILES = {
    kind: {"schema": BINARY}
    for kind in ("application/octet-stream", *(format.media_type for format in served_formats().values()))
}
TRANSLATED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The translated images in the requested format.",
        "content": _FILES,
        "headers": {
            "X-Gan-Serve-Digest": header("The sha256 of the network."),
            "X-Gan-Serve-Receipt": header("The receipt of one image: JSON."),
            "X-Request-Id": header("The id of the request, as given or new."),
        },
    },
    **_ERRORS,
}
IMAGES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The images in the requested format.",
        "content": _FILES,
        "headers": {
            "ETag": header("Present if the request has seeds or latents: the same request then has the same response."),
            "X-Gan-Serve-Digest": header("The sha256 of the network."),
            "X-Gan-Serve-Seeds": header("The seeds, as the field seeds takes them."),
            "X-Gan-Serve-Receipt": header("The receipt of one image or an animation: JSON."),
            "X-Request-Id": header("The id of the request, as given or new."),
        },
    },
    304: UNCHANGED,
    **_ERRORS,
}
FRAMES = IMAGES | {200: IMAGES[200] | {"content": IMAGES[200]["content"] | {STREAM_TYPE: {}}}}
REQUEST_HEADERS: dict[str, Any] = {
    "parameters": [
        {
            "name": name,
            "in": "header",
            "required": False,
            "description": description,
            "schema": {"type": "string"},
        }
        for name, description in {
            "If-None-Match": "The ETag of a response that the client has.",
            "X-Request-Id": "An id for the log: up to 64 letters, digits, dots, colons, dashes and underscores.",
        }.items()
    ]
}


def _completed(document: dict[str, Any], models: list[ModelInfo]) -> dict[str, Any]:
    _, schemas = models_json_schema(
        [(EncodedImages, "serialization"), (EncodedFrame, "serialization")], ref_template=_REFERENCE
    )
    components = document["components"]
    components["schemas"] |= schemas["$defs"]
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's form of errors, which is not used here
        components["schemas"].pop(name, None)
    for operation in (methods["get"] for methods in document["paths"].values() if "get" in methods):
        operation["responses"].pop("422", None)
    document["servers"] = [{"url": "/"}]
    document["security"] = [{}, {"key": []}]  # a key if the operator set one
    if len(models) > 1:  # then a request has to choose
        for methods in document["paths"].values():
            for schema in _body_schemas(methods.get("post", {}), document).values():
                schema["required"] = sorted({"model", *schema.get("required", ())})
    plain = next((model.name for model in models if model.task != "translate"), None)
    conditional = next((model.name for model in models if model.c_dim), None)
    styled = next((model.name for model in models if model.style_layers), None)
    for path, examples in _examples(plain, conditional, styled).items():
        operation = document["paths"][path]["post"]
        content = operation["responses"]["200"]["content"]
        content["application/json"] = {"schema": {"$ref": _REFERENCE.format(model="EncodedImages")}}
        if STREAM_TYPE in content:
            content[STREAM_TYPE] = {"schema": {"$ref": _REFERENCE.format(model="EncodedFrame")}}
        if {"/condition": conditional, "/mix": styled}.get(path, plain):  # else no model of this server fits
            operation["requestBody"]["content"]["application/json"]["examples"] = examples
    return document


def _body_schemas(operation: dict[str, Any], document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the schemas of the body of an operation by media type."""
    schemas = {kind: each["schema"] for kind, each in operation.get("requestBody", {}).get("content", {}).items()}
    components = document["components"]["schemas"]
    return {
        kind: components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        for kind, schema in schemas.items()
    }


def bentoml_schema(document: dict[str, Any]) -> dict[str, Any]:
    """Return the POST endpoints of ``document`` as ``/schema.json``, from which BentoML's own clients make their calls.

    They take every response as bytes.
    """
    routes = []
    for path, methods in document["paths"].items():
        if operation := methods.get("post"):
            routes.append(
                {
                    "name": operation["operationId"],
                    "route": path,
                    "doc": operation["description"],
                    "batchable": False,
                    "input": _body_schemas(operation, document)["application/json"],
                    "output": BINARY,
                }
            )
    return {"name": "gan_serve", "type": "service", "routes": routes}


def _examples(
    plain: str | None, conditional: str | None, styled: str | None
) -> dict[str, dict[str, Mapping[str, Any]]]:
    return {
        "/sample": {
            "one": _example("The image of a seed", model=plain, seed=7),
            "grid": _example("A grid of 16", model=plain, seeds="0-15", truncation=0.8),
            "arrays": _example("64 images as NumPy arrays", model=plain, n=64, format="npz"),
        },
        "/condition": {
            "sheet": _example("Eight latents under every label", model=conditional, seeds="0-7"),
            "some": _example(
                "Under two labels, in a folder for each", model=conditional, n=4, labels=[0, 1], format="zip"
            ),
        },
        "/interpolate": {
            "loop": _example("A looped animation", model=plain, seeds=[0, 5, 9], loop=True),
            "strip": _example("A strip of nine frames", model=plain, seeds="0,5", steps=8, format="png"),
            "stream": _example("Frame by frame", model=plain, seeds="0-3", steps=30, format=STREAM),
        },
        "/mix": {
            "sheet": _example(
                "The styles of four seeds with those of four others", model=styled, coarse="0-3", fine="4-7"
            ),
        },
    }


def _example(summary: str, **value: Any) -> Mapping[str, Any]:
    return {"summary": summary, "value": value}
