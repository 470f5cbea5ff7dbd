"""The models of a server: what it tells of them; those that are broken, loaded late, or make room for others."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from answers import NAME, error, post
from conditional_checkpoint import CLASSES
from server_process import until
from servers import running
from tiny_checkpoint import write_checkpoint

from gan_serve import CheckpointError, DigestMismatch, Generator, GoldenSampleMismatch
from gan_serve.checkpoint.config import GoldenSample
from gan_serve.service.models import MEGABYTE, Models
from gan_serve.service.served_model import SESSION_SIZE
from gan_serve.service.settings import Settings

LARGE = 2_000_000  # bytes: a tiny checkpoint whose file is padded to that size


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def half_broken(tampered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running([str(tampered), NAME], tmp_path_factory.mktemp("half-broken")) as client:
        yield client


def test_models_describes_what_is_served(server: httpx.Client, generator: Generator) -> None:
    [model] = [model for model in server.get("/models").json()["models"] if model["name"] == NAME]
    assert model == {
        "name": NAME,
        "ready": True,
        "loaded": True,
        "z_dim": generator.z_dim,
        "c_dim": 0,
        "class_names": [],
        "img_resolution": 28,
        "img_channels": 1,
        "style_layers": None,
        "license": generator.config.license,
        "digest": generator.digest,
        "precision": "fp32",
        "device": "cpu",
        "task": "generate",
        "in_resolution": None,
        "in_channels": None,
        "scale": None,
        "any_size": None,
        "error": None,
    }


def test_a_model_is_told_in_detail(server: httpx.Client, generator: Generator, checkpoint: Path) -> None:
    details = server.get(f"/models/{NAME}").json()
    [brief] = [model for model in server.get("/models").json()["models"] if model["name"] == NAME]
    assert {field: details[field] for field in brief} == brief
    assert details["files"] == {name: file.model_dump() for name, file in generator.config.files.items()}
    assert details["metrics"] == json.loads((checkpoint / "metrics.json").read_text())
    assert details["parity"] == json.loads((checkpoint / "parity.json").read_text())
    assert details["precisions"] == ["fp32", "int8"]
    assert (details["architecture"], details["truncation_space"]) == (generator.config.architecture.family, "z")
    assert server.get("/models/conditional").json()["class_names"] == list(CLASSES)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """A server of one model, which is loaded at the first request, and of small responses; the file that it logs to."""
    folder = tmp_path_factory.mktemp("alone")
    with running([NAME], folder, GAN_SERVE_LAZY="true", GAN_SERVE_MAX_RESPONSE="100000") as client:
        yield client, folder / "log.txt"


def test_a_lazy_server_loads_a_model_at_its_first_request(alone: tuple[httpx.Client, Path]) -> None:
    client, _ = alone
    assert client.get("/readyz").status_code == 200
    [model] = client.get("/models").json()["models"]
    assert (model["ready"], model["loaded"], model["z_dim"], model["device"]) == (True, False, 100, None)
    post(client, "/sample", seed=1)
    [model] = client.get("/models").json()["models"]
    assert (model["loaded"], model["device"]) == (True, "cpu")


def test_only_a_server_of_several_models_needs_the_name(server: httpx.Client, alone: tuple[httpx.Client, Path]) -> None:
    def required(client: httpx.Client) -> bool:
        return "model" in client.get("/docs.json").json()["components"]["schemas"]["SampleRequest"].get("required", [])

    client, log = alone
    for path, fields in {"/sample": {"seed": 7}, "/interpolate": {"seeds": "0,5", "steps": 3}}.items():
        assert client.post(path, json=fields).content == post(server, path, **fields).content
    error(client.post("/sample", json={"model": "nope"}), 404, "unknown_model")
    assert not required(client)
    until(lambda: f'"model": "{NAME}", "format": "gif"' in log.read_text())
    told = error(server.post("/sample", json={"seed": 7}), 422, "invalid_request")
    assert told["hint"] == f"This server has several models: {NAME}, conditional."
    assert required(server)


def test_a_response_beyond_its_limit_is_refused_before_it_is_sampled(alone: tuple[httpx.Client, Path]) -> None:
    client, _ = alone
    post(client, "/sample", n=50)
    told = error(client.post("/sample", json={"model": NAME, "n": 200}), 422, "too_many_images")
    assert "up to 100,000" in told["message"]
    error(client.post("/sample", json={"model": NAME, "n": 90, "format": "json"}), 422, "too_many_images")


def test_models_also_tells_the_limits(server: httpx.Client) -> None:
    limits = Settings()
    assert server.get("/models").json()["limits"] == {
        "max_images": limits.max_images,
        "max_frames": limits.max_frames,
        "max_pixels": limits.max_pixels,
        "project": 0,
    }


def test_the_picture_of_samples_is_the_checkpoints(server: httpx.Client, checkpoint: Path) -> None:
    response = server.get(f"/models/{NAME}/samples.png")
    assert (response.content, response.headers["content-type"]) == (
        (checkpoint / "samples.png").read_bytes(),
        "image/png",
    )
    again = server.get(f"/models/{NAME}/samples.png", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    error(server.get("/models/conditional/samples.png"), 404, "unknown_model")


def test_a_broken_model_keeps_readyz_red_and_the_server_up(half_broken: httpx.Client, tampered: Path) -> None:
    error(half_broken.get("/readyz"), 503, "not_ready")
    assert half_broken.get("/livez").status_code == 200
    response = half_broken.post("/sample", json={"model": "tampered"})
    told = error(response, 503, GoldenSampleMismatch.code)
    assert "golden sample" in told["message"]
    assert str(tampered) not in response.text
    by_name = {model["name"]: model for model in half_broken.get("/models").json()["models"]}
    assert not by_name["tampered"]["ready"]
    assert by_name["tampered"]["error"] == told
    assert by_name[NAME]["ready"]
    post(half_broken, "/sample", seed=0)


def test_a_damaged_file_is_told_without_the_path_of_the_server(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "copy")
    (tmp_path / "copy" / "generator.onnx").write_bytes(b"")
    models = Models()
    models.load(Settings(models=(str(tmp_path / "copy"),)))
    with pytest.raises(DigestMismatch, match=f"^{NAME}/generator.onnx is not the file") as refusal:
        _get(models, NAME)
    assert str(tmp_path) not in refusal.value.message + refusal.value.hint


def test_a_precision_that_a_model_lacks_is_the_servers_fault() -> None:
    models = Models()
    models.load(Settings(models=(NAME,), precision="fp17"))
    with pytest.raises(CheckpointError, match="no precision 'fp17'") as refusal:
        _get(models, NAME)
    assert refusal.value.status == 503


def test_of_two_models_of_one_name_the_first_is_served(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(checkpoint, tmp_path / "copy")
    models = Models()
    models.load(Settings(models=(NAME, str(tmp_path / "copy"))))
    assert models.ready
    assert [model.ready for model in models.describe()] == [True]
    assert models.find(NAME).directory == checkpoint
    assert "copy is not served" in caplog.text


def _large(directory: Path, name: str) -> str:
    """A tiny checkpoint with a name, and a network file that is padded with a comment to ``LARGE`` bytes."""
    import onnx
    from tiny_checkpoint import network, seal

    write_checkpoint(directory)
    model = network()
    model.doc_string = "x" * (LARGE - len(model.SerializeToString()) - 10)
    onnx.save(model, directory / "generator.onnx")
    seal(directory, name=name)
    return str(directory)


def test_the_model_used_longest_ago_makes_room(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    models = Models()
    room = 2 * SESSION_SIZE * LARGE // MEGABYTE + 1  # for two
    models.load(Settings(models=tuple(_large(tmp_path / name, name) for name in names), memory=room))
    assert _loaded(models) == ["a", "b"]
    assert models.ready
    held = _get(models, "a")
    _get(models, "c")
    assert _loaded(models) == ["a", "c"]
    _get(models, "b")
    assert _loaded(models) == ["b", "c"]
    assert held.generate(seed=0, output="numpy").shape == (1, 32, 32, 1)  # who holds one can still draw


def test_a_model_that_no_room_can_be_made_for_says_so(tmp_path: Path) -> None:
    models = Models()
    models.load(Settings(models=(_large(tmp_path / "a", "a"),), memory=3))
    with pytest.raises(CheckpointError, match="a takes 4 MB, more than this server's limit") as refusal:
        _get(models, "a")
    assert not models.ready
    assert "GAN_SERVE_MEMORY" in refusal.value.hint


def test_requests_at_the_same_time_load_a_model_once(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = Models()
    models.load(Settings(models=(str(checkpoint),), lazy=True))

    async def all_at_once() -> list[Generator]:
        return await asyncio.gather(*(models.get(NAME) for _ in range(8)))

    assert len({id(generator) for generator in asyncio.run(all_at_once())}) == 1


def _get(models: Models, name: str) -> Generator:
    return asyncio.run(models.get(name))


def _loaded(models: Models) -> list[str]:
    return [model.name for model in models.describe() if model.loaded]
