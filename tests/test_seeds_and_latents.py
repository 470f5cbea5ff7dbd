"""Lists of seeds and latents: in Python, on the command line, over HTTP, and in receipts."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from clients import AwaitedClient
from PIL import Image

from gan_serve import Client, Generator
from gan_serve.errors import InvalidLatents, InvalidOption, InvalidSeeds, UnknownLabel
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.seeds_and_latents import key_latents, parse_keys, unpack_latent
from gan_serve.verify import verify_image

STYLED = "fashion-stylegan"


@pytest.fixture(scope="module")
def styled() -> Generator:
    return Generator.from_pretrained(STYLED, device="cpu")


@pytest.fixture(scope="module")
def latents(generator: Generator) -> np.ndarray:
    return np.random.RandomState(1).standard_normal((3, generator.z_dim)).astype(np.float32)


@pytest.fixture
def address(server: httpx.Client) -> str:
    return str(server.base_url)


@pytest.fixture(params=[Client, AwaitedClient], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, address: str) -> Iterator[Client]:
    with request.param(address) as client:
        yield client


def test_a_list_may_have_seeds_and_latents(latents: np.ndarray) -> None:
    keys = parse_keys([7, latents[0], latents[1].tolist(), np.int64(3)])
    assert (keys[0], keys[3]) == (7, 3)
    assert np.array_equal(unpack_latent(keys[1]), latents[0])
    rows = key_latents(keys, latents.shape[1])
    assert np.array_equal(rows[:2], [latents_from_seeds([7], 100)[0], latents[0]])
    assert parse_keys(latents) == parse_keys(list(latents))
    assert parse_keys(iter([1, 2])) == [1, 2]


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ([7, [1.0, float("nan")]], InvalidLatents),
        ([7, []], InvalidLatents),
        ([7, ["a"]], InvalidLatents),
        ([7, [[1.0]]], InvalidLatents),
        ([[1.0], "a"], InvalidSeeds),
        ([[1.0], -1], InvalidSeeds),
        ([[1.0], 1.5], InvalidSeeds),
        (np.zeros((0, 4)), InvalidSeeds),
        (np.zeros((1, 2, 4)), InvalidSeeds),
    ],
)
def test_what_is_neither_is_refused(keys: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_keys(keys)


def test_generate_takes_mixed_lists(generator: Generator, latents: np.ndarray) -> None:
    pixels = generator.generate(seeds=[7, latents[0], 9], output="numpy")
    assert np.array_equal(pixels[[0, 2]], generator.generate(seeds=[7, 9], output="numpy"))
    assert np.array_equal(pixels[1], generator.generate(latents=latents[:1], output="numpy")[0])
    with pytest.raises(InvalidLatents, match="101"):
        generator.generate(seeds=[7, [0.0] * 101])
    with pytest.raises(InvalidSeeds):
        generator.generate(n=2, seeds=[7, latents[0]])


def test_a_walk_passes_through_seeds_and_latents(generator: Generator, latents: np.ndarray, tmp_path: Path) -> None:
    samples = generator.sample_walk([0, latents[0], 9], steps=3)
    assert np.array_equal(samples.pixels[[0, 6]], generator.generate(seeds=[0, 9], output="numpy"))
    assert np.array_equal(samples.pixels[3], generator.generate(latents=latents[:1], output="numpy")[0])
    for name, content in {"frame": samples.png(4), "strip": samples.grid_png()}.items():
        (tmp_path / f"{name}.png").write_bytes(content)
        assert verify_image(tmp_path / f"{name}.png").max_difference == 0
    with pytest.raises(InvalidLatents):
        generator.interpolate([0, [1.0, 2.0]])
    with pytest.raises(InvalidOption, match="at least two"):
        generator.interpolate(latents[:1])


def test_a_walk_between_labels_has_the_label_of_the_nearer_key(tmp_path: Path) -> None:
    cgan = Generator.from_pretrained("fashion-cgan", device="cpu")
    samples = cgan.sample_walk([5, 5, 6], steps=4, label=["Bag", "Coat", 9])
    assert samples.labels == ["Bag"] * 3 + ["Coat"] * 4 + ["Ankle boot"] * 2
    assert np.array_equal(samples.pixels[2], cgan.generate(seed=5, label="Bag", output="numpy")[0])
    (tmp_path / "strip.png").write_bytes(samples.grid_png())
    assert verify_image(tmp_path / "strip.png").max_difference == 0
    looped = cgan.sample_walk([5, 6], steps=4, loop=True, label=["Bag", "Coat"])
    assert looped.labels == ["Bag"] * 3 + ["Coat"] * 4 + ["Bag"]
    with pytest.raises(UnknownLabel):
        cgan.sample_walk([5, 6], label=["Bag"])


def test_latents_may_have_offsets_in_w(styled: Generator, tmp_path: Path) -> None:
    z = latents_from_seeds([3, 4], styled.z_dim)
    still = np.concatenate([z, np.zeros((2, styled.w_dim), np.float32)], axis=1)
    assert np.array_equal(styled.generate(latents=still, output="numpy"), styled.generate(seeds=[3, 4], output="numpy"))
    moved = still.copy()
    moved[:, styled.z_dim :] = 0.5
    samples = styled.sample(latents=moved)
    assert (np.abs(samples.pixels.astype(int) - styled.generate(seeds=[3, 4], output="numpy")) > 20).any()
    walk = styled.sample_walk([3, moved[1]], steps=2)
    assert np.array_equal(walk.pixels[2], samples.pixels[1])
    assert np.array_equal(walk.pixels[0], styled.generate(seed=3, output="numpy")[0])
    for name, content in {"one": samples.png(0), "grid": samples.grid_png(), "walk": walk.grid_png()}.items():
        (tmp_path / f"{name}.png").write_bytes(content)
        assert verify_image(tmp_path / f"{name}.png", STYLED).max_difference == 0
    joined = styled.run(styled.sample_request(seeds=3), styled.sample_request(latents=moved))
    assert np.array_equal(joined[1:], samples.pixels)


def test_other_networks_take_no_offsets_in_w(generator: Generator) -> None:
    assert generator.w_dim == 0
    with pytest.raises(InvalidLatents, match="200"):
        generator.generate(latents=np.zeros((1, 200)))


def test_the_server_and_the_clients_take_them(
    client: Client, address: str, generator: Generator, latents: np.ndarray
) -> None:
    expected = generator.generate(seeds=[7, latents[0]], output="numpy")
    assert np.array_equal(client.generate("fashion-dcgan", seeds=[7, latents[0]], output="numpy"), expected)
    frames = client.interpolate("fashion-dcgan", [7, latents[0]], steps=2, output="numpy")
    assert np.array_equal(frames, generator.interpolate([7, latents[0]], steps=2, output="numpy"))
    streamed = list(client.iter_frames("fashion-dcgan", [7, latents[0]], steps=2))
    assert streamed[0].image.info["gan_serve"]["walk"]["seeds"] == parse_keys([7, latents[0]])
    body = {"model": "fashion-dcgan", "seeds": [7, latents[0].tolist()], "steps": 2}
    response = httpx.post(f"{address}/interpolate", json=body, timeout=60)
    assert response.status_code == 200
    assert "x-gan-serve-seeds" not in response.headers
    refused = httpx.post(f"{address}/sample", json={"model": "fashion-dcgan", "seeds": [7, [1.0]]}, timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_latents")


def found_file(path: Path, generator: Generator, latents: np.ndarray, **more: object) -> Path:
    digest = f"sha256:{generator.config.files['generator.onnx'].sha256}"
    np.savez(path, latents=latents, model=generator.name, digest=digest, **more)
    return path


def test_the_command_line_reads_a_file(cli, tmp_path: Path, generator: Generator, latents: np.ndarray) -> None:
    file = found_file(tmp_path / "found.npz", generator, latents)
    assert cli("generate", "fashion-dcgan", "--latents", file, "--out", tmp_path / "all.npz").code == 0
    assert np.array_equal(np.load(tmp_path / "all.npz")["latents"], latents)
    out = tmp_path / "walk.png"
    outcome = cli("interpolate", "fashion-dcgan", "--seeds", "0,@1-2,9", "--latents", file, "--steps", 2, "--out", out)
    assert outcome.code == 0
    assert f"--latents {file}" in outcome.err
    with Image.open(out) as image:
        keys = json.loads(image.text["gan_serve"])["walk"]["seeds"]
    assert keys == parse_keys([0, latents[1], latents[2], 9])
    assert cli("verify", out).code == 0
    again = cli("generate", "fashion-dcgan", "--latents", file, "--seeds", "@0,@7", "--out", tmp_path / "x.png")
    assert (again.code, "no latent @7" in again.err) == (1, True)


def test_labels_of_a_file_are_those_of_its_latents(cli, tmp_path: Path) -> None:
    cgan = Generator.from_pretrained("fashion-cgan", device="cpu")
    file = found_file(tmp_path / "found.npz", cgan, latents_from_seeds([1, 2], 100), labels=["Bag", "Coat"])
    assert cli("generate", "fashion-cgan", "--latents", file, "--out", tmp_path / "a.npz").code == 0
    assert np.load(tmp_path / "a.npz")["labels"].tolist() == ["Bag", "Coat"]
    expected = cgan.generate(seeds=[1, 2], label=["Bag", "Coat"], output="numpy")
    assert np.array_equal(np.load(tmp_path / "a.npz")["images"], expected)
    words = ["generate", "fashion-cgan", "--latents", file, "--label", "Bag", "--out", tmp_path / "b.npz"]
    assert cli(*words).code == 0
    assert np.load(tmp_path / "b.npz")["labels"].tolist() == ["Bag", "Bag"]


def bomb() -> bytes:
    """Return an .npz whose array claims 4 GB in its header."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**7, 100)})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("latents.npy", header.getvalue() + b"\0" * 100)
    return out.getvalue()


def pickled() -> bytes:
    out = io.BytesIO()
    np.savez(out, latents=np.array([{"a": 1}], object))
    return out.getvalue()


def other_name() -> bytes:
    out = io.BytesIO()
    np.savez(out, images=np.zeros((2, 100)))
    return out.getvalue()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", bomb(), pickled(), other_name()])
def test_a_file_without_latents_is_one_clear_error(content: bytes, cli, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    outcome = cli("generate", "fashion-dcgan", "--latents", tmp_path / "x.npz", "--out", tmp_path / "x.png")
    assert outcome.code == 1
    assert outcome.err.startswith("Error: ")
    assert "x.npz has no latents" in outcome.err
    assert not (tmp_path / "x.png").exists()


def test_the_latents_of_another_model_are_refused(cli, tmp_path: Path, generator: Generator, latents) -> None:
    file = found_file(tmp_path / "found.npz", generator, latents)
    outcome = cli("generate", "fashion-cgan", "--latents", file, "--out", tmp_path / "x.png")
    assert (outcome.code, "another checkpoint, 'fashion-dcgan'" in outcome.err) == (1, True)
