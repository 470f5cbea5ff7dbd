"""zoo/bricks: an image follows from its index alone, shows what its row in the table says, and is there again."""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gan_serve.images.grid import cut_grid
from gan_serve.training.data.load import load_images
from gan_serve.training.data.rendered import BRICKS, PinnedSplit

FOLDER = Path(__file__).parents[1] / "zoo" / "bricks"
pytest.importorskip("mitsuba", reason="mitsuba is not installed: pip install -r zoo/bricks/requirements.txt")
pytest.importorskip("manifold3d", reason="manifold3d is not installed: pip install -r zoo/bricks/requirements.txt")
sys.path.insert(0, str(FOLDER))
import check  # noqa: E402
import kinds  # noqa: E402
import scene  # noqa: E402
import shards  # noqa: E402

NAMES = [kind.name for kind in kinds.KINDS]
COLORS = {name: np.array(list(bytes.fromhex(value))) for name, value in scene.COLORS.items()}


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    """The 100 committed images, uint8 [100, 64, 64, 3]."""
    return cut_grid(np.asarray(Image.open(check.REFERENCE)), len(check.CHECKED), check.COLUMNS)


def brick_pixels(image: np.ndarray) -> np.ndarray:
    """Pixels of a clear hue: the ground is gray, apart from a weak reflection of the brick."""
    return image.max(axis=2).astype(int) - image.min(axis=2) > 35


@pytest.mark.parametrize("index", [1, 10], ids=["brick-1x2", "beam-1x2"])
def test_an_image_rendered_twice_has_the_same_pixels(index):
    first = scene.render(index)
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    scene.render(index + 1)
    np.testing.assert_array_equal(scene.render(index), first)


def test_images_are_those_of_the_published_set(reference):
    """Two of the 100 that check.py compares: within two grey levels on any processor."""
    for place in (1, 97):
        assert np.abs(scene.render(check.CHECKED[place]).astype(int) - reference[place]).max() <= check.TOLERANCE


def test_the_check_names_the_images_that_differ(reference):
    assert check.compare(reference, reference) == ([], 0)
    other = reference.astype(int)
    other[3, 20, 30, 1] += check.TOLERANCE
    assert check.compare(other, reference) == ([], check.TOLERANCE)
    other[5, 0, 0, 0] -= check.TOLERANCE + 1
    assert check.compare(other, reference) == ([check.CHECKED[5]], check.TOLERANCE + 1)


def test_the_100_images_hold_every_kind():
    assert {scene.view(index).kind for index in check.CHECKED} == set(NAMES)
    assert len(check.CHECKED) == 100


def test_every_image_shows_a_brick_of_its_color_in_its_size(reference):
    for index, image in zip(check.CHECKED, reference, strict=True):
        shown = scene.view(index)
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).astype(int)
        assert np.ptp(border, axis=1).max() <= 6, f"{index}: the ground is not gray at the border"
        if shown.color == "white":
            continue
        brick = brick_pixels(image)
        rows, columns = np.flatnonzero(brick.any(axis=1)), np.flatnonzero(brick.any(axis=0))
        longer = max(np.ptp(rows), np.ptp(columns)) + 1
        assert longer / 64 == pytest.approx(shown.size, abs=0.03), (index, shown)
        for places in (rows, columns):
            assert (places[0] + places[-1]) / 2 == pytest.approx(31.5, abs=1.0), (index, shown)
        assert 0.1 < brick.mean() < 0.55, (index, shown)
        mean = image[brick].mean(axis=0)
        nearest = min(COLORS, key=lambda name: np.linalg.norm(_hue(COLORS[name]) - _hue(mean)))
        assert nearest == shown.color, (index, shown)


def _hue(color: np.ndarray) -> np.ndarray:
    return (color - color.min()) / (np.ptp(color) + 1e-9)


def test_views_hold_every_kind_color_and_side_in_their_shares():
    views = [scene.view(index) for index in range(2400)]
    assert [shown.kind for shown in views[:12]] == NAMES
    assert {name: sum(shown.kind == name for shown in views) for name in NAMES} == dict.fromkeys(NAMES, 200)
    counts = np.array([sum(shown.color == name for shown in views) for name in scene.COLORS])
    assert counts.min() > 240
    tipped = [shown for shown in views if shown.rests_on != "bottom"]
    assert {shown.rests_on for shown in tipped} == {"front", "back", "left", "right"}
    assert {shown.kind for shown in tipped} == {kind.name for kind in kinds.KINDS if kind.tips}
    assert 0.08 < len(tipped) / len(views) < 0.12  # 15 % of 8 of the 12 kinds
    azimuth = np.histogram([shown.azimuth for shown in views if shown.kind == "brick-2x4"], 4, (-180, 180))[0]
    assert azimuth.min() > 25


@pytest.mark.parametrize("kind", kinds.KINDS, ids=NAMES)
def test_a_kind_is_one_closed_solid_with_unit_normals(kind):
    solid = kind.build()
    assert len(solid.decompose()) == 1
    assert solid.genus() == (1 if kind.name == "beam-1x2" else 0)  # the hole goes through
    points, normals, triangles = kinds.mesh(solid)
    assert points.shape == normals.shape
    assert triangles.max() < len(points)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(points.min(axis=0), -points.max(axis=0), atol=1e-6)


def run(script: str, *words: object) -> str:
    command = [sys.executable, str(FOLDER / script), *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def test_the_script_writes_both_splits_with_their_tables(tmp_path):
    shards.render_shard(_folder(tmp_path), range(40_000, 40_002))  # as a call that was stopped left it
    output = run("make.py", "--out", tmp_path, "--train", 3, "--test", 2, "--workers", 1, "--sheet", tmp_path / "s.png")
    assert "2 of 2 shards are rendered" in output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "s.png",
        "test.csv",
        "test.npz",
        "train.csv",
        "train.npz",
    ]
    for split, first, count in (("train", 0, 3), ("test", 40_000, 2)):
        data = load_images(tmp_path / f"{split}.npz")
        assert data.digest in output
        assert data.images.shape == (count, 64, 64, 3)
        assert list(data.class_names) == NAMES
        assert data.labels.tolist() == [index % 12 for index in range(first, first + count)]
        np.testing.assert_array_equal(data.images[1], scene.render(first + 1))
        with (tmp_path / f"{split}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["image"] for row in rows] == [f"bricks/{index:05}" for index in range(first, first + count)]
        assert rows[1]["color"] == scene.view(first + 1).color
        assert float(rows[1]["azimuth"]) == scene.view(first + 1).azimuth
    before = (tmp_path / "train.npz").stat().st_mtime_ns
    run("make.py", "--out", tmp_path, "--train", 3, "--test", 2)  # finds both and renders nothing
    assert (tmp_path / "train.npz").stat().st_mtime_ns == before


def test_a_shard_that_is_there_is_not_rendered_again(tmp_path):
    indices = range(7, 9)
    shards.render_shard(tmp_path, indices)
    kept = shards.shard_file(tmp_path, indices).read_bytes()
    shards.render_missing(tmp_path, [indices], workers=1)
    assert shards.shard_file(tmp_path, indices).read_bytes() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["00007-00009.npy"]


def test_shards_cover_a_split_once():
    for split, count in shards.COUNTS.items():
        indices = [index for part in shards.shards_of(split, count) for index in part]
        assert indices == list(range(shards.FIRST[split], shards.FIRST[split] + count))


def test_another_digest_than_the_pinned_one_is_one_clear_error(monkeypatch, tmp_path):
    """The check on the full set, tried with splits of one image."""
    make = importlib.import_module("make")
    monkeypatch.setattr(shards, "COUNTS", {"train": 1, "test": 1})
    pinned = dict.fromkeys(shards.COUNTS, PinnedSplit(*2 * ("sha256:" + 64 * "0",)))
    monkeypatch.setattr(make, "BRICKS", replace(BRICKS, splits=pinned))
    for split in shards.COUNTS:
        shards.render_shard(_folder(tmp_path), *shards.shards_of(split, 1))
    result = CliRunner().invoke(make.main, ["--out", str(tmp_path), "--train", "1", "--test", "1"])
    assert result.exit_code == 1
    assert "train.npz is not the published data set bricks" in result.output
    assert "`python zoo/bricks/check.py` compares 100 images" in result.output


@pytest.mark.parametrize("script", ["make.py", "check.py"])
def test_a_missing_package_is_one_clear_error(script):
    program = f"import sys, runpy; sys.modules['mitsuba'] = None; sys.path.insert(0, {str(FOLDER)!r}); "
    program += f"runpy.run_path({str(FOLDER / script)!r})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert result.returncode == 1
    assert result.stderr == "mitsuba is not installed: pip install -r zoo/bricks/requirements.txt\n"


def _folder(out: Path) -> Path:
    folder = shards.shards_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
