"""Style mixing from Python, the command line and HTTP: which seed each image follows, and its receipt."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from answers import npz
from clients import AwaitedClient
from PIL import Image
from servers import running

from gan_serve import Client, Generator
from gan_serve.errors import InvalidOption, InvalidSeeds, ReceiptError, TooManyImages, UnknownLabel
from gan_serve.sampling.receipt import Receipt, read_receipt
from gan_serve.verify import verify_image

NAME = "fashion-stylegan"
MAX_IMAGES = 5


@pytest.fixture(scope="module")
def styled() -> Generator:
    return Generator.from_pretrained(NAME, device="cpu")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = {"GAN_SERVE_MAX_IMAGES": str(MAX_IMAGES), "GAN_SERVE_DRAIN": "0"}
    with running([NAME, "fashion-dcgan"], tmp_path_factory.mktemp("server"), **settings) as http:
        yield str(http.base_url)


@pytest.fixture(params=[Client, AwaitedClient], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, address: str) -> Iterator[Client]:
    with request.param(address) as client:
        yield client


def test_at_the_ends_all_layers_follow_one_of_the_seeds(styled):
    layers = styled.style_layers
    assert layers == 8
    none, every = (styled.mix("0-1", "5-7", crossover=at, output="numpy") for at in (layers, 0))
    np.testing.assert_array_equal(none, styled.generate(seeds="0-1", output="numpy").repeat(3, 0))
    np.testing.assert_array_equal(every, np.tile(styled.generate(seeds="5-7", output="numpy"), (2, 1, 1, 1)))


def test_a_mix_is_another_image_and_a_row_shares_its_coarse_seed(styled):
    mixed = styled.mix("0-1", "5-7", output="numpy").astype(int)
    plain = styled.generate(seeds="0-1", output="numpy").repeat(3, 0).astype(int)
    fine = np.tile(styled.generate(seeds="5-7", output="numpy"), (2, 1, 1, 1)).astype(int)
    assert (np.abs(mixed - plain).mean(axis=(1, 2, 3)) > 1).all()
    assert (np.abs(mixed - fine).mean(axis=(1, 2, 3)) > 1).all()
    later = styled.mix("0-1", "5-7", crossover=6, output="numpy").astype(int)
    assert np.abs(later - plain).mean() < np.abs(mixed - plain).mean()


def test_a_batch_holds_mixes_and_plain_images_side_by_side(styled):
    mix, plain = styled.mix_request(0, "5-6", truncation=0.7), styled.sample_request(seeds="3-4")
    both = styled.run(plain, mix, plain)
    np.testing.assert_array_equal(both[2:4], styled.mix(0, "5-6", truncation=0.7, output="numpy"))
    np.testing.assert_array_equal(
        both[[0, 1, 4, 5]], np.tile(styled.generate(seeds="3-4", output="numpy"), (2, 1, 1, 1))
    )


def test_the_receipt_makes_the_image_again(styled, tmp_path):
    [image] = styled.mix(3, 9, crossover=5)
    assert image.info["gan_serve"]["seed"] == 3
    assert image.info["gan_serve"]["mix"] == {"seeds": [9], "crossover": 5}
    image.save(tmp_path / "one.png")
    (tmp_path / "sheet.png").write_bytes(styled.sample_mix("0-1", "5-7").grid_png())
    for name in ("one.png", "sheet.png"):
        assert verify_image(tmp_path / name).max_difference == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (3 * 34 + 2, 2 * 34 + 2)


def test_a_receipt_with_another_second_seed_is_refused(styled, tmp_path):
    samples = styled.sample_mix(3, 9)
    other = samples.receipt(0).model_copy(update={"mix": samples.mix.model_copy(update={"seeds": [8]})})
    image = samples.images()[0]
    image.info["gan_serve"] = other.seal(samples.pixels[0]).as_dict()
    image.save(tmp_path / "forged.png")
    with pytest.raises(ReceiptError, match="not the image"):
        verify_image(tmp_path / "forged.png")
    with pytest.raises(ValueError, match="a seed for each image"):
        Receipt.model_validate(samples.receipt(0).as_dict() | {"mix": {"seeds": [8, 9], "crossover": 4}})


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (("x", 1), {}, InvalidSeeds, "not a seed"),
        ((0, 1), {"crossover": -1}, InvalidOption, "from 0 on"),
        ((0, 1), {"crossover": 9}, InvalidOption, "no layer 9.*to 8"),
        ((0, 1), {"crossover": 2.5}, InvalidOption, "crossover"),
        (("0-999", "0-999"), {}, TooManyImages, "1,000,000 images"),
        ((0, 1), {"label": "Bag"}, UnknownLabel, "not conditional"),
        ((0, 1), {"crosover": 3}, TypeError, "crossover"),
    ],
)
def test_errors(styled, arguments, options, error, words):
    with pytest.raises(error, match=words):
        styled.mix(*arguments, **options)


def test_a_network_without_styles_says_so(generator):
    assert generator.style_layers is None
    with pytest.raises(InvalidOption, match=r"no inputs z_mix and crossover.*recipe stylegan"):
        generator.mix(0, 1)


def test_the_clients_give_the_images_of_the_generator_also_in_parts(client, styled):
    for coarse, fine in (("0-1", "5-6"), ([4, 0, 1], "5-6"), (0, "5-12")):  # 4, 6 and 8 images; the limit is 5
        expected = styled.mix(coarse, fine, crossover=3, truncation=0.8)
        found = client.mix(NAME, coarse, fine, crossover=3, truncation=0.8)
        assert [image.info for image in found] == [image.info for image in expected]
        pixels: Any = client.mix(NAME, coarse, fine, crossover=3, truncation=0.8, output="numpy")
        np.testing.assert_array_equal(pixels, [np.asarray(image)[..., None] for image in expected])


def test_a_download_is_the_sheet(client, styled, tmp_path):
    content = client.download("mix", NAME, tmp_path / "sheet.png", coarse=[0, 1], fine="5-6")
    assert content == styled.sample_mix("0-1", "5-6").grid_png()
    arrays = npz(type("Response", (), {"content": client.download("mix", NAME, coarse=0, fine="5-6", format="npz")}))
    assert arrays["seeds"].tolist() == [0, 0]
    assert arrays["mix_seeds"].tolist() == [5, 6]


def test_the_example_of_docs_json_works(address):
    with httpx.Client(base_url=address) as http:
        content = http.get("/docs.json").json()["paths"]["/mix"]["post"]["requestBody"]["content"]["application/json"]
        [example] = content["examples"].values()
        assert example["value"]["model"] == NAME
        smaller = example["value"] | {"coarse": "0-1", "fine": "4-5"}  # this server samples five images at most
        assert http.post("/mix", json=smaller).status_code == 200


def test_errors_of_the_server(client):
    with pytest.raises(InvalidOption, match="cannot mix styles"):
        client.mix("fashion-dcgan", 0, 1)
    with pytest.raises(InvalidOption, match="no layer 9"):
        client.mix(NAME, 0, 1, crossover=9)
    assert client.model(NAME)["style_layers"] == 8


def test_the_command_writes_a_sheet_or_a_folder(cli, styled, tmp_path):
    sheet, folder = tmp_path / "sheet.png", tmp_path / "images.zip"
    assert cli("mix", NAME, "--coarse", "0-1", "--fine", "5-6", "--out", sheet).code == 0
    assert sheet.read_bytes() == styled.sample_mix("0-1", "5-6").grid_png()
    with Image.open(sheet) as image:
        assert read_receipt(image).mix is not None
    assert cli("mix", NAME, "--coarse", "0", "--fine", "5-6", "--crossover", 2, "--out", folder).code == 0
    with zipfile.ZipFile(io.BytesIO(folder.read_bytes())) as archive:
        assert len(archive.namelist()) == 2
    refused = cli("mix", "fashion-dcgan", "--coarse", "0", "--fine", "1", "--out", Path("x.png"))
    assert refused.code == 1
    assert "cannot mix styles" in refused.err
