"""``POST /project``: a picture comes back as a latent, where the operator allows it; also dropped on the page."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from browser import Visit, chromium, drop, expect
from PIL import Image
from servers import running

from gan_serve import Client, Generator, generate
from gan_serve.errors import GanServeError, InvalidImage, InvalidOption, ServerError, UnknownLabel, UnknownModel
from gan_serve.service.settings import Settings

pytest.importorskip("torch")
MODEL = "mnist-mlp"  # its search is the fastest


@pytest.fixture(scope="module")
def allowing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that projects pictures."""
    settings = {"GAN_SERVE_PROJECT": "500", "GAN_SERVE_TIMEOUT": "600", "GAN_SERVE_WORKERS": "1"}
    with running([MODEL], tmp_path_factory.mktemp("server"), **settings) as client:
        client.timeout = httpx.Timeout(600)
        yield client


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of the model without its receipt."""
    path = tmp_path_factory.mktemp("picture") / "digit.png"
    [pixels] = generate(MODEL, seed=7, output="numpy")
    Image.fromarray(pixels[..., 0]).save(path)
    return path


def body_of(picture: Path, **options: Any) -> dict[str, Any]:
    return {"model": MODEL, "image": base64.b64encode(picture.read_bytes()).decode()} | options


def test_an_image_comes_back_as_a_latent_while_others_wait(allowing: httpx.Client, picture: Path) -> None:
    assert allowing.get("/models").json()["limits"]["project"] == 500
    assert "/project" in allowing.get("/docs.json").json()["paths"]
    steps: list[tuple[int, int]] = []
    with Client(str(allowing.base_url), timeout=600) as client, ThreadPoolExecutor(1) as pool:
        search = pool.submit(client.project, images=[picture], progress=lambda done, total: steps.append((done, total)))
        busy = None
        while not search.done() and (busy is None or busy.status_code != 429):
            time.sleep(0.2)
            busy = allowing.post("/project", json=body_of(picture, fit="exact"))
        found = search.result()
    assert busy is not None
    assert (busy.status_code, busy.json()["error"]["code"]) == (429, "too_many_requests")
    assert "retry-after" in busy.headers
    assert found.psnr[0] > 30
    assert found.own_psnr is not None
    assert found.real_psnr is not None
    assert found.real_psnr < found.own_psnr
    assert (found.labels, found.digest) == (None, Generator.from_pretrained(MODEL).digest)
    assert steps[-1] == (1, 1)
    again = allowing.post("/sample", json={"model": MODEL, "latents": found.latents.tolist()})
    with Image.open(io.BytesIO(again.content)) as image, Image.open(picture) as wanted:
        difference = np.asarray(image).astype(float) - np.asarray(wanted)
    assert 10 * np.log10(255**2 / np.square(difference).mean()) == pytest.approx(found.psnr[0], abs=0.01)


def damaged() -> str:
    """A PNG whose header is whole."""
    file = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (28, 28), np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()[:400]).decode()


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"image": "@@"}, 422, "invalid_image"),
        ({"image": base64.b64encode(b"no picture").decode()}, 422, "invalid_image"),
        ({"image": damaged()}, 422, "invalid_image"),
        ({"fit": "stretch"}, 422, "invalid_option"),
        ({"label": "Coat"}, 422, "unknown_label"),
        ({"model": "another"}, 404, "unknown_model"),
        ({"starts": 64}, 422, "invalid_request"),
    ],
)
def test_what_cannot_be_projected_is_refused(
    allowing: httpx.Client, picture: Path, options: dict[str, Any], status: int, code: str
) -> None:
    response = allowing.post("/project", json=body_of(picture, **options))
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"images": b"no picture"}, InvalidImage),
        ({"images": "missing.png"}, InvalidImage),
        ({"images": []}, InvalidImage),
        ({"fit": "stretch"}, InvalidOption),
        ({"label": "Coat"}, UnknownLabel),
        ({"label": [0, 1]}, UnknownLabel),
        ({"model": "another"}, UnknownModel),
    ],
)
def test_a_client_raises_what_the_server_refuses(
    allowing: httpx.Client, picture: Path, options: dict[str, Any], error: type[GanServeError]
) -> None:
    with Client(str(allowing.base_url)) as client, pytest.raises(error):
        client.project(**{"model": MODEL, "images": picture} | options)


def test_a_search_that_takes_too_long_is_ended(picture: Path, tmp_path: Path) -> None:
    with running([MODEL], tmp_path, GAN_SERVE_PROJECT="0.5") as client:
        response = client.post("/project", json=body_of(picture))
        assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
        commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        assert not [command for command in commands if "project" in command and "picture" in command]


def test_a_server_offers_it_only_if_it_is_told_to(server: httpx.Client, picture: Path) -> None:
    assert Settings().project == 0
    assert server.get("/models").json()["limits"]["project"] == 0
    assert server.post("/project", json=body_of(picture)).status_code == 404
    with Client(str(server.base_url)) as client, pytest.raises(ServerError, match="GAN_SERVE_PROJECT"):
        client.project(MODEL, picture)


@pytest.mark.slow  # with a response that was written by hand: page/test_page_drop.py
def test_a_picture_that_is_dropped_on_the_page_becomes_a_key(allowing: httpx.Client, picture: Path) -> None:
    with chromium() as browser:
        visit = Visit(browser, str(allowing.base_url).rstrip("/"))
        page = visit.open()
        expect(page.locator("#sheet[data-seeds]")).to_be_visible()
        drop(page, picture, "#picture")
        expect(page.locator("#status")).to_contain_text("Searching for its latent")
        page.locator("#opened", has_text="digit.png").wait_for(timeout=500_000)
        expect(page.locator("#opened")).to_contain_text("the median of real pictures is")
        expect(page.locator("#caption")).to_have_text("Latent")
        expect(page.locator("#keys-hint")).to_contain_text("One pinned")
        visit.check()
