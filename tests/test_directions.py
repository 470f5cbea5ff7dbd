"""Directions in the latent space: stored with a checkpoint, used by offsets, checked as the files of strangers are."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tiny_checkpoint import write_checkpoint
from torch import nn

from gan_serve import Client, Generator
from gan_serve.checkpoint.config import CONFIG_FILE, LATENT_SPACE_FILE
from gan_serve.checkpoint.files import config_json, digest_files, read_config
from gan_serve.cli import cli
from gan_serve.errors import DigestMismatch, InvalidCheckpoint, InvalidOption
from gan_serve.exports.latent_space import DIRECTIONS, measure_latent_space, truncation_floor
from gan_serve.sampling.formats import encode
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.verify import verify_image

NAME = "fashion-dcgan"


def with_latent_space(directory: Path, content: str) -> Path:
    """Write ``latent_space.json`` and its digest into a checkpoint."""
    (directory / LATENT_SPACE_FILE).write_text(content)
    config = read_config(directory)
    files = config.files | {LATENT_SPACE_FILE: digest_files(directory)[LATENT_SPACE_FILE]}
    (directory / CONFIG_FILE).write_bytes(config_json(config.model_copy(update={"files": files})))
    return directory


def test_a_checkpoint_has_directions_ranked_by_their_change(generator: Generator) -> None:
    directions = generator.directions
    assert directions.shape == (6, generator.z_dim)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-4)
    assert (np.abs(directions @ directions.T - np.eye(6)) < 0.2).all()
    changes = [each.change for each in generator.latent_space.directions]
    assert changes == sorted(changes, reverse=True)
    assert changes[-1] > 10


def test_offsets_move_latents_along_directions(generator: Generator) -> None:
    expected = latents_from_seeds([3, 4], generator.z_dim).astype(np.float64)
    expected += np.array([[2.0, -1.5], [0, 3]]) @ generator.directions[:2].astype(np.float64)
    given = generator.generate(latents=expected.astype(np.float32), output="numpy")
    moved = generator.generate(seeds=[3, 4], offsets=[[2.0, -1.5], [0, 3]], output="numpy")
    assert np.abs(given.astype(int) - moved).max() <= 1
    alone = generator.generate(seeds=4, offsets=[0, 3], output="numpy")
    assert np.array_equal(alone[0], moved[1])
    none = generator.generate(seeds=4, offsets=[0, 0], output="numpy")
    assert np.array_equal(none, generator.generate(seeds=4, output="numpy"))


def test_the_receipt_of_a_moved_image_verifies(generator: Generator, tmp_path: Path) -> None:
    samples = generator.sample(seeds=[7, 8], offsets=[1.5, -2])
    for name, content in {"one": samples.png(1), "large": samples.png(0, 19), "grid": samples.grid_png(2, 3)}.items():
        path = tmp_path / f"{name}.png"
        path.write_bytes(content)
        assert verify_image(path).max_difference == 0
    with Image.open(tmp_path / "large.png") as image:
        assert image.size == (28 * 19, 28 * 19)
        pixels = np.asarray(image)[::19, ::19]
    assert np.array_equal(pixels, samples.pixels[0, ..., 0])


@pytest.mark.parametrize(
    "offsets",
    [[0] * 7, [21.0], [float("nan")], [], [[]], [[1], [2], [3]], "three", [["a"]], [[1], [1, 2]], 1.0, [[[1]]]],
)
def test_offsets_that_are_none_are_refused(generator: Generator, offsets: Any) -> None:
    with pytest.raises(InvalidOption):
        generator.generate(seeds=[1, 2], offsets=offsets)


def test_a_checkpoint_without_directions_has_none(tmp_path: Path) -> None:
    plain = Generator(write_checkpoint(tmp_path / "plain"))
    assert plain.directions.shape == (0, plain.z_dim)
    with pytest.raises(InvalidOption, match="no directions"):
        plain.generate(seeds=1, offsets=[1])


def good(z_dim: int) -> dict[str, Any]:
    vector = [1.0] + [0.0] * (z_dim - 1)
    return {"method": "by hand", "truncation_floor": 0.1, "directions": [{"vector": vector, "change": 3.0}]}


def test_the_file_of_a_stranger_is_checked(tmp_path: Path) -> None:
    directory = write_checkpoint(tmp_path / "model")
    z_dim = read_config(directory).z_dim
    with_latent_space(directory, json.dumps(good(z_dim)))
    assert Generator(directory).directions.tolist() == [good(z_dim)["directions"][0]["vector"]]
    direction = good(z_dim)["directions"][0]
    for wrong in (
        good(z_dim) | {"directions": [direction | {"vector": direction["vector"][1:]}]},
        good(z_dim) | {"directions": [direction | {"vector": [1e9] * z_dim}]},
        good(z_dim) | {"directions": [direction | {"change": -1}]},
        good(z_dim) | {"directions": [direction] * 17},
        good(z_dim) | {"truncation_floor": 2},
        good(z_dim) | {"more": 1},
        [1, 2],
    ):
        with_latent_space(directory, json.dumps(wrong))
        with pytest.raises(InvalidCheckpoint):
            _ = Generator(directory).directions
    for text in ('{"method": "a", "truncation_floor": NaN}', "{", '{"method": "\\u001b[2J"}'):
        with_latent_space(directory, text)
        with pytest.raises(InvalidCheckpoint):
            _ = Generator(directory).directions
    with_latent_space(directory, json.dumps(good(z_dim)))
    (directory / LATENT_SPACE_FILE).write_text(json.dumps(good(z_dim) | {"method": "altered"}))
    with pytest.raises(DigestMismatch):
        _ = Generator(directory).directions


class Linear(nn.Module):
    """A first layer whose principal directions are known: it stretches the first numbers of z most."""

    z_dim, c_dim, truncation_space = 12, 0, "z"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 12, bias=False)
        self.layer.weight.data = torch.diag(torch.arange(12.0, 0, -1))

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        return self.layer(z)


def test_the_directions_of_a_linear_layer_are_its_singular_vectors() -> None:
    network = Linear()

    def images(latents: Any, _classes: Any, _truncation: float) -> Any:
        values = network(torch.from_numpy(np.asarray(latents, np.float32))).detach().numpy()
        return np.clip(128 + values, 0, 255).astype(np.uint8)[:, None, :, None].repeat(2, axis=1)

    space = measure_latent_space(network, images)
    assert len(space.directions) == DIRECTIONS
    for place, direction in enumerate(space.directions):
        assert abs(direction.vector[place]) > 0.9


def test_the_truncation_floor_is_where_images_become_noise() -> None:
    random = np.random.RandomState(0)
    smooth = np.tile(np.linspace(0, 255, 16), (4, 16, 1))[..., None].astype(np.uint8)
    noise = random.randint(0, 256, (4, 16, 16, 1)).astype(np.uint8)
    assert truncation_floor(lambda truncation: smooth if truncation >= 0.35 else noise) == pytest.approx(0.35)
    assert truncation_floor(lambda truncation: smooth) == 0


def test_the_service_takes_offsets_and_sends_raw_pixels(server: httpx.Client, generator: Generator) -> None:
    body = {"model": NAME, "seeds": [3, 3, 3], "offsets": [[-2], [0], [2]], "format": "raw"}
    response = server.post("/sample", json=body)
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["x-gan-serve-shape"] == "3,28,28,1"
    expected = generator.generate(seeds=[3, 3, 3], offsets=[[-2], [0], [2]], output="numpy")
    assert response.content == expected.tobytes()
    plain = server.post("/sample", json=body, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == expected.tobytes()
    for wrong in ([0] * 17, "up", [[1], [2]], [100]):
        refused = server.post("/sample", json=body | {"offsets": wrong})
        assert refused.status_code in (400, 422), wrong
        assert refused.json()["error"]["message"]
    assert server.post("/sample", json=body | {"scale": 2}).json()["error"]["code"] == "invalid_option"


def test_scale_is_bounded_before_anything_is_sampled(server: httpx.Client) -> None:
    body = {"model": NAME, "seeds": "0-1023", "format": "png"}
    refused = server.post("/sample", json=body | {"scale": 64})
    assert refused.json()["error"]["code"] == "too_many_images"
    large = server.post("/interpolate", json={"model": NAME, "seeds": [1, 2], "steps": 2, "scale": 19})
    with Image.open(io.BytesIO(large.content)) as animation:
        assert animation.size == (532, 532)


def test_the_client_sends_offsets(server: httpx.Client, generator: Generator) -> None:
    with Client(str(server.base_url)) as ours:
        moved = ours.generate(NAME, seeds=[1, 2], offsets=[[1], [-1]], output="numpy")
        sheet = ours.generate(NAME, seeds=[5, 6], offsets=[2, 2])
    assert np.array_equal(moved, generator.generate(seeds=[1, 2], offsets=[[1], [-1]], output="numpy"))
    assert np.array_equal(np.asarray(sheet[1]), generator.generate(seeds=6, offsets=[2, 2], output="numpy")[0, ..., 0])


def test_raw_is_the_pixels_alone(generator: Generator) -> None:
    samples = generator.sample(3, seed=1)
    assert encode(samples, "raw") == samples.pixels.tobytes()
    assert len(gzip.compress(encode(samples, "raw"), 1)) < samples.pixels.size
    assert hashlib.sha256(encode(samples, "gif", scale=2)).digest() != hashlib.sha256(encode(samples, "gif")).digest()


def test_the_command_lists_directions_and_shows_them(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = run(cli, ["directions", NAME])
    assert listed.exit_code == 0
    assert len(listed.output.splitlines()) == 7
    assert "GANSpace" in listed.output
    assert len(json.loads(run(cli, ["directions", NAME, "--json"]).output)["directions"]) == 6
    out = tmp_path / "directions.png"
    assert run(cli, ["directions", NAME, "--seed", "3", "--out", str(out)]).exit_code == 0
    assert verify_image(out).max_difference == 0
    moved = tmp_path / "moved.png"
    command = ["generate", NAME, "--seeds", "3", "--offsets=-2,1", "--scale", "4", "--out", str(moved)]
    assert run(cli, command).exit_code == 0
    assert verify_image(moved).receipt.scale == 4


def test_the_sheet_of_a_direction_has_a_row_for_each_seed(generator: Generator, tmp_path: Path) -> None:
    samples = generator.sample_direction(1, "3-4", steps=5, reach=2)
    assert samples.columns == 5
    middle = generator.generate(seeds=[3, 4], output="numpy")
    assert np.abs(samples.pixels[[2, 7]].astype(int) - middle).max() <= 1
    end = generator.generate(seeds=[4], offsets=[0, 2], output="numpy")
    assert np.array_equal(samples.pixels[9], end[0])
    (tmp_path / "sheet.png").write_bytes(samples.grid_png())
    assert verify_image(tmp_path / "sheet.png").max_difference == 0


def test_a_walk_along_a_direction_is_a_walk_between_two_latents(generator: Generator) -> None:
    keys = generator.direction_keys(0, 7, reach=3)
    frames = generator.interpolate(keys, steps=2, method="lerp", output="numpy")
    assert np.abs(frames[1].astype(int) - generator.generate(seed=7, output="numpy")[0]).max() <= 1
    moved = generator.generate(seeds=[7, 7], offsets=[[-3], [3]], output="numpy")
    assert np.abs(frames[[0, 2]].astype(int) - moved).max() <= 1
    np.testing.assert_allclose(generator.direction_keys(0, keys[0], 1).mean(0), keys[0], atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [{"direction": 6}, {"direction": -1}, {"direction": 0, "steps": 1}, {"direction": 0, "reach": 0}],
)
def test_wrong_directions_are_refused(generator: Generator, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        generator.sample_direction(**wrong)


def test_the_command_writes_a_sheet_for_each_direction(cli: Any, tmp_path: Path) -> None:
    words = ["directions", "mnist-cgan", "--seeds", "0-1", "--label", 7, "--sheet", tmp_path / "sheets"]
    assert cli(*words).code == 0
    assert [path.name for path in sorted((tmp_path / "sheets").iterdir())] == [f"direction-{n}.png" for n in range(6)]
    out = tmp_path / "walk.png"
    assert cli("interpolate", NAME, "--seeds", 7, "--direction", 2, "--steps", 4, "--out", out).code == 0
    assert cli("verify", out).code == 0
    outcome = cli("interpolate", NAME, "--seeds", "7,8", "--direction", 2, "--out", out)
    assert (outcome.code, "one key, not 2" in outcome.err) == (1, True)
