"""Refused requests: one envelope for everything, which says what was wrong and what would be right."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from answers import NAME, error, post
from servers import KINDS, running

from gan_serve import Generator
from gan_serve.service.app import create_app
from gan_serve.service.middleware import Middleware
from gan_serve.service.models import Models
from gan_serve.service.settings import Settings
from gan_serve.service.shutdown import Shutdown

KEY = "s3cret-Key"


INVALID: list[tuple[dict[str, Any], int, str, str, str]] = [
    # body, status, code, and a part of the message and of the hint
    ({"sedes": "0-3"}, 422, "invalid_request", "There is no field 'sedes'.", "'seeds'"),
    ({"n": "4"}, 422, "invalid_request", "n must be a whole number, 1 or more, not '4'.", "/docs.json"),
    ({"n": True}, 422, "invalid_request", "n must be a whole number", ""),
    ({"n": 0}, 422, "invalid_seeds", "n must be at least 1", ""),
    ({"seed": -1}, 422, "invalid_seeds", "The seed -1 is out of range", "4294967295"),
    ({"seeds": "3-1"}, 422, "invalid_seeds", "'3-1' runs backwards", "1-3"),
    ({"seeds": [1, 2.5]}, 422, "invalid_request", "seeds must be", ""),
    ({"seeds": [1], "n": 1}, 422, "invalid_seeds", "Both seeds and n or seed", ""),
    ({"seeds": [1], "latents": [[0.0]]}, 422, "invalid_option", "Both latents and seeds", ""),
    ({"latents": [[0.0, 1.0]]}, 422, "invalid_latents", "shape [1, 2]", "[N, 100]"),
    ({"label": "Sneaker"}, 422, "unknown_label", "has no labels", ""),
    ({"label": 1.5}, 422, "invalid_request", "label must be a class name", ""),
    ({"truncation": 1.5}, 422, "invalid_truncation", "from 0 to 1, not 1.5", ""),
    ({"truncation": "1"}, 422, "invalid_request", "truncation must be a number", ""),
    ({"format": "pgn"}, 422, "invalid_option", "no format 'pgn'", "'png'"),
    ({"columns": 0, "n": 2}, 422, "invalid_option", "at least one column", ""),
    ({"n": 1025}, 422, "too_many_images", "1025 images are more than the 1024", ""),
    ({"seeds": "0-4000000000"}, 422, "invalid_seeds", "more than 100,000 seeds", ""),
    ({"model": "fashion-dcgam"}, 404, "unknown_model", "no model 'fashion-dcgam'", "'fashion-dcgan'"),
    ({"model": "../checkpoints/fashion-dcgan"}, 404, "unknown_model", "no model", ""),
    (
        {"model": None},
        422,
        "invalid_request",
        "The field model is missing.",
        "several models: fashion-dcgan, conditional",
    ),
    ({"model": 3}, 422, "invalid_request", "model must be the name of a model of this server, not 3.", ""),
    ({"model": "x" * 1_000_000}, 422, "invalid_request", "model must be the name of a model", ""),
]


@pytest.mark.parametrize(("body", "status", "code", "message", "hint"), INVALID, ids=lambda value: str(value)[:40])
def test_what_makes_no_sense_is_refused_in_one_sentence(
    server: httpx.Client, body: dict[str, Any], status: int, code: str, message: str, hint: str
) -> None:
    told = error(server.post("/sample", json={"model": NAME} | body), status, code)
    assert message in told["message"]
    assert hint in told["hint"]
    assert len(told["message"]) < 300


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"seeds": [0]}, "invalid_option"),
        ({"seeds": "0,5", "steps": 0}, "invalid_option"),
        ({"seeds": "0,5", "steps": 1024}, "too_many_images"),
        ({"seeds": "0,5", "method": "slurp"}, "invalid_option"),
        ({"seeds": "0,5", "loop": 1}, "invalid_request"),
        ({"seeds": "0,5", "fps": 0}, "invalid_option"),
        ({"seeds": "0,5", "n": 4}, "invalid_request"),
        ({"seeds": "0,5", "start": 17}, "invalid_option"),
        ({"seeds": "0,5", "start": 5, "stop": 5}, "invalid_option"),
        ({"seeds": "0,5", "steps": 20_000, "format": "ndjson"}, "too_many_images"),
    ],
    ids=str,
)
def test_a_walk_that_makes_no_sense_is_refused(server: httpx.Client, body: dict[str, Any], code: str) -> None:
    error(server.post("/interpolate", json={"model": NAME} | body), 422, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"model": ', 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b"[" * 3000, 400, "invalid_json"),
        (b"[" * 100_000, 422, "invalid_request"),
        (b'{"model": "fashion-dcgan", "seed": ' + b"9" * 5000 + b"}", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[1]", 422, "invalid_request"),
        (b'{"model": "fashion-dcgan", "truncation": NaN}', 422, "invalid_truncation"),
        (b'{"model": "\\ud800"}', 400, "invalid_json"),  # half of a surrogate pair is no text
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_body_that_is_no_json_object_is_refused(server: httpx.Client, body: bytes, status: int, code: str) -> None:
    headers = {"Content-Type": "application/json"}
    error(server.post("/sample", content=body, headers=headers), status, code)


def test_a_body_of_another_type_is_refused(server: httpx.Client) -> None:
    told = error(server.post("/sample", data={"model": NAME}), 415, "unsupported_media_type")
    assert "Content-Type: application/json" in told["hint"]


def test_a_compressed_body_is_refused(server: httpx.Client) -> None:
    body = gzip.compress(b'{"model": "fashion-dcgan", "seed": 1}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    told = error(server.post("/sample", content=body, headers=headers), 415, "unsupported_media_type")
    assert "Content-Encoding: gzip" in told["message"]
    plain = server.post("/sample", json={"model": NAME, "seed": 1}, headers={"Content-Encoding": "identity"})
    assert plain.status_code == 200


def test_labels_of_a_model_without_classes_point_to_the_endpoint_that_fits(server: httpx.Client) -> None:
    told = error(server.post("/condition", json={"model": NAME, "seed": 1}), 422, "unknown_label")
    assert "/sample" in told["hint"]


@pytest.mark.parametrize("path", ["/nope", "/sample/more", "/web/nope", "/web/..%2fapp.py", "/openapi"])
def test_a_path_that_is_not_there_is_404(server: httpx.Client, path: str) -> None:
    error(server.get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/models/nope", "/models/nope/samples.png"])
def test_a_model_that_is_not_there_is_404(server: httpx.Client, path: str) -> None:
    error(server.get(path), 404, "unknown_model")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"model": NAME}, "unknown_label"),
        ({"model": "conditional", "labels": ["Bag", 0]}, "unknown_label"),
        ({"model": "conditional", "labels": ["Bagg"]}, "unknown_label"),
        ({"model": "conditional", "labels": []}, "unknown_label"),
        ({"model": "conditional", "label": "Bag"}, "invalid_request"),
        ({"model": "conditional", "n": 513}, "too_many_images"),
    ],
    ids=str,
)
def test_labels_that_make_no_sense_are_refused(server: httpx.Client, body: dict[str, Any], code: str) -> None:
    error(server.post("/condition", json=body), 422, code)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/sample", "POST"), ("POST", "/models", "GET"), ("DELETE", "/livez", "GET"), ("PUT", "/", "GET")],
)
def test_a_wrong_method_is_405_and_says_which_is_right(
    server: httpx.Client, method: str, path: str, allowed: str
) -> None:
    response = server.request(method, path)
    error(response, 405, "method_not_allowed")
    assert allowed in response.headers["allow"]


def test_an_unexpected_error_is_500_and_tells_no_secrets() -> None:
    class Broken(Models):
        async def get(self, name: str) -> Generator:
            raise RuntimeError("secret")

    async def post() -> httpx.Response:
        app = create_app(Broken(), Settings())
        transport = httpx.ASGITransport(Middleware(app, Settings(), Shutdown(0)), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/sample", json={"model": NAME})

    response = asyncio.run(post())
    error(response, 500, "internal_error")
    assert "secret" not in response.text


@pytest.fixture(scope="module", params=KINDS)
def locked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that wants a key, and whose pages elsewhere may call it."""
    settings = {"GAN_SERVE_API_KEY": KEY, "GAN_SERVE_CORS_ORIGINS": "https://example.org"}
    with running([NAME], tmp_path_factory.mktemp("locked"), request.param, **settings) as client:
        yield client


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}"]
)
def test_without_the_key_nothing_is_drawn_or_told(locked: httpx.Client, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    for method, path in [
        ("POST", "/sample"),
        ("GET", "/models"),
        ("GET", "/metrics"),
        ("GET", "/docs.json"),
        ("GET", "/x"),
    ]:
        response = locked.request(method, path, headers=headers)
        error(response, 401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"


def test_with_the_key_all_is_as_without_one(locked: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    assert locked.post("/sample", json={"model": NAME, "seed": 1}, headers=headers).status_code == 200
    assert locked.get("/metrics", headers={"Authorization": f"bearer  {KEY}"}).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/", "/web/base.css"])
def test_probes_and_the_page_need_no_key(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_only_pages_of_the_origins_that_are_set_may_call(locked: httpx.Client, server: httpx.Client) -> None:
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    allowed = locked.options("/sample", headers=asking | {"Origin": "https://example.org"})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://example.org"
    answered = locked.get("/models", headers={"Authorization": f"Bearer {KEY}", "Origin": "https://example.org"})
    assert "X-Gan-Serve-Receipt" in answered.headers["access-control-expose-headers"]
    stranger = {"Origin": "https://example.com"}
    assert "access-control-allow-origin" not in locked.options("/sample", headers=asking | stranger).headers
    assert "access-control-allow-origin" not in post(server, "/sample", seed=1).headers
    assert "access-control-allow-origin" not in server.get("/models", headers=stranger).headers
