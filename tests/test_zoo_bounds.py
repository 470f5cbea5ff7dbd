"""docs/zoo.py: the bounds that a checkpoint must reach, and the blind sorting of its images."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from tiny_checkpoint import SIDE
from zoo_program import load_program, run, write_zoo

from gan_serve import Generator
from gan_serve.checkpoint.files import verify_checkpoint
from gan_serve.exports import certify
from gan_serve.exports.parity import Parity

CHECKPOINTS = Path(__file__).parents[1] / "gan_serve" / "checkpoints"


@pytest.fixture(scope="module")
def zoo() -> ModuleType:
    return load_program()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_zoo(tmp_path)


def test_bounds_are_written_into_the_card(zoo, folder):
    words = ("bounds", "tiny", "--checkpoints", folder / "checkpoints", "--zoo", folder / "zoo.toml")
    result = run(zoo, *words)
    assert result.exit_code == 0, result.output
    card = (folder / "checkpoints" / "tiny" / "README.md").read_text()
    missed = "**Missed:** `precision10k_cnn_test`, which must be at least 0.7, is 0.5."
    assert missed in card
    assert "Not measured yet: `never_measured` (at least 1)." in card
    assert "| `sharp_seeds` / `sharp_train` | at least 0.9 and at most 1.1 | 0.9524 | yes |" in card
    verify_checkpoint(folder / "checkpoints" / "tiny")
    run(zoo, *words)
    assert (folder / "checkpoints" / "tiny" / "README.md").read_text() == card
    assert card.count("What it must reach") == 1


def test_a_bound_may_be_on_a_difference_or_a_judgement(zoo):
    entries = sys.modules["zoo_entries"]
    must = entries.Must(metric="agreement", minus="of_real", at_least=-0.01)
    assert must.row({"agreement": 0.92, "of_real": 0.93})[2:] == ("-0.01", "yes")
    assert must.row({"agreement": 0.9, "of_real": 0.93})[2:] == ("-0.03", "**no**")
    assert must.row({"agreement": 0.9})[2:] == ("not measured", "")
    rows = entries.ByEye(good_at_least=0.8, good=0.7, broken=0.1, blind_at_most=0.8).rows()
    assert [row[1:] for row in rows] == [
        ("at least 0.8", "0.7", "**no**"), ("", "0.1", ""), ("at most 0.8", "not measured", "")
    ]  # fmt: skip


@pytest.mark.slow
def test_an_int8_file_that_is_close_to_fp32_stays_and_one_that_is_not_is_made_again(zoo, tmp_path, monkeypatch):
    directory = tmp_path / "mnist-cgan"
    shutil.copytree(CHECKPOINTS / "mnist-cgan", directory)
    before = (directory / "generator.int8.onnx").read_bytes()
    program = sys.modules["zoo_int8"]
    monkeypatch.setattr(program, "GATE_SEEDS", range(32))
    monkeypatch.setattr(certify, "GATE_SEEDS", range(32))

    result = run(zoo, "int8", "mnist-cgan", "--checkpoints", tmp_path)
    assert result.exit_code == 0, result.output
    assert (directory / "generator.int8.onnx").read_bytes() == before
    assert "in the mean over 32 seeds" in (directory / "README.md").read_text()

    monkeypatch.setattr(program, "measure", lambda *_: measured.model_copy(update={"psnr_mean": 39.0}))
    measured = Parity.model_validate_json((directory / "parity.json").read_bytes()).int8
    assert measured is not None
    assert measured.images == 32
    result = run(zoo, "int8", "mnist-cgan", "--checkpoints", tmp_path)
    assert result.exit_code == 0, result.output
    assert (directory / "generator.int8.onnx").read_bytes() != before
    assert (directory / "generator.onnx").read_bytes() == (CHECKPOINTS / "mnist-cgan/generator.onnx").read_bytes()
    verify_checkpoint(directory)
    assert Generator.from_pretrained(directory, precision="int8").generate(1)[0].size == (28, 28)


def test_a_checkpoint_without_an_int8_file_is_refused(zoo):
    result = run(zoo, "int8", "fashion-stylegan")
    assert result.exit_code == 1
    assert "no int8 file" in result.output


@pytest.fixture
def sheets(zoo: ModuleType, folder: Path) -> Path:
    """The sheets of a blind sorting of ``tiny``, whose real images are all white."""
    np.savez(folder / "white.npz", images=np.full((400, SIDE, SIDE, 1), 255, np.uint8))
    result = run(
        zoo, "blind", "tiny", "--data", folder / "white.npz", "--out", folder / "blind",
        "--checkpoints", folder / "checkpoints", "--zoo", folder / "zoo.toml",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "blind"


def test_the_sheets_show_32_real_and_32_sampled_images_in_an_order_that_the_key_has(zoo, folder, sheets):
    key = json.loads((sheets / "key.json").read_text())
    assert len(key["real"]) == len(key["seeds"]) == 32
    assert min(key["seeds"]) >= 1000
    assert sorted(path.name for path in sheets.iterdir()) == ["key.json", *(f"sheet-{n}.png" for n in (1, 2, 3, 4))]
    white = []
    for number in range(64):
        row, column = divmod(number % 16, 4)
        with Image.open(sheets / f"sheet-{number // 16 + 1}.png") as sheet:
            left, top = 8 + column * 200, 8 + row * 222 + 22
            white.append(np.asarray(sheet.crop((left, top, left + 192, top + 192))).min() == 255)
    assert [number for number, is_white in enumerate(white, start=1) if is_white] == key["real"]


@pytest.mark.parametrize(("answers", "right"), [("all", 64), ("none", 32), ("wrong", 0)])
def test_answers_are_counted(zoo, folder, sheets, answers, right):
    real = json.loads((sheets / "key.json").read_text())["real"]
    chosen = {"all": real, "none": [], "wrong": [number for number in range(1, 65) if number not in real]}[answers]
    words = ("blind", "tiny", "--out", sheets, "--zoo", folder / "zoo.toml", "--real", ",".join(map(str, chosen)))
    result = run(zoo, *words)
    assert result.exit_code == 0, result.output
    assert f"tiny: {right} of 64 right, {right / 64:.0%}" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--real", "0,3"), "There is no image 0"),
        (("--real", "65"), "There is no image 65"),
        (("--out", "nowhere", "--real", "1"), "There is no key.json in nowhere"),
    ],
)
def test_answers_that_cannot_be_counted_are_refused(zoo, folder, sheets, words, message):
    result = run(zoo, "blind", "tiny", "--out", sheets, "--zoo", folder / "zoo.toml", *words)
    assert result.exit_code == 1
    assert message in result.output
