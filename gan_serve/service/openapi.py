"""``/docs.json``: what FastAPI knows from the endpoints, and examples that work here, the JSON of answers, the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gan_serve.sampling.receipt import Receipt
from gan_serve.service.models import ModelInfo, Models
from gan_serve.service.schemas import STREAM

STREAM_TYPE = "application/x-ndjson"
_REFERENCE = "#/components/schemas/{model}"


class DrawnImage(BaseModel):
    """An image in an answer of the format json: a PNG in base64, and what made it."""

    png: str
    receipt: Receipt


class DrawnImages(BaseModel):
    """An answer of the format json."""

    model: str
    images: list[DrawnImage]


class DrawnFrame(DrawnImage):
    """A line of an answer of the format ndjson: one frame of so many."""

    frame: int
    frames: int


class DocumentedApp(FastAPI):
    """FastAPI with these additions; the models are those that were loaded when the document is asked for first."""

    models: Models

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi(), self.models.describe())
        return self.openapi_schema


def _completed(document: dict[str, Any], models: list[ModelInfo]) -> dict[str, Any]:
    _, answers = models_json_schema(
        [(DrawnImages, "serialization"), (DrawnFrame, "serialization")], ref_template=_REFERENCE
    )
    components = document["components"]
    components["schemas"] |= answers["$defs"]
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own way to refuse, which is not used here
        components["schemas"].pop(name, None)
    for operation in (methods["get"] for methods in document["paths"].values() if "get" in methods):
        operation["responses"].pop("422", None)
    document["paths"] |= {path: {"get": _probe(*described)} for path, described in _PROBES.items()}
    document["security"] = [{}, {"key": []}]  # a key where the operator set one
    plain = next((model.name for model in models), "fashion-dcgan")
    conditional = next((model.name for model in models if model.c_dim), None)
    examples = {
        "/sample": {
            "one": _example("The image of a seed", model=plain, seed=7),
            "grid": _example("A grid of 16", model=plain, seeds="0-15", truncation=0.8),
            "arrays": _example("64 images as NumPy arrays", model=plain, n=64, format="npz"),
        },
        "/condition": {
            "sheet": _example("Eight latents under every label", model=conditional, seeds="0-7"),
            "some": _example("Under two labels, a folder each", model=conditional, n=4, labels=[0, 1], format="zip"),
        },
        "/interpolate": {
            "loop": _example("A looped animation", model=plain, seeds=[0, 5, 9], loop=True),
            "strip": _example("A strip of nine frames", model=plain, seeds="0,5", steps=8, format="png"),
            "stream": _example("Frame by frame", model=plain, seeds="0-3", steps=30, format=STREAM),
        },
    }
    for path, given in examples.items():
        operation = document["paths"][path]["post"]
        content = operation["responses"]["200"]["content"]
        content["application/json"] = {"schema": {"$ref": _REFERENCE.format(model="DrawnImages")}}
        if STREAM_TYPE in content:
            line = "Lines of JSON, each a DrawnFrame; should something go wrong on the way, the last is an ErrorBody."
            content[STREAM_TYPE] = {"schema": {"type": "string", "description": line}}
        if path != "/condition" or conditional:  # no example where no model here has labels
            operation["requestBody"]["content"]["application/json"]["examples"] = given
    return document


_PROBES = {
    "/livez": ("Whether the server runs.", "It does."),
    "/readyz": ("Whether every loaded model drew its golden sample, and the server is not about to stop.", "Yes."),
    "/metrics": ("Counts and times for Prometheus.", "Lines of text."),
}


def _probe(summary: str, answer: str) -> dict[str, Any]:
    refused = {"$ref": _REFERENCE.format(model="ErrorBody")}
    return {
        "summary": summary,
        "responses": {
            "200": {"description": answer, "content": {"text/plain": {"schema": {"type": "string"}}}},
            "default": {"description": "No.", "content": {"application/json": {"schema": refused}}},
        },
    }


def _example(summary: str, **value: Any) -> Mapping[str, Any]:
    return {"summary": summary, "value": value}
