"""Samples of the service: the same pixels as Python, in every format, whatever else it is doing."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from answers import NAME, image, npz, post
from conditional_checkpoint import CLASSES, level
from PIL import Image

from gan_serve import Generator
from gan_serve.images.pixels import from_pil
from gan_serve.sampling.receipt import read_receipt
from gan_serve.sampling.seeds import format_seeds, parse_seeds


def test_a_seed_is_the_same_image_alone_among_7_among_64_and_in_python(
    server: httpx.Client, generator: Generator
) -> None:
    expected = generator.generate(seed=5, output="numpy")[0]
    alone = from_pil(image(post(server, "/sample", seed=5)))
    among_7 = npz(post(server, "/sample", seeds=[9, 9, 5, 0, 1, 2, 3], format="npz"))["images"][2]
    among_64 = npz(post(server, "/sample", n=64, format="npz", seed=0))["images"][5]
    for pixels in (alone, among_7, among_64):
        np.testing.assert_array_equal(pixels, expected)


def test_one_image_is_a_png_with_its_receipt(server: httpx.Client, generator: Generator) -> None:
    response = post(server, "/sample", seed=5, truncation=0.7)
    assert response.headers["content-type"] == "image/png"
    drawn = image(response)
    receipt = read_receipt(drawn)
    assert (receipt.model, receipt.seed, receipt.truncation) == (NAME, 5, 0.7)
    assert receipt.matches(from_pil(drawn))
    assert json.loads(response.headers["x-gan-serve-receipt"]) == receipt.as_dict()
    assert response.headers["x-gan-serve-digest"] == generator.digest
    np.testing.assert_array_equal(from_pil(drawn), generator.generate(seed=5, truncation=0.7, output="numpy")[0])


def test_seeds_that_the_server_drew_make_the_same_images_again(server: httpx.Client) -> None:
    first = post(server, "/sample", n=3, format="npz")
    seeds = first.headers["x-gan-serve-seeds"]
    assert parse_seeds(seeds) == npz(first)["seeds"].tolist()
    again = post(server, "/sample", seeds=seeds, format="npz")
    np.testing.assert_array_equal(npz(again)["images"], npz(first)["images"])


@pytest.mark.parametrize("seeds", [[0], [7, 8, 9], [3, 2, 1], [5, 5, 6, 4294967295], [0, 1, 1, 2]])
def test_the_seeds_header_reads_back_as_the_seeds(seeds: list[int]) -> None:
    assert parse_seeds(format_seeds(seeds)) == seeds


def test_headers_stay_short_whatever_is_asked_for(server: httpx.Client) -> None:
    small = {"model": "conditional"}  # which is sampled in no time
    headers = post(server, "/sample", seeds=list(range(0, 2048, 2)), format="npz", **small).headers
    assert sum(len(value) for value in headers.values()) < 8000
    assert post(server, "/sample", n=1024, seed=0, **small).headers["x-gan-serve-seeds"] == "0-1023"


def test_a_grid_has_the_columns_asked_for(server: httpx.Client, generator: Generator) -> None:
    response = post(server, "/sample", seeds="0-5", columns=3)
    assert response.content == generator.sample(seeds="0-5").grid_png(3)


def test_json_holds_a_png_and_a_receipt_for_each_image(server: httpx.Client, generator: Generator) -> None:
    images = post(server, "/sample", seeds="3,1", format="json").json()["images"]
    assert [each["receipt"]["seed"] for each in images] == [3, 1]
    drawn = [from_pil(Image.open(io.BytesIO(base64.b64decode(each["png"])))) for each in images]
    np.testing.assert_array_equal(drawn, generator.generate(seeds="3,1", output="numpy"))


def test_zip_holds_a_png_for_each_image(server: httpx.Client, generator: Generator) -> None:
    response = post(server, "/sample", seeds="3,1", format="zip")
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == ["00000-seed3.png", "00001-seed1.png"]
        drawn = [from_pil(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()]
    np.testing.assert_array_equal(drawn, generator.generate(seeds="3,1", output="numpy"))


def test_latents_take_the_place_of_seeds(server: httpx.Client, generator: Generator) -> None:
    latents = np.random.RandomState(5).standard_normal((2, generator.z_dim)).astype(np.float32)
    drawn = npz(post(server, "/sample", latents=latents.tolist(), format="npz"))["images"]
    np.testing.assert_array_equal(drawn, generator.generate(latents=latents, output="numpy"))
    np.testing.assert_array_equal(drawn[0], generator.generate(seed=5, output="numpy")[0])


def test_a_walk_is_a_gif_of_the_frames_that_python_draws(server: httpx.Client, generator: Generator) -> None:
    response = post(server, "/interpolate", seeds=[0, 5, 9], steps=4, loop=True, fps=20)
    assert response.headers["content-type"] == "image/gif"
    strip = read_receipt(image(post(server, "/interpolate", seeds=[0, 5, 9], steps=4, loop=True, format="png")))
    assert json.loads(response.headers["x-gan-serve-receipt"]) == strip.as_dict()
    expected = generator.interpolate([0, 5, 9], steps=4, loop=True, output="numpy")
    with image(response) as animation:
        assert animation.n_frames == 12  # type: ignore[attr-defined]
        assert animation.info["duration"] == 50
        for number, frame in enumerate(expected):
            animation.seek(number)
            np.testing.assert_array_equal(from_pil(animation.convert("L")), frame)


@pytest.mark.parametrize("method", ["slerp", "lerp"])
def test_a_walk_takes_the_method_the_truncation_and_seeds_as_text(
    server: httpx.Client, generator: Generator, method: str
) -> None:
    response = post(server, "/interpolate", seeds="0,5", steps=3, method=method, truncation=0.5, format="npz")
    expected = generator.interpolate("0,5", steps=3, method=method, truncation=0.5, output="numpy")
    np.testing.assert_array_equal(npz(response)["images"], expected)


def test_requests_at_the_same_time_get_their_own_images(server: httpx.Client, generator: Generator) -> None:
    expected = generator.generate(n=48, seed=0, output="numpy")
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda seed: from_pil(image(post(server, "/sample", seed=seed))), range(48)))
    np.testing.assert_array_equal(drawn, expected)


def test_a_long_walk_can_be_had_frame_by_frame_and_from_any_frame_on(
    server: httpx.Client, generator: Generator
) -> None:
    asked = {"model": NAME, "seeds": "0,5,9", "steps": 20, "format": "ndjson"}
    with server.stream("POST", "/interpolate", json=asked) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in response.iter_lines()]
    assert [(line["frame"], line["frames"]) for line in lines] == [(number, 41) for number in range(41)]
    drawn = [from_pil(Image.open(io.BytesIO(base64.b64decode(line["png"])))) for line in lines]
    np.testing.assert_array_equal(drawn, generator.interpolate("0,5,9", steps=20, output="numpy"))
    places = [(line["receipt"]["walk"]["seeds"], line["receipt"]["walk"]["frame"]) for line in lines]
    assert places == [([0, 5], number) for number in range(20)] + [([5, 9], number) for number in range(21)]
    rest = server.post("/interpolate", json=asked | {"start": 33}).text.splitlines()
    assert [json.loads(line) for line in rest] == lines[33:]


def test_a_png_of_a_walk_is_a_strip_and_of_a_part_of_it_too(server: httpx.Client, generator: Generator) -> None:
    strip = post(server, "/interpolate", seeds="0,5", steps=4, format="png")
    assert image(strip).size == (5 * 30 + 2, 32)
    part = post(server, "/interpolate", seeds="0,5", steps=4, start=1, stop=3, format="npz")
    np.testing.assert_array_equal(npz(part)["images"], generator.interpolate("0,5", steps=4, output="numpy")[1:3])


def test_condition_draws_the_same_latents_under_each_label(server: httpx.Client) -> None:
    arrays = npz(post(server, "/condition", model="conditional", seeds="3,8,1", format="npz"))
    assert arrays["seeds"].tolist() == [3, 8, 1] * 2
    assert arrays["labels"].tolist() == [name for name in CLASSES for _ in range(3)]
    expected = [level(seed, number) for number in range(2) for seed in (3, 8, 1)]
    assert arrays["images"][:, 0, 0, 0].tolist() == expected


def test_a_condition_sheet_has_a_row_for_each_label_asked_for(server: httpx.Client) -> None:
    sheet = image(post(server, "/condition", model="conditional", n=5, seed=0, labels=["Ankle boot", 0]))
    receipt = read_receipt(sheet)
    assert sheet.size == (5 * 6 + 2, 2 * 6 + 2)
    assert receipt.labels == ["Ankle boot"] * 5 + ["Bag"] * 5
    assert receipt.columns == 5


def test_condition_can_be_had_as_a_folder_for_each_label(server: httpx.Client) -> None:
    response = post(server, "/condition", model="conditional", n=2, seed=0, format="zip")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == [
            "Bag/00000-seed0.png",
            "Bag/00001-seed1.png",
            "Ankle_boot/00000-seed0.png",
            "Ankle_boot/00001-seed1.png",
        ]


@pytest.mark.parametrize("body", [{"seed": 3}, {"seeds": "0-3"}, {"latents": [[0.5] * 100]}], ids=str)
def test_what_a_client_has_is_not_sent_again(server: httpx.Client, body: dict[str, Any]) -> None:
    first = post(server, "/sample", **body)
    tag = first.headers["etag"]
    again = post(server, "/sample", **body)
    assert (again.headers["etag"], again.content) == (tag, first.content)
    for known in (tag, f'"other", W/{tag}', "*"):
        unchanged = server.post("/sample", json={"model": NAME} | body, headers={"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", tag)
    other = server.post("/sample", json={"model": NAME, "truncation": 0.5} | body, headers={"If-None-Match": tag})
    assert other.status_code == 200
    assert other.headers["etag"] != tag


def test_what_is_drawn_at_random_has_no_etag(server: httpx.Client) -> None:
    assert "etag" not in post(server, "/sample", n=2).headers
    assert server.post("/sample", json={"model": NAME}, headers={"If-None-Match": "*"}).status_code == 200


def test_requests_of_other_models_and_truncations_at_the_same_time_get_their_own_images(
    server: httpx.Client, generator: Generator
) -> None:
    truncations = [number / 10 for number in range(11)]
    with ThreadPoolExecutor(16) as pool:
        clothes = [
            pool.submit(post, server, "/sample", seed=3, truncation=truncation, format="npz")
            for truncation in truncations
        ]
        boots = [
            pool.submit(post, server, "/sample", model="conditional", seed=seed, label=1, format="npz")
            for seed in range(11)
        ]
        for truncation, drawn in zip(truncations, clothes, strict=True):
            expected = generator.generate(seed=3, truncation=truncation, output="numpy")
            np.testing.assert_array_equal(npz(drawn.result())["images"], expected)
        assert [npz(drawn.result())["images"][0, 0, 0, 0] for drawn in boots] == [level(seed, 1) for seed in range(11)]
