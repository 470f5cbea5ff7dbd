"""The command ``gan-serve data``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gan_serve.errors import DataError
from gan_serve.training.data.commands import data


@pytest.fixture
def photos(tmp_path):
    for number, kind in enumerate(("cat", "dog", "dog")):
        (tmp_path / "photos" / kind).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (120, 160, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{number}.png")
    (tmp_path / "photos" / "notes.docx").write_text("x")
    return tmp_path / "photos"


def test_it_prints_what_training_would_take(photos):
    result = CliRunner().invoke(data, [str(photos)], catch_exceptions=False)
    assert "3 images of 160x120 RGB" in result.output
    assert "Classes: 2: cat 1, dog 2." in result.output
    assert "Left out: 1 of 4 files: 1 .docx is no image." in result.output


def test_names_of_files_cannot_move_the_cursor(photos):
    (photos / "evil\x1b[2J.docx").write_text("x")
    (photos / "cat" / "\x1b[31m.png").write_text("x")
    for number in range(10):
        Image.new("RGB", (8, 8), (200, 0, 0)).save(photos / "cat" / f"more{number}.png")
    result = CliRunner().invoke(data, [str(photos)], catch_exceptions=False)
    assert "\x1b" not in result.output
    assert "\\x1b[31m.png: cannot identify" in result.output


def test_json_has_these_keys(photos, tmp_path):
    (tmp_path / "t.csv").write_text("image,kind\n0.png,x\n1.png,y\n2.png,y\n")
    result = CliRunner().invoke(data, [str(photos), "--json", "--labels", f"{tmp_path / 't.csv'}:kind"])
    found = json.loads(result.output)
    assert list(found) == ["images", "width", "height", "channels", "classes", "split", "left_out", "notes"]
    assert (found["images"], found["width"], found["height"], found["channels"]) == (3, 160, 120, 3)
    assert found["classes"] == {"x": 1, "y": 2}
    assert found["left_out"] == [{"file": "notes.docx", "reason": ".docx is no image"}]


def test_a_sheet_shows_a_row_for_each_class(photos, tmp_path):
    result = CliRunner().invoke(data, [str(photos), "--sheet", str(tmp_path / "sheet.png")], catch_exceptions=False)
    assert "Sheet:" in result.output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 66 + 2, 2 * 66 + 2)


def test_what_cannot_be_read_is_one_clear_error(tmp_path):
    result = CliRunner().invoke(data, [str(tmp_path)])
    assert isinstance(result.exception, DataError)


def test_a_run_starts_with_the_summary_and_records_it(photos, tmp_path, capsys):
    from gan_serve.training.config import make_config
    from gan_serve.training.loop import train
    from gan_serve.training.run_info import read_run_info

    settings = {"data": str(photos), "resolution": 8, "batch_size": 2, "kimg": 0.004, "ticks_per_evaluation": 0}
    train(make_config("mlp-gan", settings), tmp_path / "run")
    printed = capsys.readouterr().out
    assert "3 images of 160x120 RGB, cut square and resized to 8x8." in printed
    assert "They are not used: --set conditional=true uses them." in printed
    assert "Machine: " in printed
    assert f"Grids: {tmp_path / 'run' / 'grids'}, the first after 4 steps" in printed
    assert (
        "Length: 0.004 kimg (thousands of real images), 1.3 passes over the images; see the bar for the time."
        in printed
    )
    recorded = read_run_info(tmp_path / "run").data.summary
    assert recorded["classes"] == {"cat": 1, "dog": 2}
    assert recorded["left_out"] == [{"file": "notes.docx", "reason": ".docx is no image"}]


def test_different_sizes_are_told(tmp_path):
    for number, size in enumerate(((20, 30), (40, 50), (20, 30))):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    result = CliRunner().invoke(data, [str(tmp_path)], catch_exceptions=False)
    assert "3 images of 20x30 to 40x50 RGB" in result.output
    assert "sizes differ; 2 of 3 images have 20x30." in result.output
