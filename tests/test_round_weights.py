import json
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from gan_serve import Generator
from gan_serve.errors import InvalidOption
from gan_serve.exports.export import export_run
from gan_serve.exports.export_translator import export_translator
from gan_serve.exports.round_weights import rounded
from gan_serve.training.config import make_config
from gan_serve.training.loop import train

NORMAL = np.random.RandomState(0).standard_normal(2000).astype(np.float32)
ODD = np.array([0, -0.0, 1, -1.5, 3e-39, np.inf, -np.inf, np.nan], np.float32)


def test_bfloat16_is_rounding_to_seven_bits() -> None:
    expected = torch.from_numpy(NORMAL).to(torch.bfloat16).float().numpy()
    assert np.array_equal(rounded(NORMAL, 7), expected)


def test_float16_is_rounding_to_ten_bits() -> None:
    assert np.array_equal(rounded(NORMAL, 10), NORMAL.astype(np.float16).astype(np.float32))


def test_ties_go_to_the_even_neighbour() -> None:
    halves = np.array([1 + 2**-8, 1 + 3 * 2**-8], np.float32)
    assert rounded(halves, 7).tolist() == [1, 1 + 2**-6]


@pytest.mark.parametrize("bits", [7, 10, 23])
def test_what_needs_few_bits_stays(bits: int) -> None:
    exact = ODD
    found = rounded(exact, bits)
    assert np.array_equal(found[[0, 1, 2, 3, 5, 6]], exact[[0, 1, 2, 3, 5, 6]])
    assert np.isnan(found[7])


def test_all_bits_change_nothing() -> None:
    assert np.array_equal(rounded(NORMAL, 23), NORMAL)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    images = np.random.RandomState(0).randint(0, 256, (64, 8, 8, 1)).astype(np.uint8)
    np.savez(folder / "noise.npz", images=images)
    settings = {"data": str(folder / "noise.npz"), "resolution": 8, "batch_size": 32, "kimg": 0.1, "z_dim": 16}
    train(make_config("dcgan-28", settings | {"width": 0.25, "ticks_per_evaluation": 0}), folder / "run", quiet=True)
    return folder / "run"


def test_an_export_with_rounded_weights_compresses_better(run: Path, tmp_path: Path) -> None:
    plain, small = tmp_path / "plain", tmp_path / "small"
    export_run(run, plain, precisions=["fp32"])
    export_run(run, small, precisions=["fp32"], mantissa_bits=10)
    ours, theirs = ((folder / "generator.onnx").read_bytes() for folder in (small, plain))
    assert len(zlib.compress(ours)) < 0.75 * len(zlib.compress(theirs))
    model = onnx.load_from_string(ours)
    assert {prop.key: prop.value for prop in model.metadata_props}["mantissa_bits"] == "10"
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        assert values.dtype != np.float32 or np.array_equal(rounded(values, 10), values)
    assert json.loads((small / "parity.json").read_text())["max_difference"] <= 1
    one, other = (Generator.from_pretrained(each).generate(n=8, seed=0, output="numpy") for each in (plain, small))
    assert np.abs(one.astype(int) - other).max() <= 2  # each is within one grey level of torch


@pytest.mark.parametrize("export", [export_run, export_translator])
@pytest.mark.parametrize("bits", [0, 6, 24, -1])
def test_other_numbers_of_bits_are_refused_before_anything_is_read(export, bits: int, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"bits of their mantissa.*7, as many as bfloat16"):
        export(tmp_path / "nowhere", tmp_path / "out", mantissa_bits=bits)
