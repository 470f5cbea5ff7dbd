"""docs/zoo.py: every table of the zoo can be made, and the page shows what is there."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conditional_checkpoint import SIZE, level
from PIL import Image
from tiny_checkpoint import SIDE, pixels
from training_runs import SMALL
from zoo_lists import ZOO
from zoo_program import PROGRAM, load_program, run, write_zoo

from gan_serve import Generator
from gan_serve.cli import cli as gan_serve_command
from gan_serve.exports.export import export_run
from gan_serve.images.grid import GRID_GAP, cut_grid
from gan_serve.training.config import make_config, parse_settings
from gan_serve.training.loop import train
from gan_serve.training.translation.settings import make_translation_config

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def zoo() -> ModuleType:
    return load_program()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_zoo(tmp_path)


@pytest.fixture
def page(zoo: ModuleType, folder: Path) -> str:
    result = run(
        zoo, "page", "--checkpoints", folder / "checkpoints", "--docs", folder / "docs", "--zoo", folder / "zoo.toml"
    )
    assert result.exit_code == 0, result.output
    return (folder / "docs" / "zoo.md").read_text()


def section(page: str, name: str) -> str:
    return page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def shown(path: Path, scale: int = 1) -> np.ndarray:
    """The pixels of a picture of the page, uint8 [H, W, 1], at the size that they were drawn in."""
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)[::scale, ::scale, None]


# The zoo itself


def test_every_table_of_the_zoo_is_a_run_that_can_start(zoo):
    for name, entry in zoo.read_zoo(ROOT / "docs" / "zoo.toml").items():
        commands = entry.commands(name)
        typed = {words[0]: options_of(words) for words in commands}
        train = typed["train"]
        settings = {key: train[key] for key in ("data", "kimg", "labels") if train[key] is not None}
        if entry.translates:
            assert list(typed) == ["train", "export"]
            make_translation_config(train["recipe"], settings | parse_settings(train["pairs"]))
            continue
        assert list(typed) == ["train", "export", "evaluate"]
        config = make_config(train["recipe"], settings | parse_settings(train["pairs"]))
        assert config.conditional or not name.endswith("-cgan"), name
        assert typed["evaluate"]["data"] == train["data"]


@pytest.mark.parametrize("name", ZOO)
def test_what_a_checkpoint_does_not_reach_is_said_in_its_card(zoo, name):
    """Every metric that must be reached was measured, and the card has the table of today's bounds and values."""
    entry, directory = zoo.read_zoo(ROOT / "docs" / "zoo.toml")[name], ROOT / "gan_serve" / "checkpoints" / name
    metrics = json.loads((directory / "metrics.json").read_text())
    card = (directory / "README.md").read_text()
    for must in entry.must:
        value = must.measured(metrics)
        assert value is not None, must
        if not must.holds(value):
            assert must.row(metrics)[0] in card.partition("**Missed:**")[2].partition("\n")[0], must
    rows = entry.bounds(directory, metrics)
    assert not rows or sys.modules["zoo_bounds"].bounds_block(rows) in card


def test_the_page_has_the_commands_of_the_zoo(zoo):
    page = (ROOT / "docs" / "zoo.md").read_text()
    for name, entry in zoo.read_zoo(ROOT / "docs" / "zoo.toml").items():
        assert zoo._made_by(name, entry) in page
        assert entry.note in page
        assert ("Not there yet" in section(page, name)) == (name not in ZOO)


def options_of(words: list[str]) -> dict[str, Any]:
    """Return the parameters that gan-serve reads from a command line."""
    for command in entry_points(group="gan_serve.commands"):
        command.load()(gan_serve_command)
    return gan_serve_command.commands[words[0]].make_context(words[0], words[1:]).params


# Making a checkpoint


def test_the_commands_are_printed_as_they_are_run(zoo, folder):
    result = run(zoo, "make", "tiny", "--dry-run", "--zoo", folder / "zoo.toml", "--checkpoints", "out", "--runs", "r")
    assert result.output.splitlines() == [
        "gan-serve train --recipe dcgan-28 --data photos --run-dir r/tiny --kimg 3 "
        "--set width=0.5 --set flip=true --set holdout=0.1 --resume",
        "gan-serve export r/tiny --out out/tiny --snapshot best",
        "gan-serve evaluate out/tiny --data photos --write",
    ]
    other = run(zoo, "make", "conditional", "--dry-run", "--zoo", folder / "zoo.toml").output
    assert other.count("--data 'photos with spaces' --labels labels.csv:kind") == 2


def test_a_command_that_fails_ends_the_making_with_its_status(zoo, folder, monkeypatch, capfd):
    """The folder of images is not there."""
    monkeypatch.chdir(folder)
    done = run(zoo, "make", "tiny", "--zoo", "zoo.toml", "--checkpoints", "new", "--runs", "runs")
    assert done.exit_code == 1
    assert "gan-serve train" in done.output
    assert "gan-serve export" not in done.output
    error = capfd.readouterr().err  # of the command, a process of its own
    assert "photos" in error
    assert "Traceback" not in error


def test_what_cannot_be_made_is_refused_before_training(zoo, folder):
    there = run(zoo, "make", "tiny", "--zoo", folder / "zoo.toml", "--checkpoints", folder / "checkpoints")
    assert there.exit_code == 1
    assert "already exists" in there.output
    unknown = run(zoo, "make", "tinny", "--zoo", folder / "zoo.toml")
    assert unknown.exit_code == 2
    assert "tiny, conditional, absent" in unknown.output


# The page


def test_the_page_begins_with_all_of_them(page):
    table = [line for line in page.splitlines() if line.startswith("| [")]
    assert [row.split("`")[1] for row in table] == ["tiny", "conditional", "absent"]
    assert "| 32x32 gray | `dcgan-28` | yes | FD 12.5 | 0.5 |" in table[0]
    assert "`10k_cnn_test`" in table[0]
    assert "99" not in table[0]  # of the truncation dial
    assert "| 4x4 gray, 2 classes | `cgan` | no |" in table[1]
    assert "not there yet" in table[2]
    assert "can be compared with published FID" in page
    assert "Copies of training images" in page


def test_a_card_shows_a_model_before_its_provenance(page):
    shown, _, folded = section(page, "tiny").partition("<details markdown>")
    assert "32x32 gray · fp32 " in shown
    assert "MB · licence: MIT · in the wheel" in shown
    assert "Noise." in shown
    assert shown.count("](zoo/") == 2
    assert "python docs/zoo.py make" in folded
    assert page.index("\n## conditional\n") < page.index("\n## absent\n") < page.index("\n## All metrics\n")


def test_the_pictures_of_a_card_are_eight_seeds_and_a_walk_that_ends_where_it_began(page, folder):
    images = cut_grid(shown(folder / "docs" / "zoo" / "tiny-strip.png", scale=2), 8, 8)
    for seed in range(8):
        assert np.abs(images[seed].astype(int) - pixels(seed)).max() <= 1
    with Image.open(folder / "docs" / "zoo" / "tiny-walk.webp") as walk:
        assert walk.n_frames == 24


def test_the_first_table_shows_fid_and_what_was_measured_beside_the_distance(zoo):
    inception = {"fid10k_inception_test": 80.12, "precision10k_inception_test": 0.6, "nn_ratio_500_train": 0.9}
    assert zoo._summary(inception) == ["FID 80.1", "0.6", "", "", "0.9", "`10k_inception_test`"]
    ours = {"precision2k_cnn_train": 0.1, "fd10k_cnn_test": 12.5, "precision10k_cnn_test": 0.5}
    own_figures_first = ["FD 12.5, FID 80.1", "0.5", "", "", "0.9", "`10k_cnn_test`, `10k_inception_test`"]
    assert zoo._summary(inception | ours) == own_figures_first
    assert zoo._summary({}) == ["", "", "", "", "", "not measured"]


def test_figures_are_held_against_what_is_asked(page):
    rows = [line for line in section(page, "tiny").splitlines() if line.startswith("| `")]
    assert rows[0] == "| `precision10k_cnn_test` | at least 0.7 | 0.5 | **no** |"
    assert rows[1] == "| `sharp_seeds` / `sharp_train` | at least 0.9 and at most 1.1 | 0.9524 | yes |"
    assert rows[2] == "| `never_measured` | at least 1 | not measured |  |"
    assert "nothing at all" in section(page, "tiny")


def test_command_training_licence_and_whereabouts_are_told(page):
    tiny, conditional, absent = (section(page, name) for name in ("tiny", "conditional", "absent"))
    assert "python docs/zoo.py make tiny" in tiny
    assert "\ngan-serve train --recipe dcgan-28 --data photos" in tiny
    assert "- Two hours on a toaster." in tiny
    assert "Licence: MIT. In the wheel" in tiny
    assert "](../checkpoints/tiny/README.md)" in tiny
    assert "Licence: none. In the repository only" in conditional
    assert "Not there yet" in absent
    assert "gan-serve train" in absent
    assert ".png" not in absent


def test_every_picture_of_the_page_is_there_and_small(page, folder):
    named = {part.partition(")")[0] for part in page.split("](zoo/")[1:]}
    assert named == {path.name for path in (folder / "docs" / "zoo").iterdir()}
    assert named == {
        "tiny-strip.png", "tiny-walk.webp", "tiny-grid.png", "tiny-walk.png", "tiny-neighbours.png",
        "conditional-strip.png", "conditional-walk.webp", "conditional-grid.png", "conditional-walk.png",
        "conditional-classes.png",
    }  # fmt: skip
    assert all(path.stat().st_size < 250_000 for path in (folder / "docs" / "zoo").iterdir())


def test_the_grid_is_the_first_seeds(page, folder):
    images = cut_grid(shown(folder / "docs" / "zoo" / "tiny-grid.png", scale=2), 64, 8)
    assert images.shape == (64, SIDE, SIDE, 1)
    for seed in (0, 1, 63):
        assert np.abs(images[seed].astype(int) - pixels(seed)).max() <= 1


def test_the_sheet_of_classes_has_the_same_latent_down_each_column(page, folder):
    picture = shown(folder / "docs" / "zoo" / "conditional-classes.png")
    sheet = picture[::2, -2 * (10 * (SIZE + GRID_GAP) + GRID_GAP) :: 2]  # the names of the classes are at the left
    images = cut_grid(sheet, 20, 10)
    levels = images.reshape(2, 10, SIZE * SIZE)
    assert levels[:, :, 0].tolist() == [[level(seed, number) for seed in range(10)] for number in (0, 1)]


def test_the_walk_goes_from_seed_to_seed(page, folder):
    frames = cut_grid(shown(folder / "docs" / "zoo" / "tiny-walk.png", scale=2), 11, 11)
    for frame, seed in ((0, 0), (5, 1), (10, 2)):
        assert np.abs(frames[frame].astype(int) - pixels(seed)).max() <= 1


def test_neighbours_are_shown_as_the_checkpoint_has_them(page, folder):
    assert (shown(folder / "docs" / "zoo" / "tiny-neighbours.png") == 7).all()
    assert "zoo/conditional-neighbours.png" not in page


def test_the_page_is_the_same_each_time(zoo, folder, page):
    docs = folder / "docs"
    before = {path: path.read_bytes() for path in docs.rglob("*") if path.is_file()}
    words = ["page", "--checkpoints", folder / "checkpoints", "--docs", docs, "--zoo", folder / "zoo.toml"]
    run(zoo, *words)
    assert {path: path.read_bytes() for path in docs.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_styles_are_mixed_and_truncated_in_w(zoo, digits, tmp_path):
    settings = SMALL | {"data": str(digits), "resolution": 16, "width": 0.1, "kimg": 0.5}
    train(make_config("stylegan", settings), tmp_path / "run", quiet=True)
    checkpoint = export_run(tmp_path / "run", tmp_path / "styles", precisions=["fp32"])
    captions = zoo.make_pictures("styles", checkpoint, tmp_path)
    assert {"psi", "mixing"} <= captions.keys()

    psi = cut_grid(shown(tmp_path / "styles-psi.png", scale=2), 50, 10)
    np.testing.assert_array_equal(psi[40], psi[49])  # psi 0: every seed draws the mean w
    assert (psi[0] != psi[9]).any()

    mixed = cut_grid(shown(tmp_path / "styles-mixing.png", scale=2), 63, 9)
    assert (mixed[0] == 255).all()
    drawn = Generator.from_pretrained(checkpoint).generate(seeds=[0, 10], output="numpy").astype(int)
    assert np.abs(mixed[9] - drawn[0]).max() <= 1  # the first row's own image
    assert np.abs(mixed[1] - drawn[1]).max() <= 1  # the first column's
    between = mixed[10].astype(int)
    assert np.abs(between - drawn[0]).mean() > 0 < np.abs(between - drawn[1]).mean()


def test_a_checkpoint_that_was_changed_is_not_shown(zoo, folder):
    (folder / "checkpoints" / "tiny" / "parity.json").write_text("{}")
    result = run(
        zoo, "page", "--checkpoints", folder / "checkpoints", "--docs", folder / "docs", "--zoo", folder / "zoo.toml"
    )
    assert result.exit_code == 1
    assert "parity.json" in result.output
    assert not (folder / "docs" / "zoo.md").exists()


def test_a_picture_in_colour_is_small_and_looks_the_same(zoo):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    colours = np.stack([np.tile(ramp, (64, 1)), np.tile(ramp, (64, 1)).T, np.full((64, 64), 128, np.uint8)], axis=-1)
    path = io.BytesIO(sys.modules["zoo_pictures"].small_png(Image.fromarray(colours)))
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - colours).mean() < 12


def test_the_page_of_the_bundled_checkpoints_can_be_written(tmp_path):
    """The program as it is called, in a process of its own, with the real zoo."""
    shutil.copytree(ROOT / "gan_serve" / "checkpoints" / "fashion-dcgan", tmp_path / "checkpoints" / "fashion-dcgan")
    words = ["page", "--checkpoints", tmp_path / "checkpoints", "--docs", tmp_path / "docs"]
    subprocess.run([sys.executable, PROGRAM, *words], check=True, cwd=tmp_path, capture_output=True)
    with Image.open(tmp_path / "docs" / "zoo" / "fashion-dcgan-grid.png") as picture:
        assert picture.size == (484, 484)
    assert "fashion-stylegan" in (tmp_path / "docs" / "zoo.md").read_text()
