"""The same latents under each label, in Python, in files and on the command line."""

from __future__ import annotations

import io
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conditional_checkpoint import CLASSES, SIZE, level, write_conditional
from PIL import Image

import gan_serve
from gan_serve import Generator, UnknownLabel
from gan_serve.atomic_files import write_atomically
from gan_serve.errors import InvalidLatents, InvalidOption, InvalidSeeds, InvalidTruncation, TooManyImages
from gan_serve.images.grid import cut_grid
from gan_serve.images.pixels import from_pil
from gan_serve.sampling.formats import encode, folder_names
from gan_serve.verify import verify_image


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_conditional(tmp_path_factory.mktemp("conditional"))


@pytest.fixture(scope="module")
def conditional(directory: Path) -> Generator:
    return Generator.from_pretrained(directory)


def test_each_label_gets_the_same_latents(conditional, directory):
    images = conditional.condition(3, seed=5, output="numpy")
    assert list(images) == list(CLASSES)
    for number, name in enumerate(CLASSES):
        assert images[name][:, 0, 0, 0].tolist() == [level(seed, number) for seed in (5, 6, 7)]
        np.testing.assert_array_equal(images[name], conditional.generate(3, seed=5, label=name, output="numpy"))
    of_the_package = gan_serve.condition(directory, 3, seed=5, output="numpy")
    np.testing.assert_array_equal(of_the_package["Bag"], images["Bag"])


def test_pillow_images_tell_seed_and_label(directory):
    images = gan_serve.condition(directory, seeds="3,9", truncation=0.5)
    told = {name: [(image.info["gan_serve"]["seed"], image.info["gan_serve"]["label"]) for image in images[name]]
            for name in images}  # fmt: skip
    assert told == {"Bag": [(3, "Bag"), (9, "Bag")], "Ankle boot": [(3, "Ankle boot"), (9, "Ankle boot")]}


def test_a_draw_at_random_is_the_same_under_each_label(conditional):
    samples = conditional.sample_condition(4)
    assert samples.seeds[:4] == samples.seeds[4:]


def test_latents_may_be_given(conditional):
    images = conditional.condition(latents=np.array([[1.0, 0], [2, 0]]), truncation=0.5, output="numpy")
    assert images["Ankle boot"][:, 0, 0, 0].tolist() == [105, 110]


def test_labels_are_drawn_in_the_order_given(conditional):
    assert list(conditional.condition(labels=[1, "Bag"])) == ["Ankle boot", "Bag"]
    assert list(conditional.condition(labels="Ankle boot")) == ["Ankle boot"]
    assert list(conditional.condition(labels=np.array([1]))) == ["Ankle boot"]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["Bag", "Bag"], "'Bag' is given twice"),
        (["Bag", 0], "'Bag' is given twice"),
        ([], "list of labels is empty"),
        (["Boot"], "Bag, Ankle boot"),
        ("bag", "Bag, Ankle boot"),
        (2, "Bag, Ankle boot"),
        ([None], "Bag, Ankle boot"),
        ([["Bag"]], "Bag, Ankle boot"),
    ],
)
def test_other_labels_are_refused(conditional, labels, says):
    with pytest.raises(UnknownLabel, match=says) as error:
        conditional.condition(seeds=[0, 1], labels=labels)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("labels", [None, "Bag", ["Bag"], [0]])
def test_a_model_without_labels_refuses(generator, labels):
    with pytest.raises(UnknownLabel, match="has no labels"):
        generator.condition(labels=labels)


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        ({"n": 0}, InvalidSeeds),
        ({"n": 2, "seeds": [1]}, InvalidSeeds),
        ({"latents": np.zeros((1, 2)), "seed": 3}, InvalidOption),
        ({"latents": np.zeros((1, 3))}, InvalidLatents),
        ({"truncation": 2}, InvalidTruncation),
        ({"output": "jpeg"}, InvalidOption),
        ({"n": 50_001}, TooManyImages),
    ],
)
def test_bad_requests_are_refused(conditional, wish, error):
    with pytest.raises(error):
        conditional.condition(**wish)


def test_the_png_is_a_sheet_with_a_row_a_label(conditional, directory, tmp_path):
    samples = conditional.sample_condition(3, seed=5)
    path = write_atomically(tmp_path / "sheet.png", encode(samples, "png"))
    with Image.open(path) as image:
        assert image.size == (3 * (SIZE + 2) + 2, 2 * (SIZE + 2) + 2)
        np.testing.assert_array_equal(cut_grid(from_pil(image), 6, 3), samples.pixels)
    assert verify_image(path, directory).receipt.columns == 3


@pytest.mark.parametrize(
    "draw",
    [
        lambda g: g.sample_condition(3, seed=5, truncation=0.5).grid_png(),
        lambda g: g.sample_condition(3, seed=5).grid_png(columns=2),
        lambda g: g.sample_condition(3, seed=5).png(4),
        lambda g: g.sample_condition(latents=np.eye(2)).grid_png(),
        lambda g: g.sample_condition(seeds=7, labels=1).grid_png(),
        lambda g: g.sample_condition(seeds=7).grid_png(),
    ],
)
def test_every_png_can_be_made_again_from_its_receipt(conditional, directory, tmp_path, draw):
    path = write_atomically(tmp_path / "image.png", draw(conditional))
    assert verify_image(path, directory).max_difference == 0


def test_a_zip_has_a_folder_for_each_label(conditional):
    with zipfile.ZipFile(io.BytesIO(encode(conditional.sample_condition(seeds=[4, 8]), "zip"))) as archive:
        names = archive.namelist()
        last = from_pil(Image.open(io.BytesIO(archive.read(names[-1]))))
    assert names == [
        "Bag/00000-seed4.png",
        "Bag/00001-seed8.png",
        "Ankle_boot/00000-seed4.png",
        "Ankle_boot/00001-seed8.png",
    ]
    assert last[0, 0, 0] == level(8, 1)


def test_a_zip_of_plain_samples_has_no_folders(conditional):
    with zipfile.ZipFile(io.BytesIO(encode(conditional.sample(2, seed=4), "zip"))) as archive:
        assert archive.namelist() == ["00000-seed4.png", "00001-seed5.png"]


def test_npz_names_seed_and_label_of_each_image(conditional):
    arrays = np.load(io.BytesIO(encode(conditional.sample_condition(seeds=[4, 8]), "npz")))
    assert arrays["seeds"].tolist() == [4, 8, 4, 8]
    assert arrays["labels"].tolist() == ["Bag", "Bag", "Ankle boot", "Ankle boot"]
    assert arrays["images"].shape == (4, SIZE, SIZE, 1)


def test_folders_have_names_that_every_file_system_takes():
    labels = ["T-shirt/top", "..", "", "a b", "a/b", "A:B", "con", "NUL.txt", "x" * 200, "x" * 199, "猫", "a\\b", ".x."]
    folders = list(folder_names(labels).values())
    assert len({folder.casefold() for folder in folders}) == len(labels)
    for folder in folders:
        assert folder == Path(folder).name
        assert not set(folder) & set('/\\:*?"<>| ')
        assert not folder.startswith(".")
        assert not folder.endswith(".")
        assert 0 < len(folder) < 60
    assert {"T-shirt_top", "_con", "猫"} < set(folders)


def test_the_command_draws_a_sheet_that_verifies(cli, directory, tmp_path):
    out = tmp_path / "sheet.png"
    outcome = cli("condition", directory, "--seeds", "0-7", "--out", out)
    assert (outcome.code, outcome.out) == (0, f"{out}\n")
    assert outcome.err.startswith("16 images")
    outcome = cli("verify", out, "--model", directory)
    assert outcome.code == 0
    assert "bit-equal" in outcome.out


def test_the_command_writes_a_folder_for_each_label_and_tells_the_seeds_once(cli, directory, tmp_path):
    outcome = cli("condition", directory, "-n", 2, "--label", 1, "--label", "Bag", "--out-dir", tmp_path / "out")
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == ["Ankle_boot", "Bag"]
    again = shlex.split(outcome.err.partition("Again: ")[2])
    first, last = map(int, again[again.index("--seeds") + 1].split("-"))
    assert last == first + 1
    with Image.open(tmp_path / "out" / "Ankle_boot" / f"00001-seed{last}.png") as image:
        assert from_pil(image)[0, 0, 0] == level(last, 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--label", "Bagg"], "Did you mean 'Bag'?"),
        (["--label", "Bag", "--label", "0"], "given twice"),
        (["--seeds", "5-1"], 'Write "1-5"'),
        (["--out-dir", "x"], "either --out or --out-dir"),
    ],
)
def test_mistakes_on_the_command_line_are_one_clear_error(cli, directory, tmp_path, arguments, says):
    outcome = cli("condition", directory, *arguments, "--out", tmp_path / "a.png")
    assert outcome.code == 1
    assert says in outcome.err
    assert not list(tmp_path.iterdir())
