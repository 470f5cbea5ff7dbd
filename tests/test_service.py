"""The HTTP service as its clients see it: a live server on loopback, started as ``gan-serve serve`` starts it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import socket
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from servers import running

from gan_serve import CheckpointError, DigestMismatch, Generator, GoldenSampleMismatch
from gan_serve.checkpoint import GoldenSample
from gan_serve.images import from_pil
from gan_serve.latents import parse_seeds, seeds_as_text
from gan_serve.receipt import read_receipt
from gan_serve.service.app import create_app
from gan_serve.service.errors import ErrorEnvelope
from gan_serve.service.models import Models
from gan_serve.service.settings import Settings

NAME = "fashion-dcgan"
CHECKOUT = Path(__file__).parents[1]
Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running([], tmp_path_factory.mktemp("server")) as client:
        yield client


@pytest.fixture(scope="session")
def tampered(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose network does not draw its golden sample."""
    directory = tmp_path_factory.mktemp("tampered") / "copy"
    shutil.copytree(checkpoint, directory)
    config = json.loads((directory / "config.json").read_text())
    pixels = np.zeros((config["img_resolution"], config["img_resolution"], config["img_channels"]), np.uint8)
    config["name"] = "tampered"
    config["golden_sample"]["png"] = GoldenSample.of(pixels, seed=0).png
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture(scope="session")
def strained(tampered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with a broken model and narrow limits."""
    limits = {"MAX_IMAGES": "4", "MAX_BODY": "2000", "MAX_CONCURRENCY": "1", "TIMEOUT": "2"}
    settings = {f"GAN_SERVE_{name}": value for name, value in limits.items()}
    with running([str(tampered), NAME], tmp_path_factory.mktemp("strained"), **settings) as client:
        yield client


def _post(client: httpx.Client, path: str, **body: Any) -> httpx.Response:
    response = client.post(path, json={"model": NAME} | body)
    assert response.status_code == 200, response.text
    return response


def _image(response: httpx.Response) -> Image.Image:
    return Image.open(io.BytesIO(response.content))


def _npz(response: httpx.Response) -> dict[str, npt.NDArray[Any]]:
    with np.load(io.BytesIO(response.content)) as arrays:
        return dict(arrays)


def _error(response: httpx.Response, status: int, code: str) -> dict[str, str]:
    """The envelope of an answer, after a check that it is nothing but the envelope."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    error: dict[str, str] = body["error"]
    assert sorted(error) == ["code", "hint", "message"]
    assert (response.status_code, error["code"]) == (status, code), response.text
    assert error["message"].endswith(".")
    return error


def test_a_seed_is_the_same_image_alone_among_7_among_64_and_in_python(
    server: httpx.Client, generator: Generator
) -> None:
    expected = generator.generate(seed=5, output="numpy")[0]
    alone = from_pil(_image(_post(server, "/sample", seed=5)))
    among_7 = _npz(_post(server, "/sample", seeds=[9, 9, 5, 0, 1, 2, 3], format="npz"))["images"][2]
    among_64 = _npz(_post(server, "/sample", n=64, format="npz", seed=0))["images"][5]
    for pixels in (alone, among_7, among_64):
        np.testing.assert_array_equal(pixels, expected)


def test_one_image_is_a_png_with_its_receipt(server: httpx.Client, generator: Generator) -> None:
    response = _post(server, "/sample", seed=5, truncation=0.7)
    assert response.headers["content-type"] == "image/png"
    image = _image(response)
    receipt = read_receipt(image)
    assert (receipt.model, receipt.seed, receipt.truncation) == (NAME, 5, 0.7)
    assert receipt.matches(from_pil(image))
    assert json.loads(response.headers["x-gan-serve-receipt"]) == receipt.as_dict()
    assert response.headers["x-gan-serve-digest"] == generator.digest
    np.testing.assert_array_equal(from_pil(image), generator.generate(seed=5, truncation=0.7, output="numpy")[0])


def test_seeds_that_the_server_drew_make_the_same_images_again(server: httpx.Client) -> None:
    first = _post(server, "/sample", n=3, format="npz")
    seeds = first.headers["x-gan-serve-seeds"]
    assert parse_seeds(seeds) == _npz(first)["seeds"].tolist()
    again = _post(server, "/sample", seeds=seeds, format="npz")
    np.testing.assert_array_equal(_npz(again)["images"], _npz(first)["images"])


@pytest.mark.parametrize("seeds", [[0], [7, 8, 9], [3, 2, 1], [5, 5, 6, 4294967295], [0, 1, 1, 2]])
def test_the_seeds_header_reads_back_as_the_seeds(seeds: list[int]) -> None:
    assert parse_seeds(seeds_as_text(seeds)) == seeds


def test_headers_stay_short_whatever_is_asked_for(server: httpx.Client) -> None:
    headers = _post(server, "/sample", seeds=list(range(0, 2048, 2)), format="npz").headers
    assert sum(len(value) for value in headers.values()) < 8000
    assert _post(server, "/sample", n=1024, seed=0).headers["x-gan-serve-seeds"] == "0-1023"


def test_a_grid_has_the_columns_asked_for(server: httpx.Client, generator: Generator) -> None:
    response = _post(server, "/sample", seeds="0-5", columns=3)
    assert response.content == generator.sample(seeds="0-5").grid_png(3)


def test_json_holds_a_png_and_a_receipt_for_each_image(server: httpx.Client, generator: Generator) -> None:
    images = _post(server, "/sample", seeds="3,1", format="json").json()["images"]
    assert [image["receipt"]["seed"] for image in images] == [3, 1]
    drawn = [from_pil(Image.open(io.BytesIO(base64.b64decode(image["png"])))) for image in images]
    np.testing.assert_array_equal(drawn, generator.generate(seeds="3,1", output="numpy"))


def test_zip_holds_a_png_for_each_image(server: httpx.Client, generator: Generator) -> None:
    response = _post(server, "/sample", seeds="3,1", format="zip")
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == ["00000-seed3.png", "00001-seed1.png"]
        drawn = [from_pil(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()]
    np.testing.assert_array_equal(drawn, generator.generate(seeds="3,1", output="numpy"))


def test_latents_take_the_place_of_seeds(server: httpx.Client, generator: Generator) -> None:
    latents = np.random.RandomState(5).standard_normal((2, generator.z_dim)).astype(np.float32)
    drawn = _npz(_post(server, "/sample", latents=latents.tolist(), format="npz"))["images"]
    np.testing.assert_array_equal(drawn, generator.generate(latents=latents, output="numpy"))
    np.testing.assert_array_equal(drawn[0], generator.generate(seed=5, output="numpy")[0])


def test_a_walk_is_a_gif_of_the_frames_that_python_draws(server: httpx.Client, generator: Generator) -> None:
    response = _post(server, "/interpolate", seeds=[0, 5, 9], steps=4, loop=True, fps=20)
    assert response.headers["content-type"] == "image/gif"
    expected = generator.interpolate([0, 5, 9], steps=4, loop=True, output="numpy")
    with _image(response) as animation:
        assert animation.n_frames == 12  # type: ignore[attr-defined]
        assert animation.info["duration"] == 50
        for number, frame in enumerate(expected):
            animation.seek(number)
            np.testing.assert_array_equal(from_pil(animation.convert("L")), frame)


@pytest.mark.parametrize("method", ["slerp", "lerp"])
def test_a_walk_takes_the_method_the_truncation_and_seeds_as_text(
    server: httpx.Client, generator: Generator, method: str
) -> None:
    response = _post(server, "/interpolate", seeds="0,5", steps=3, method=method, truncation=0.5, format="npz")
    expected = generator.interpolate("0,5", steps=3, method=method, truncation=0.5, output="numpy")
    np.testing.assert_array_equal(_npz(response)["images"], expected)


def test_models_describes_what_is_served(server: httpx.Client, generator: Generator) -> None:
    [model] = [model for model in server.get("/models").json()["models"] if model["name"] == NAME]
    assert model == {
        "name": NAME,
        "ready": True,
        "z_dim": generator.z_dim,
        "c_dim": 0,
        "class_names": [],
        "img_resolution": 28,
        "img_channels": 1,
        "license": generator.config.license,
        "digest": generator.digest,
        "precision": "fp32",
        "device": "cpu",
        "error": None,
    }


def test_probes_are_green_and_metrics_count_requests(server: httpx.Client) -> None:
    assert server.get("/livez").status_code == server.get("/readyz").status_code == 200
    _post(server, "/sample", seed=0)
    assert 'endpoint="/sample"' in server.get("/metrics").text


def test_the_index_names_every_path_and_loads_nothing_from_elsewhere(server: httpx.Client) -> None:
    index = server.get("/")
    assert NAME in index.json()["models"]
    for method, path in (named.split() for named in index.json()["paths"]):
        assert server.request(method, path).status_code != 404, path
    assert "googletagmanager" not in index.text


def test_docs_json_describes_the_endpoints_and_their_fields(server: httpx.Client) -> None:
    document = server.get("/docs.json").json()
    assert {"/sample", "/interpolate", "/models"} <= set(document["paths"])
    fields = document["components"]["schemas"]["SampleRequest"]["properties"]
    assert set(fields) == {"model", "n", "seed", "seeds", "latents", "label", "truncation", "format", "columns"}
    assert all(field["description"] for field in fields.values())


def test_requests_at_the_same_time_get_their_own_images(server: httpx.Client, generator: Generator) -> None:
    expected = generator.generate(n=48, seed=0, output="numpy")
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda seed: from_pil(_image(_post(server, "/sample", seed=seed))), range(48)))
    np.testing.assert_array_equal(drawn, expected)


def test_a_long_request_does_not_block_others(server: httpx.Client) -> None:
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(_post, server, "/sample", n=1024, seed=0, format="zip")
        time.sleep(0.1)
        assert server.get("/livez").status_code == 200
        assert not long.done()


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
    ({"model": None}, 422, "invalid_request", "model must be the name of a model", ""),
    ({"model": "x" * 1_000_000}, 422, "invalid_request", "model must be the name of a model", ""),
]


@pytest.mark.parametrize(("body", "status", "code", "message", "hint"), INVALID, ids=lambda value: str(value)[:40])
def test_what_makes_no_sense_is_refused_in_one_sentence(
    server: httpx.Client, body: dict[str, Any], status: int, code: str, message: str, hint: str
) -> None:
    error = _error(server.post("/sample", json={"model": NAME} | body), status, code)
    assert message in error["message"]
    assert hint in error["hint"]
    assert len(error["message"]) < 300


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
    ],
    ids=str,
)
def test_a_walk_that_makes_no_sense_is_refused(server: httpx.Client, body: dict[str, Any], code: str) -> None:
    _error(server.post("/interpolate", json={"model": NAME} | body), 422, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"model": ', 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"model": "fashion-dcgan", "seed": ' + b"9" * 5000 + b"}", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[1]", 422, "invalid_request"),
        (b'{"model": "fashion-dcgan", "truncation": NaN}', 422, "invalid_truncation"),
        (b'{"model": "\\ud800"}', 422, "invalid_request"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_body_that_is_no_json_object_is_refused(server: httpx.Client, body: bytes, status: int, code: str) -> None:
    headers = {"Content-Type": "application/json"}
    _error(server.post("/sample", content=body, headers=headers), status, code)


def test_a_body_of_another_type_is_refused(server: httpx.Client) -> None:
    error = _error(server.post("/sample", data={"model": NAME}), 415, "unsupported_media_type")
    assert "Content-Type: application/json" in error["hint"]


@pytest.mark.parametrize("path", ["/nope", "/sample/more", "/models/nope"])
def test_a_path_that_is_not_there_is_404(server: httpx.Client, path: str) -> None:
    _error(server.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", "/sample", "POST"), ("POST", "/models", "GET"), ("DELETE", "/livez", "GET")]
)
def test_a_wrong_method_is_405_and_says_which_is_right(
    server: httpx.Client, method: str, path: str, allowed: str
) -> None:
    response = server.request(method, path)
    _error(response, 405, "method_not_allowed")
    assert allowed in response.headers["allow"]


def test_a_broken_model_keeps_readyz_red_and_the_server_up(strained: httpx.Client, tampered: Path) -> None:
    _error(strained.get("/readyz"), 503, "not_ready")
    assert strained.get("/livez").status_code == 200
    response = strained.post("/sample", json={"model": "tampered"})
    error = _error(response, 503, GoldenSampleMismatch.code)
    assert "golden sample" in error["message"]
    assert str(tampered) not in response.text
    by_name = {model["name"]: model for model in strained.get("/models").json()["models"]}
    assert not by_name["tampered"]["ready"]
    assert by_name["tampered"]["error"] == error
    assert by_name[NAME]["ready"]
    _post(strained, "/sample", seed=0)


def test_a_request_beyond_the_operators_limits_is_refused(strained: httpx.Client) -> None:
    _post(strained, "/sample", n=4)
    _error(strained.post("/sample", json={"model": NAME, "n": 5}), 422, "too_many_images")
    body = json.dumps({"model": NAME, "seeds": [0] * 1000}).encode()
    headers = {"Content-Type": "application/json"}
    _error(strained.post("/sample", content=body, headers=headers), 413, "body_too_large")
    _error(strained.post("/sample", content=iter([body]), headers=headers), 413, "body_too_large")  # length unknown


def test_too_many_at_a_time_is_429_and_too_slow_is_504(strained: httpx.Client) -> None:
    url = strained.base_url
    with socket.create_connection((url.host, url.port), 10) as slow:
        slow.sendall(b"POST /sample HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n")
        time.sleep(0.3)
        _error(strained.post("/sample", json={"model": NAME}), 429, "too_many_requests")
        answer = HTTPResponse(slow)  # one recv might bring the head alone
        answer.begin()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (504, "timeout")
        answer.close()
    _post(strained, "/sample", seed=0)


def test_an_unexpected_error_is_500_and_tells_no_secrets() -> None:
    class Broken(Models):
        def get(self, name: str) -> Generator:
            raise RuntimeError("secret")

    async def post() -> httpx.Response:
        app = ErrorEnvelope(create_app(Broken(), Settings()))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/sample", json={"model": NAME})

    response = asyncio.run(post())
    _error(response, 500, "internal_error")
    assert "secret" not in response.text


def test_a_damaged_file_is_told_without_the_path_of_the_server(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "copy")
    (tmp_path / "copy" / "generator.onnx").write_bytes(b"")
    models = Models()
    models.load(Settings(models=(str(tmp_path / "copy"),)))
    with pytest.raises(DigestMismatch, match=f"^{NAME}/generator.onnx is not the file") as error:
        models.get(NAME)
    assert str(tmp_path) not in error.value.message + error.value.hint


def test_a_precision_that_a_model_lacks_is_the_servers_fault() -> None:
    models = Models()
    models.load(Settings(models=(NAME,), precision="fp17"))
    with pytest.raises(CheckpointError, match="no precision 'fp17'") as error:
        models.get(NAME)
    assert error.value.status == 503


def test_models_that_share_a_name_are_red(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "copy")
    models = Models()
    models.load(Settings(models=(NAME, str(tmp_path / "copy"))))
    assert not models.ready
    assert [model.ready for model in models.describe()] == [False]
