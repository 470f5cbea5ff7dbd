"""``POST /translate``: JSON and forms, formats, batches, 200 hostile uploads; and the clients."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import struct
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from answers import error
from PIL import Image
from servers import running
from starlette.requests import Request
from test_translate import animation, as_file, bomb, noise
from tiny_translator import SIDE, expected, write_translator

from gan_serve import AsyncClient, Client, Translator
from gan_serve.errors import InvalidImage, InvalidOption, TooManyImages
from gan_serve.service.translate import _read_form

SEED = 20_261_130


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    write_translator(directory / "negative")
    write_translator(directory / "doubled", any_size=True)
    return directory


@pytest.fixture(scope="module")
def http(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    names = [str(models / "negative"), str(models / "doubled"), "fashion-dcgan"]
    with running(names, tmp_path_factory.mktemp("server")) as client:
        yield client


def body(*files: bytes, **fields: Any) -> dict[str, Any]:
    return {"model": "negative", "images": [base64.b64encode(file).decode() for file in files]} | fields


def test_json_forms_python_and_clients_give_the_same_pixels(http: httpx.Client, models: Path) -> None:
    photo = as_file(noise(30, 20, 3))
    [local] = Translator.from_pretrained(models / "negative").translate(photo)
    by_json = http.post("/translate", json=body(photo))
    assert by_json.headers["content-type"] == "image/png"
    by_form = http.post("/translate", data={"model": "negative"}, files={"images": ("photo.png", photo, "image/png")})
    assert by_form.content == by_json.content
    with Image.open(io.BytesIO(by_json.content)) as image:
        assert np.array_equal(np.asarray(image), np.asarray(local))
        assert json.loads(image.info["gan_serve"]) == local.info["gan_serve"]
    assert json.loads(by_json.headers["x-gan-serve-receipt"]) == local.info["gan_serve"]
    address = str(http.base_url)
    with Client(address) as client:
        [received] = client.translate("negative", photo)
        assert np.array_equal(np.asarray(received), np.asarray(local))
        assert received.info["gan_serve"] == local.info["gan_serve"]
        arrays = client.translate("negative", noise(3, SIDE, SIDE, 3), output="numpy")
        assert np.array_equal(arrays, 255 - noise(3, SIDE, SIDE, 3))
        many = client.translate("negative", noise(150, 4, 4, 3), output="numpy")  # in several requests
        assert len(many) == 150
        with pytest.raises(InvalidImage, match="not an image of a supported format"):
            client.translate("negative", b"nothing")
        with pytest.raises(InvalidOption, match="translates images and does not generate"):
            client.generate("negative")

    async def alone() -> Any:
        async with AsyncClient(address) as client:
            return await client.translate("doubled", noise(7, 9, 3), output="numpy")

    assert np.array_equal(asyncio.run(alone())[0], expected(noise(7, 9, 3), any_size=True))


def test_all_formats(http: httpx.Client) -> None:
    files = [as_file(noise(SIDE, SIDE, 3, seed=seed)) for seed in range(3)]
    kinds = {format: http.post("/translate", json=body(*files, format=format)) for format in
             ("png", "gif", "webp", "npz", "zip", "json")}  # fmt: skip
    assert all(each.status_code == 200 for each in kinds.values())
    with np.load(io.BytesIO(kinds["npz"].content)) as arrays:
        assert np.array_equal(arrays["images"][1], 255 - noise(SIDE, SIDE, 3, seed=1))
    with zipfile.ZipFile(io.BytesIO(kinds["zip"].content)) as archive:
        assert archive.namelist() == ["00000.png", "00001.png", "00002.png"]
    assert len(kinds["json"].json()["images"]) == 3
    with Image.open(io.BytesIO(kinds["png"].content)) as sheet:
        assert sheet.size == (3 * (SIDE + 2) + 2, 2 * (SIDE + 2) + 2)


def test_a_response_does_not_depend_on_what_else_is_asked(http: httpx.Client) -> None:
    pictures = [noise(5 + seed % 4, 11, 3, seed=seed) for seed in range(40)]

    def ask(pixels: Any) -> Any:
        response = http.post("/translate", json=body(as_file(pixels), model="doubled"))
        with Image.open(io.BytesIO(response.content)) as image:
            return np.asarray(image)

    with ThreadPoolExecutor(8) as pool:
        for pixels, output in zip(pictures, pool.map(ask, pictures), strict=True):
            assert np.array_equal(output, expected(pixels, any_size=True))


def test_models_tell_what_they_are(http: httpx.Client) -> None:
    told = {model["name"]: model for model in http.get("/models").json()["models"]}
    assert told["doubled"]["task"] == "translate"
    assert told["doubled"]["scale"] == 2
    assert told["doubled"]["any_size"] is True
    assert told["fashion-dcgan"]["task"] == "generate"
    assert http.get("/models/negative").json()["architecture"] == "tiny"
    assert "/translate" in http.get("/docs.json").json()["paths"]


@pytest.fixture(scope="module")
def alone(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of one translator, which reads bodies of 1 MiB at a time."""
    folder = tmp_path_factory.mktemp("alone")
    with running([str(models / "negative")], folder, GAN_SERVE_MAX_QUEUED_BYTES=str(2**20)) as client:
        yield client


def test_a_server_of_translators_alone_documents_no_example_that_would_fail(alone: httpx.Client) -> None:
    paths = alone.get("/docs.json").json()["paths"]
    assert "examples" not in paths["/sample"]["post"]["requestBody"]["content"]["application/json"]
    assert alone.get("/").status_code == 200
    picture = as_file(noise(SIDE, SIDE, 3))
    named = alone.post("/translate", json=body(picture))
    unnamed = alone.post("/translate", files={"images": ("photo.png", picture)})
    assert (unnamed.status_code, unnamed.content) == (200, named.content)


def test_a_large_form_lets_other_requests_have_their_turn() -> None:
    content = b'--y\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n\r\n' + b"\r\n" * 2_000_000
    headers = [(b"content-type", b"multipart/form-data; boundary=y")]
    turns = 0

    async def parse_beside_others() -> None:
        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(take_turns())
        uploaded = await _read_form(Request({"type": "http", "headers": headers}), content + b"\r\n--y--\r\n")
        others.cancel()
        assert [len(file) for file in uploaded.files] == [4_000_000]

    asyncio.run(parse_beside_others())
    assert turns > 50


def test_a_client_that_leaves_is_not_translated_for(http: httpx.Client) -> None:
    large = as_file(noise(1100, 1100, 3), "jpeg")  # its WebP takes more than a second
    request = httpx.Request("POST", http.base_url.join("/translate"), json=body(large, model="doubled", format="webp"))
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())

    def appears(metric: str) -> bool:
        deadline = time.monotonic() + 60
        while metric not in (metrics := http.get("/metrics").text) and time.monotonic() < deadline:
            time.sleep(0.02)
        return metric in metrics

    with socket.create_connection((request.url.host, request.url.port)) as client:
        client.sendall(f"POST /translate HTTP/1.1\r\n{head}\r\n".encode() + request.content)
        assert appears("gan_serve_queued_requests 1.0")
        # Reset, since a client that only ends its side may still wait for the response.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert appears('gan_serve_requests_total{endpoint="/translate",status="499"} 1.0')
    assert "gan_serve_queued_requests 0.0" in http.get("/metrics").text


@pytest.mark.parametrize(
    ("fields", "status", "code", "message"),
    [
        ({"model": "fashion-dcgan"}, 422, "invalid_option", "generates images and does not translate"),
        ({"model": "negativ"}, 404, "unknown_model", "no model 'negativ'"),
        ({"model": 3}, 422, "invalid_request", "model must be"),
        ({"images": "x"}, 422, "invalid_request", "images must be a list"),
        ({"images": []}, 422, "invalid_request", "images must be a list"),
        ({"images": ["!!"]}, 422, "invalid_image", "Image 0 is not base64"),
        ({"fit": "corp"}, 422, "invalid_option", "There is no fit 'corp'"),
        ({"format": "pgn"}, 422, "invalid_option", "There is no format 'pgn'"),
        ({"imagse": []}, 422, "invalid_request", "There is no field 'imagse'"),
        ({"images": ["aGk="] * 65}, 422, "too_many_images", "65 images are more than the 64"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_fields_are_refused_in_one_sentence(
    http: httpx.Client, fields: dict[str, Any], status: int, code: str, message: str
) -> None:
    told = error(http.post("/translate", json=body(as_file(noise(SIDE, SIDE, 3))) | fields), status, code)
    assert message in told["message"]


def test_outputs_are_bounded_before_anything_is_computed(http: httpx.Client) -> None:
    large = as_file(np.zeros((3000, 3000, 3), np.uint8))
    told = error(http.post("/translate", json=body(large, model="doubled")), 422, TooManyImages.code)
    assert "this server sends up to" in told["message"]


def test_pictures_that_are_too_large_together_are_not_decoded(http: httpx.Client) -> None:
    large = as_file(np.zeros((4096, 4096), bool))  # 16 MB once it is decoded, 2 kB as PNG
    response = http.post("/translate", data={"model": "negative"}, files=[("images", ("x.png", large))] * 60)
    assert "decodes up to 67,108,864" in error(response, 422, TooManyImages.code)["message"]


def test_a_sheet_of_a_wide_and_a_high_picture_is_refused(http: httpx.Client) -> None:
    files = [as_file(np.zeros(shape, np.uint8)) for shape in ((1, 30_000, 3), (30_000, 1, 3))]
    told = error(http.post("/translate", json=body(*files, model="doubled")), 422, TooManyImages.code)
    assert "this server sends up to" in told["message"]
    assert http.post("/translate", json=body(*files, model="doubled", format="zip")).status_code == 200


def test_the_bodies_that_a_worker_reads_are_bounded_together(alone: httpx.Client) -> None:
    head = b"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n"
    address = ("localhost", alone.base_url.port or 0)
    with socket.create_connection(address, 20) as first, socket.create_connection(address, 20) as second:
        first.sendall(head + bytes(800_000))
        time.sleep(0.5)
        second.sendall(head + bytes(800_000))
        assert second.recv(100).startswith(b"HTTP/1.1 429 ")
        first.sendall(bytes(100_000))
        assert first.recv(100).startswith(b"HTTP/1.1 415 ")
    assert alone.post("/translate", json=body(as_file(noise(SIDE, SIDE, 3)))).status_code == 200


def hostile(random: np.random.RandomState, number: int) -> bytes:
    """An upload that is damaged, a bomb, an animation, something else, or odd and fine."""
    kind, format = number % 8, ("PNG", "JPEG", "WEBP", "GIF", "BMP")[random.randint(5)]
    content = bytearray(as_file(noise(24, 31, 3, seed=number), format))
    if kind == 0:  # bytes are changed
        for _ in range(random.randint(1, 20)):
            content[random.randint(len(content))] = random.randint(256)
    elif kind == 1:  # cut short
        content = content[: random.randint(len(content))]
    elif kind == 2:
        content = bytearray(bomb(*random.randint(1, 2**31 - 1, 2)))
    elif kind == 3:
        content = bytearray(animation())
    elif kind == 4:
        content = bytearray(random.bytes(random.randint(2000)))
    elif kind == 5:  # another kind of file with the head of a picture
        content[8:] = random.bytes(500)
    elif kind == 6:  # many scans, chunks or frames
        content = content + bytearray(b"\xff\xda" * 200) + content[8:] * 5
    else:
        content = bytearray(as_file(random.randint(0, 2, (9, 9)).astype(bool)))
    return bytes(content)


def test_200_hostile_uploads_are_refused_or_translated_and_memory_is_flat(http: httpx.Client) -> None:
    random = np.random.RandomState(SEED)
    port = str(http.base_url.port)
    [server] = [each for each in psutil.Process().children() if port in each.cmdline()]
    workers = server.children(recursive=True)

    def memory() -> int:
        return sum(worker.memory_info().rss for worker in workers if worker.is_running())

    seen: dict[int, int] = {}
    for number in range(200):
        content = hostile(random, number)
        if number % 2:
            response = http.post("/translate", json=body(content))
        else:
            response = http.post("/translate", data={"model": "negative"}, files={"images": ("x.png", content)})
        seen[response.status_code] = seen.get(response.status_code, 0) + 1
        if response.status_code != 200:
            told = error(response, 422, "invalid_image")
            assert "\n" not in told["message"]
            assert len(told["message"]) < 300
        if number == 60:
            before = memory()
    assert set(seen) == {200, 422}
    assert seen[422] > 100
    assert memory() < before + 40 * 2**20
    assert http.post("/translate", json=body(as_file(noise(SIDE, SIDE, 3)))).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "multipart/form-data", 400),
        (b"x", "multipart/form-data; boundary=y", 400),
        (b"--y\r\n" * 1000, "multipart/form-data; boundary=y", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 422),
        (b"x", "text/plain", 415),
        (b"[" * 100_000, "application/json", 422),
        (b"x" * (5 * 2**20), "multipart/form-data; boundary=y", 413),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bodies_that_are_no_request(http: httpx.Client, content: bytes, kind: str, status: int) -> None:
    response = http.post("/translate", content=content, headers={"Content-Type": kind})
    assert response.status_code == status
    assert set(response.json()["error"]) == {"code", "message", "hint"}
