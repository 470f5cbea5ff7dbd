"""The other precisions of a checkpoint: int8 and fp16 beside fp32, and ``auto``."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gan_serve
from gan_serve import Generator
from gan_serve.checkpoint.bundled import BUNDLED
from gan_serve.checkpoint.config import GoldenSample
from gan_serve.checkpoint.files import read_config
from gan_serve.errors import GoldenSampleMismatch, InvalidCheckpoint, InvalidOption, ReceiptError
from gan_serve.images.compare import psnr
from gan_serve.images.grid import cut_grid, grid
from gan_serve.images.pixels import from_pil
from gan_serve.images.png import encode_png
from gan_serve.sampling.receipt import read_receipt
from gan_serve.verify import verify_image

MODEL = "mnist-cgan"  # has a file for each
SEEDS = "0-63"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Generator.from_pretrained(MODEL).save_pretrained(tmp_path / "copy")


def edit_config(directory: Path, change) -> None:
    config = json.loads((directory / "config.json").read_text())
    change(config)
    (directory / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_other_precisions_draw_nearly_what_fp32_draws(precision):
    generator = Generator.from_pretrained(MODEL, precision=precision, device="cpu")
    assert generator.precision == precision
    drawn = generator.generate(seeds=SEEDS, output="numpy")
    reference = gan_serve.generate(MODEL, seeds=SEEDS, output="numpy")
    assert psnr(drawn, reference).mean() >= 38  # 40 over the 256 seeds of the export
    assert not np.array_equal(drawn, reference)


def test_what_the_checkpoint_says_of_its_precisions_is_so():
    parity = json.loads((BUNDLED / MODEL / "parity.json").read_text())
    reference = gan_serve.generate(MODEL, seeds="0-255", output="numpy")
    for precision in ("int8", "fp16"):
        drawn = Generator.from_pretrained(MODEL, precision=precision, device="cpu").generate(
            seeds="0-255", output="numpy"
        )
        assert psnr(drawn, reference).mean() == pytest.approx(parity[precision]["psnr_mean"], abs=0.5)
        assert parity[precision]["psnr_mean"] >= 40


def test_a_seed_is_the_same_image_in_any_batch_in_int8():
    generator = Generator.from_pretrained(MODEL, precision="int8", device="cpu")
    whole = generator.generate(seeds="0-40", output="numpy")
    parts = [generator.generate(seeds=seeds, output="numpy") for seeds in ("0", "1-7", "8-24", "25-40")]
    assert np.array_equal(np.concatenate(parts), whole)


def test_auto_takes_the_fastest_that_there_is(copy):
    assert Generator.from_pretrained(copy, precision="auto", device="cpu").precision == "int8"

    def without_int8(config):
        del config["files"]["generator.int8.onnx"], config["golden_sample"]["reduced"]["int8"]

    edit_config(copy, without_int8)
    (copy / "generator.int8.onnx").unlink()
    assert Generator.from_pretrained(copy, precision="auto", device="cpu").precision == "fp32"
    with pytest.raises(InvalidOption, match="choose from: fp32, fp16, auto"):
        Generator.from_pretrained(copy, precision="int8")


def test_auto_falls_to_int8_where_there_is_a_driver_and_no_cuda(monkeypatch):
    monkeypatch.setattr("gan_serve.sampling.device._has_cuda_driver", lambda: True)
    generator = Generator.from_pretrained(MODEL, precision="auto")
    expected = {"cpu": "int8", "cuda": "fp16"}
    assert generator.precision == expected[generator.device]


def test_an_unknown_precision_is_refused_with_those_that_there_are():
    with pytest.raises(InvalidOption, match="choose from: fp32, int8, fp16, auto") as error:
        Generator.from_pretrained(MODEL, precision="int16")
    assert "int8" in error.value.hint or "fp16" in error.value.hint


def test_a_receipt_names_the_precision_and_verifies(tmp_path):
    image = Generator.from_pretrained(MODEL, precision="int8", device="cpu").generate(seed=3)[0]
    assert image.info["gan_serve"]["precision"] == "int8"
    image.save(tmp_path / "image.png")
    assert verify_image(tmp_path / "image.png").max_difference == 0


def test_an_image_of_another_precision_does_not_pass_for_this_one(tmp_path):
    [image] = Generator.from_pretrained(MODEL, precision="int8", device="cpu").generate(seed=3)
    image.info["gan_serve"]["precision"] = "fp32"
    image.save(tmp_path / "image.png")
    with pytest.raises(ReceiptError, match="altered"):
        verify_image(tmp_path / "image.png")


def test_an_altered_cell_of_an_int8_grid_is_caught_although_the_rest_is_right(tmp_path):
    samples = Generator.from_pretrained(MODEL, precision="int8", device="cpu").sample(seeds="0-255")
    with Image.open(io.BytesIO(samples.grid_png())) as image:
        receipt, sheet = read_receipt(image), from_pil(image)
    cells = cut_grid(sheet, 256, receipt.columns).copy()
    cells[100] = cells[101]
    sheet = grid(cells, receipt.columns)
    (tmp_path / "grid.png").write_bytes(encode_png(sheet, {"gan_serve": receipt.seal(sheet).as_json()}))
    with pytest.raises(ReceiptError, match="the PSNR is"):
        verify_image(tmp_path / "grid.png")


def test_each_precision_has_a_golden_sample_of_its_own(copy):
    golden = read_config(copy).golden_sample
    assert set(golden.pngs()) == {"fp32", "int8", "fp16"}
    another = GoldenSample.of(255 - golden.pixels("int8"), golden.seed).png
    edit_config(copy, lambda config: config["golden_sample"]["reduced"].update(int8=another))
    with pytest.raises(GoldenSampleMismatch, match="in int8: the PSNR is"):
        Generator.from_pretrained(copy, precision="int8")
    Generator.from_pretrained(copy, precision="fp32")


def test_rounding_of_another_cpu_passes_for_int8(copy):
    golden = read_config(copy).golden_sample
    nearly = golden.pixels("int8").copy()
    nearly[:2] ^= 1
    png = GoldenSample.of(nearly, golden.seed).png
    edit_config(copy, lambda config: config["golden_sample"]["reduced"].update(int8=png))
    Generator.from_pretrained(copy, precision="int8")


def test_a_file_without_a_golden_sample_is_refused(copy):
    edit_config(copy, lambda config: config["golden_sample"]["reduced"].pop("int8"))
    with pytest.raises(InvalidCheckpoint, match="do not both have int8"):
        Generator.from_pretrained(copy)
