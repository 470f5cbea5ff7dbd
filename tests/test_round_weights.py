import json
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

from gan_serve import Generator, Translator
from gan_serve.errors import ExportRefused, InvalidOption
from gan_serve.exports.export import export_run
from gan_serve.exports.export_translator import export_translator
from gan_serve.exports.round_weights import explained_refusal, rounded
from gan_serve.training.config import make_config
from gan_serve.training.loop import train
from gan_serve.training.translation.settings import make_translation_config
from gan_serve.training.translation.train import train_translator

NORMAL = np.random.RandomState(0).standard_normal((20, 100)).astype(np.float32)


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
    exact = np.array([0, -0.0, 1, -1.5, 2.0**-120], np.float32)
    found = rounded(exact, bits)
    assert found.tobytes() == exact.tobytes()
    assert rounded(NORMAL.T, bits).shape == NORMAL.T.shape


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


def constants(path: Path) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}


def check_rounding(small: Path, plain: Path, bits: int) -> None:
    """Compare the fp32 file of a checkpoint with the same network without rounding."""
    ours, theirs = constants(small / "generator.onnx"), constants(plain / "generator.onnx")
    assert {name: values.shape for name, values in ours.items()} == {name: v.shape for name, v in theirs.items()}
    for name, values in theirs.items():
        is_weight = values.dtype == np.float32 and values.ndim >= 2
        assert np.array_equal(ours[name], rounded(values, bits) if is_weight else values)
    properties = {each.key: each.value for each in onnx.load(small / "generator.onnx").metadata_props}
    assert properties["mantissa_bits"] == str(bits)
    assert json.loads((small / "parity.json").read_text())["mantissa_bits"] == bits
    assert f"those of `generator.onnx` are rounded to {bits} bits" in " ".join(
        (small / "README.md").read_text().split()
    )
    weights = [(folder / "generator.safetensors").read_bytes() for folder in (small, plain)]
    assert weights[0] == weights[1]


def test_an_export_with_rounded_weights_compresses_better(run: Path, tmp_path: Path) -> None:
    plain, small = tmp_path / "plain", tmp_path / "small"
    export_run(run, plain, precisions=["fp32"])
    export_run(run, small, precisions=["fp32"], mantissa_bits=10)
    check_rounding(small, plain, 10)
    ours, theirs = ((folder / "generator.onnx").read_bytes() for folder in (small, plain))
    assert len(zlib.compress(ours)) < 0.75 * len(zlib.compress(theirs))
    one, other = (Generator.from_pretrained(each).generate(n=8, seed=0, output="numpy") for each in (plain, small))
    assert np.abs(one.astype(int) - other).max() <= 2  # each is within one grey level of torch
    assert "the same weights" in " ".join((plain / "README.md").read_text().split())
    assert json.loads((plain / "parity.json").read_text())["mantissa_bits"] is None


@pytest.mark.slow
def test_the_other_precisions_are_not_rounded(run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "out", precisions=["fp32", "int8"], mantissa_bits=10)
    model = onnx.load(tmp_path / "out" / "generator.int8.onnx")
    assert "mantissa_bits" not in {each.key for each in model.metadata_props}


@pytest.mark.parametrize("back", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_translator_is_rounded_too(back: bool, tmp_path: Path) -> None:
    for domain in ("trainA", "trainB"):
        images = np.random.RandomState(len(domain)).randint(0, 256, (6, 16, 16, 3)).astype(np.uint8)
        (tmp_path / "data" / domain).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "data" / domain / f"{number}.png")
    settings = {"data": str(tmp_path / "data"), "resolution": 16, "ngf": 4, "ndf": 4, "blocks": 1, "kimg": 0.008}
    config = make_translation_config("cyclegan", settings | {"features": "cnn-general", "batch_size": 2})
    train_translator(config, tmp_path / "run", quiet=True)
    plain, small = tmp_path / "plain", tmp_path / "small"
    export_translator(tmp_path / "run", plain, precisions=["fp32"], back=back)
    export_translator(tmp_path / "run", small, precisions=["fp32"], back=back, mantissa_bits=12)
    check_rounding(small, plain, 12)
    assert Translator.from_pretrained(small).translate(np.zeros((16, 16, 3), np.uint8))[0].size == (16, 16)


@pytest.mark.parametrize("export", [export_run, export_translator])
@pytest.mark.parametrize("bits", [0, 6, 24, -1, 10.5, "10", True])
def test_other_numbers_of_bits_are_refused_before_anything_is_read(export, bits: int, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"bits of mantissa.*7, as many as bfloat16"):
        export(tmp_path / "nowhere", tmp_path / "out", mantissa_bits=bits)


def test_the_command_names_the_numbers_that_it_takes(cli, tmp_path: Path) -> None:
    outcome = cli("export", tmp_path, "--out", tmp_path / "out", "--mantissa-bits", 6)
    assert outcome.code == 2
    assert "6 is not in the range 7<=x<=23" in outcome.err


def test_a_refusal_says_that_rounding_may_be_the_reason() -> None:
    refusal = ExportRefused("Pixels differ by 9 grey levels.", "Try other versions.")
    expected = r"9 grey levels.*rounded to 7 bits: give more --mantissa-bits.*Try other versions"
    with pytest.raises(ExportRefused, match=expected), explained_refusal(7):
        raise refusal
    with pytest.raises(ExportRefused, match="Try other versions"), explained_refusal(None):
        raise refusal
