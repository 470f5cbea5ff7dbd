"""zoo/avatars: a few rendered images are those of the published set, and the table fits them."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

from gan_serve.errors import DataError
from gan_serve.training.data.load import load_images
from gan_serve.training.data.rendered import AVATARS, read_rendered

FOLDER = Path(__file__).parents[1] / "zoo" / "avatars"
STYLES = (
    "adventurer",
    "avataaars",
    "big-smile",
    "bottts",
    "lorelei",
    "micah",
    "open-peeps",
    "personas",
    "pixel-art",
    "toon-head",
)
FIRST = {  # of the published set
    "train": (20, "sha256:83a2b472405f35b30f464b3e1de6018baaee66045425733a80879360d844e5e4"),
    "test": (10, "sha256:4852582aeaebd7aa06ebf8557c342cb5901ed0073270acb9b08e816d48a1ec85"),
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """zoo/avatars/make.py as a module, with its npm packages installed."""
    spec = importlib.util.spec_from_file_location("make_avatars", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        module.install()
    except DataError as error:
        pytest.skip(f"{error.message} {error.hint}")
    return module


def make(script: ModuleType, out: Path, *words: object, train: int = 20, test: int = 10) -> str:
    options = ["--out", out, "--train", train, "--test", test, *words]
    result = CliRunner().invoke(script.main, [str(option) for option in options])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def made(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("avatars")
    make(script, out, "--workers", 2, "--sheet", out / "sheet.png")
    return out


@pytest.mark.parametrize("split", FIRST)
def test_the_first_images_are_those_of_the_published_set(made, split):
    count, digest = FIRST[split]
    data = load_images(made / f"{split}.npz")
    assert data.images.shape == (count, 64, 64, 3)
    assert data.digest == digest
    assert data.class_names == STYLES
    assert data.labels.tolist() == [row % 10 for row in range(count)]


def test_another_rendering_gives_the_same_pixels_and_prints_their_digest(script, made, tmp_path):
    output = make(script, tmp_path, "--workers", 1)
    for split, (_, digest) in FIRST.items():
        assert digest in output
        assert (tmp_path / f"{split}.npz").read_bytes() == (made / f"{split}.npz").read_bytes()
        assert (tmp_path / f"{split}.csv").read_text() == (made / f"{split}.csv").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.csv", "test.npz", "train.csv", "train.npz"]


def test_what_was_rendered_before_a_stop_is_kept(script, tmp_path):
    """Two chunks of 500: the first is there with a mark in it, the second is not."""
    chunks = tmp_path / "chunks"
    script.render("test", 510, chunks, 2)
    first, second = (chunks / f"test-00{start}.rgb" for start in ("000", "500"))
    expected = second.read_bytes()
    second.unlink()
    first.write_bytes(bytes(len(first.read_bytes())))
    script.render("test", 510, chunks, 2)
    assert second.read_bytes() == expected
    assert not any(first.read_bytes())
    script.pack("test", 510, tmp_path)
    data = load_images(tmp_path / "test.npz")
    assert len(data) == 510
    np.testing.assert_array_equal(data.images[500:].ravel(), np.frombuffer(expected, np.uint8))


def test_the_table_fits_the_images(made):
    data = load_images(made / "train.npz")
    with (made / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(data)
    for index, row in enumerate(rows):
        assert row["image"] == f"avatars/train/{index:05}"
        assert row["style"] == data.class_names[data.labels[index]]
        options = json.loads(row["options"])
        assert row["mouth"] in options.values()
        assert row["skin"] in options.values()
        assert row["glasses"] == "1" or "glasses" not in options
        corners = data.images[index][[0, 0], [0, -1]]
        background = list(bytes.fromhex(row["background"][1:]))
        assert background in corners.tolist() or row["style"] in ("big-smile", "pixel-art")  # hair may cover both
    glasses = load_images(made / "train.npz", labels=f"{made / 'train.csv'}:glasses")
    assert glasses.class_names == ("not glasses", "glasses")
    assert glasses.labels.tolist() == [int(row["glasses"]) for row in rows]


def test_the_options_vary_and_do_not_depend_on_each_other(script, tmp_path):
    script.render("train", 500, tmp_path, 1)
    rows = [json.loads(line) for line in (tmp_path / "train-00000.jsonl").read_text().splitlines()]
    assert len({row["background"] for row in rows}) == 8
    for style in STYLES:
        of_style = [row for row in rows if row["style"] == style]
        assert len(of_style) == 50
        assert len({json.dumps(row["options"]) for row in of_style}) == 50
        assert len({row["skin"] for row in of_style}) >= 3
        if style not in ("bottts", "toon-head"):
            assert 1 <= sum(row["glasses"] for row in of_style) <= 30


def test_a_trial_is_not_taken_for_the_set(made):
    with pytest.raises(DataError, match="not the published data set avatars"):
        read_rendered("avatars", AVATARS, "test", made)


def test_a_trial_needs_a_folder_of_its_own(script, monkeypatch, tmp_path):
    monkeypatch.setenv("GAN_SERVE_DATA", str(tmp_path))
    result = CliRunner().invoke(script.main, ["--test", "10"])
    assert result.exit_code == 2
    assert "--out" in result.output
    assert list(tmp_path.iterdir()) == []


def test_the_whole_set_is_compared_with_the_pinned_digests(script, monkeypatch, tmp_path):
    """Twenty images take the place of the whole: those are not what is pinned."""
    monkeypatch.setattr(script, "COUNTS", {"train": 20, "test": 10})
    result = CliRunner().invoke(script.main, ["--out", str(tmp_path), "--train", "20", "--test", "10"])
    assert result.exit_code == 1
    assert "not the published data set avatars: its images have the digest" in result.output


@pytest.mark.parametrize("style", STYLES)
def test_every_artist_and_licence_is_named(script, style):
    """As the LICENSE file of the style's package states them, in the credit for model cards and in the README."""
    text = (FOLDER / "node_modules" / "@dicebear" / style / "LICENSE").read_text()
    design = text.partition("# Design")[2].partition("# Code")[0]
    source, designer, licence = (
        re.search(rf"^{key}: (.*?) \((https?://.*?)\)$", design, re.MULTILINE).groups()
        for key in ("Source", "Designer", "License")
    )
    readme = (FOLDER / "README.md").read_text()
    [line] = [line for line in readme.splitlines() if line.startswith(f"| `{style}` | [")]
    for name, address in (source, designer, licence):
        assert address in line, (style, name)
    name = designer[0].split(" - ")[0]
    assert name in line
    title = source[0].removesuffix(" by Draftbit")
    terms = licence[0][0].lower() + licence[0][1:] if licence[0].startswith("Free") else licence[0]
    address = source[1].removeprefix("https://").removeprefix("www.").removesuffix("/")
    assert re.search(rf"{title} by {name} \({terms}, {address}\)", AVATARS.credit), style


def test_missing_node_is_one_clear_error(script, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    result = CliRunner().invoke(script.main, ["--out", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output == "Error: Node.js is not installed. Install Node.js 20 or newer, with npm.\n"


def test_the_script_starts_from_a_shell():
    command = [sys.executable, str(FOLDER / "make.py"), "--help"]
    assert "--workers" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
