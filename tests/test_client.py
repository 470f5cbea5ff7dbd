"""The clients against a real server: what they give is what a local ``Generator`` gives."""

from __future__ import annotations

import asyncio
import doctest
import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_arguments import LABELLED, MAX_IMAGES, SAMPLES, WRONG
from clients import BOTH, AwaitedClient
from conditional_checkpoint import write_conditional
from PIL import Image
from servers import running

import gan_serve
from gan_serve import AsyncClient, Client, GanServeError, Generator, UnknownModel
from gan_serve.errors import InvalidOption, TooManyImages, Unauthorized
from gan_serve.sampling.formats import encode
from gan_serve.verify import verify_image

NAME = "fashion-dcgan"
KEY = "open sesame"
MAX_FRAMES = 10


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return Generator.from_pretrained(write_conditional(tmp_path_factory.mktemp("conditional")))


@pytest.fixture(scope="module")
def address(conditional: Generator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a key and with narrow limits."""
    limits = {"API_KEY": KEY, "MAX_IMAGES": MAX_IMAGES, "MAX_FRAMES": MAX_FRAMES, "MAX_BODY": 6000, "DRAIN": 0}
    settings = {f"GAN_SERVE_{name}": str(value) for name, value in limits.items()}
    with running([NAME, str(conditional.directory)], tmp_path_factory.mktemp("server"), **settings) as http:
        yield str(http.base_url)


# Client is generated from AsyncClient; test_client_streams.py and test_client_failures.py run both every day.
@pytest.fixture(params=[Client, pytest.param(AwaitedClient, marks=pytest.mark.slow)], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, address: str) -> Iterator[Client]:
    with request.param(address, api_key=KEY) as client:
        yield client


def assert_same_images(images: list[Any], expected: list[Any]) -> None:
    """Type, mode, pixels and receipts."""
    assert [type(image) for image in images] == [type(image) for image in expected]
    assert [image.info for image in images] == [image.info for image in expected]
    for image, other in zip(images, expected, strict=True):
        assert (image.mode, image.size) == (other.mode, other.size)
        np.testing.assert_array_equal(np.asarray(image), np.asarray(other))


def _names(options: dict[str, Any]) -> str:
    return ",".join(options)


@pytest.mark.parametrize("options", SAMPLES, ids=_names)
def test_generate_gives_the_images_and_receipts_of_the_generator(client, generator, options):
    assert_same_images(client.generate(NAME, **options), generator.generate(**options))
    pixels = client.generate(NAME, **options, output="numpy")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, generator.generate(**options, output="numpy"))


@pytest.mark.parametrize("options", LABELLED, ids=_names)
def test_generate_takes_labels_as_the_generator_does(client, conditional, options):
    assert_same_images(client.generate("conditional", **options), conditional.generate(**options))
    pixels = client.generate("conditional", **options, output="numpy")
    np.testing.assert_array_equal(pixels, conditional.generate(**options, output="numpy"))


def test_progress_counts_the_images_of_each_response(client, generator):
    told: list[tuple[int, int]] = []
    client.generate(NAME, seeds="0-15", progress=lambda *counts: told.append(counts))
    assert told[-1] == (16, 16)
    assert told[0][0] <= MAX_IMAGES
    with pytest.raises(TypeError, match="progress"):
        client.download("sample", NAME, n=1, progress=True)


def test_without_seeds_the_receipts_tell_them(client, generator):
    images = client.generate(NAME, 9)  # two requests
    seeds = [image.info["gan_serve"]["seed"] for image in images]
    assert_same_images(images, generator.generate(seeds=seeds))
    assert seeds == list(range(seeds[0], seeds[0] + 9))


def test_latents_that_are_too_long_for_one_request_go_in_several(client, generator):
    latents = np.random.RandomState(0).standard_normal((5, 100)).astype(np.float32)  # two fit in 6000 bytes
    assert_same_images(client.generate(NAME, latents=latents), generator.generate(latents=latents))


@pytest.mark.parametrize(
    "options",
    [
        {"n": 2, "seed": 3},
        {"seeds": [4, 4], "labels": ["Ankle boot", 0], "truncation": 0.5},
        {"seeds": "0-2", "labels": "Ankle boot"},
        {"latents": np.ones((2, 2))},
        {"seeds": "0-4"},  # ten images: a request for each label
        {"seeds": "0-15", "labels": [np.int64(1), 0]},  # three for each
    ],
    ids=_names,
)
def test_condition_gives_the_images_of_each_label(client, conditional, options):
    images, expected = client.condition("conditional", **options), conditional.condition(**options)
    assert list(images) == list(expected)
    for name in expected:
        assert_same_images(images[name], expected[name])
    assert images._repr_mimebundle_()["image/png"] == expected._repr_mimebundle_()["image/png"]  # in a notebook
    arrays, expected = (
        client.condition("conditional", **options, output="numpy"),
        conditional.condition(**options, output="numpy"),
    )
    assert list(arrays) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(arrays[name], expected[name])


WALKS: list[dict[str, Any]] = [
    {"seeds": "0,5", "steps": 4},
    {"seeds": [0, 5, 9], "steps": np.int64(2), "loop": True, "method": "lerp", "truncation": 0.5},
    {"seeds": [0, 5], "steps": 6, "start": 2, "stop": 5},
    {"seeds": [0, 5], "steps": 30, "loop": True, "start": 3},  # more than one request, streamed or not
]


@pytest.mark.parametrize("options", WALKS, ids=_names)
def test_interpolate_gives_the_frames_of_the_generator(client, generator, options):
    expected = generator.interpolate(**options)
    received = client.interpolate(NAME, **options)
    assert_same_images(received, expected)
    assert "image/gif" in received._repr_mimebundle_()
    pixels = client.interpolate(NAME, **options, output="numpy")
    np.testing.assert_array_equal(pixels, generator.interpolate(**options, output="numpy"))
    frames = list(client.iter_frames(NAME, **options))
    first = options.get("start", 0)
    assert [frame.number for frame in frames] == list(range(first, first + len(expected)))
    assert {frame.total for frame in frames} == {len(generator.interpolate(**options | {"start": 0, "stop": None}))}
    assert_same_images([frame.image for frame in frames], expected)


def test_a_walk_has_the_label_asked_for(client, conditional):
    options: dict[str, Any] = {"seeds": [0, 1], "steps": 2, "label": "Ankle boot"}
    assert_same_images(client.interpolate("conditional", **options), conditional.interpolate(**options))
    frames = client.iter_frames("conditional", **options)
    assert_same_images([frame.image for frame in frames], conditional.interpolate(**options))


def test_frames_may_be_left_in_the_middle(client, generator):
    frames = client.iter_frames(NAME, [0, 5], steps=9)
    next(frames)
    second = next(frames)
    frames.close()
    assert_same_images([second.image], generator.interpolate([0, 5], steps=9)[1:2])
    assert len(client.generate(NAME)) == 1


@pytest.mark.parametrize(("call", "options"), WRONG, ids=lambda value: str(value)[:50])
def test_what_makes_no_sense_raises_what_the_generator_raises(client, conditional, call, options):
    with pytest.raises(GanServeError) as expected:
        getattr(conditional, call)(**options)
    with pytest.raises(type(expected.value)) as error:
        getattr(client, call)("conditional", **options)
    assert type(error.value) is type(expected.value)
    assert error.value.message
    if call == "interpolate" and "output" not in options:
        with pytest.raises(type(expected.value)):
            list(client.iter_frames("conditional", **options))


def test_what_the_server_says_is_kept(client, conditional):
    with pytest.raises(GanServeError) as expected:
        conditional.generate(label="ankle boots")
    with pytest.raises(GanServeError) as error:
        client.generate("conditional", label="ankle boots")
    assert (error.value.message, error.value.hint) == (expected.value.message, "Did you mean 'Ankle boot'?")


def test_a_model_without_labels_has_no_conditions(client):
    with pytest.raises(gan_serve.UnknownLabel, match="not conditional"):
        client.condition(NAME)


@pytest.mark.parametrize("name", ["fashion-dcgam", "../fashion-dcgan", "a/b", "..", "", Path("x")])
def test_a_model_that_is_not_there_is_refused(client, name):
    for call in (client.generate, client.condition, client.model):
        with pytest.raises(UnknownModel):
            call(name)
    with pytest.raises(UnknownModel):
        list(client.iter_frames(name, [0, 5]))


@pytest.fixture(scope="module")
def address_of_one_model(conditional: Generator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    limits = {"GAN_SERVE_MAX_IMAGES": str(MAX_IMAGES)}
    with running([str(conditional.directory)], tmp_path_factory.mktemp("alone"), **limits) as http:
        yield str(http.base_url)


@BOTH
def test_the_only_model_of_a_server_needs_no_name(kind, conditional, address_of_one_model):
    latents = np.random.RandomState(0).standard_normal((2 * MAX_IMAGES, conditional.z_dim))
    with kind(address_of_one_model) as client:
        assert_same_images(client.generate(n=2, seed=7), conditional.generate(2, seed=7))
        # In parts, whose labels by position need the number of classes of the model.
        assert_same_images(client.generate(latents=latents), conditional.generate(latents=latents))
        rows, expected = client.condition(seeds="0-3"), conditional.condition(seeds="0-3")
        assert list(rows) == list(expected)
        for label, images in expected.items():
            assert_same_images(rows[label], images)
        frames = conditional.interpolate([0, 5], steps=3)
        assert_same_images(client.interpolate(seeds=[0, 5], steps=3), frames)
        assert_same_images([frame.image for frame in client.iter_frames(seeds=[0, 5], steps=3)], frames)
        assert client.download("sample", seed=3)[1:4] == b"PNG"


def test_a_server_of_several_models_asks_for_a_name(client, conditional):
    with pytest.raises(GanServeError, match=f"model is missing.*{NAME}, {conditional.config.name}"):
        client.generate(seed=7)


def test_models_are_described(client, conditional):
    assert [model["name"] for model in client.models()] == [NAME, "conditional"]  # the order of the operator
    described = client.model("conditional")
    assert described["class_names"] == list(conditional.class_names)
    assert described["digest"] == conditional.digest


def test_downloads_are_the_files_of_the_generator(client, conditional, generator, tmp_path):
    grid = client.download("sample", NAME, tmp_path / "new" / "grid.PNG", seeds="0-5", columns=np.int64(3))
    assert (tmp_path / "new" / "grid.PNG").read_bytes() == grid == generator.sample(seeds="0-5").grid_png(3)
    assert verify_image(tmp_path / "new" / "grid.PNG").max_difference == 0
    gif = client.download("interpolate", NAME, tmp_path / "walk.gif", seeds=[0, 5], steps=3, fps=20)
    assert gif == encode(generator.sample_walk([0, 5], steps=3), "gif", fps=20)
    sheet = client.download("condition", "conditional", n=3, seed=0)
    assert sheet == conditional.sample_condition(3, seed=0).grid_png()
    archive = client.download("condition", "conditional", format="zip", labels=["Bag"], seed=4)
    assert zipfile.ZipFile(io.BytesIO(archive)).namelist() == ["Bag/00000-seed4.png"]
    with Image.open(io.BytesIO(client.download("sample", NAME, tmp_path / "no-suffix"))) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        ("samples", {}, InvalidOption),
        ("sample", {"format": "pgn"}, InvalidOption),
        ("sample", {"path": "picture.jpg"}, InvalidOption),
        ("sample", {"columns": object()}, InvalidOption),
        ("interpolate", {"seeds": "0,5", "format": "ndjson"}, InvalidOption),
        ("sample", {"n": MAX_IMAGES + 1}, TooManyImages),
        ("sample", {"steps": 3}, TypeError),
        ("interpolate", {"seeds": "0,5", "labels": ["Bag"]}, TypeError),
    ],
)
def test_a_download_that_makes_no_sense_is_refused(client, kind, options, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        client.download(kind, NAME, **options)
    assert not list(tmp_path.iterdir())


@BOTH
def test_the_key_comes_from_the_environment_too(kind, address, monkeypatch):
    monkeypatch.setenv("GAN_SERVE_API_KEY", KEY)
    with kind(address) as client:
        assert client.models()


@BOTH
@pytest.mark.parametrize("key", ["", "another"])
def test_without_the_key_every_call_is_refused(kind, key, address, monkeypatch):
    monkeypatch.setenv("GAN_SERVE_API_KEY", KEY)
    with kind(address, api_key=key) as client:
        for call in (client.models, lambda: client.generate(NAME), lambda: list(client.iter_frames(NAME, [0, 5]))):
            with pytest.raises(Unauthorized) as error:
                call()
            assert error.value.hint


def test_threads_may_share_a_client(address, generator):
    with Client(address, api_key=KEY) as client, ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda seed: client.generate(NAME, seed=seed, output="numpy")[0], range(40)))
    np.testing.assert_array_equal(drawn, generator.generate(40, seed=0, output="numpy"))


def test_an_async_client_draws_many_at_a_time(address, generator):
    async def draw() -> list[Any]:
        async with AsyncClient(address, api_key=KEY) as client:
            walk = asyncio.create_task(anext(client.iter_frames(NAME, [0, 5])))
            images = await asyncio.gather(*(client.generate(NAME, seed=seed, output="numpy") for seed in range(100)))
            assert (await walk).number == 0
            return [pixels for [pixels] in images]

    np.testing.assert_array_equal(asyncio.run(draw()), generator.generate(100, seed=0, output="numpy"))


def test_a_call_that_is_cancelled_leaves_the_client_usable(address):
    async def draw() -> int:
        async with AsyncClient(address, api_key=KEY) as client:
            tasks = [asyncio.create_task(client.generate(NAME, MAX_IMAGES)) for _ in range(40)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert any(isinstance(end, asyncio.CancelledError) for end in ends)
            return len(await client.generate(NAME, 2))

    assert asyncio.run(draw()) == 2


def test_a_client_that_nobody_closes_leaves_no_socket_open(address):
    code = f"import gan_serve; gan_serve.Client({address!r}, api_key={KEY!r}).models(); import gc; gc.collect()"
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", code]
    assert "ResourceWarning" not in subprocess.run(command, check=True, capture_output=True, text=True).stderr


@pytest.mark.parametrize("number", [0, 1])
def test_the_code_of_the_documentation_runs(number, address, monkeypatch, tmp_path):
    document = (Path(__file__).parents[1] / "docs" / "client.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)[number]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN_SERVE_API_KEY", KEY)
    code = code.replace("http://localhost:3000", address).replace("fashion-cgan", "conditional")
    code = re.sub(r"^.*client\.mix.*\n", "", code, flags=re.MULTILINE)  # no model here has styles; see test_mix.py
    code = (
        code.replace('"Sneaker"', '"Ankle boot"')
        .replace('"0-15", columns', '"0-5", columns')
        .replace("[0, 5, 9], loop", "[0, 5], steps=3, loop")
    )
    names: dict[str, Any] = {}
    exec(compile(code, "docs/client.md", "exec"), names)
    if number == 0:
        assert names["pixels"].shape == (16, 28, 28, 1)
        assert [len(row) for row in names["rows"].values()] == [8, 8]
        assert len(names["walk"]) == 24
        files = {path.name for path in tmp_path.iterdir()}
        assert files == {"grid.png", "walk.gif"} | {f"{frame:04d}-of-201.png" for frame in range(201)}
    else:
        assert len(names["pixels"]) == 100


@pytest.mark.parametrize("call", [Client.generate, Client.condition, Client.interpolate, Client.download])
def test_the_examples_of_the_client_run(address, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Client(address, api_key=KEY) as client:
        [examples] = doctest.DocTestFinder(recurse=False).find(call, globs={"client": client})
        for example in examples.examples:
            example.options.clear()  # elsewhere they are skipped, for want of a server
            for theirs, ours in (("fashion-cgan", "conditional"), ("0-7", "0-2"), ("Coat", "Ankle boot")):
                example.source = example.source.replace(theirs, ours)
            example.want = example.want.replace("8)", "3)").replace("Coat", "Ankle boot")
        assert examples.examples
        assert doctest.DocTestRunner().run(examples).failed == 0
