import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_checkpoint import contents

from gan_serve import DigestMismatch, Generator, GoldenSampleMismatch, InvalidCheckpoint
from gan_serve.checkpoint.bundled import BUNDLED, list_models
from gan_serve.checkpoint.config import GoldenSample
from gan_serve.checkpoint.files import read_config, verify_checkpoint
from gan_serve.errors import FormatTooNew


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def edit(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", list_models())
def test_every_bundled_checkpoint_is_whole_and_laid_out_as_documented(name):
    config = verify_checkpoint(BUNDLED / name)
    assert config.name == name
    assert set(config.files) >= {
        "generator.onnx", "generator.safetensors", "metrics.json", "parity.json", "README.md", "samples.png",
    }  # fmt: skip
    # Two have their weights in generator.onnx alone, to keep the repository small.
    missing = {"generator.safetensors"} if name in ("avatars-cgan", "bricks-cgan") else set()
    assert {path.name for path in (BUNDLED / name).iterdir()} == {*config.files, "config.json"} - missing
    Generator.from_pretrained(name)
    parity = json.loads((BUNDLED / name / "parity.json").read_text())
    assert parity["max_difference"] <= 1
    assert parity["batch_invariant"]


def test_a_truncated_network_is_refused(copy):
    network = copy / "generator.onnx"
    network.write_bytes(network.read_bytes()[:-1000])
    with pytest.raises(DigestMismatch, match=r"generator\.onnx.*bytes"):
        Generator.from_pretrained(copy)


def test_a_truncated_network_with_a_matching_digest_is_refused_too(copy):
    network = copy / "generator.onnx"
    content = network.read_bytes()[:-1000]
    network.write_bytes(content)
    files = json.loads((copy / "config.json").read_text())["files"]
    files["generator.onnx"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    edit(copy, files=files)
    with pytest.raises(InvalidCheckpoint, match="cannot load"):
        Generator.from_pretrained(copy)


def test_a_wrong_digest_is_refused(copy):
    files = json.loads((copy / "config.json").read_text())["files"]
    files["generator.onnx"]["sha256"] = "0" * 64
    edit(copy, files=files)
    with pytest.raises(DigestMismatch):
        Generator.from_pretrained(copy)


def test_another_golden_sample_is_refused_but_rounding_is_not(copy):
    golden = read_config(copy).golden_sample
    pixels = golden.pixels().astype(np.int16)
    nearly = np.clip(pixels + 1, 0, 255).astype(np.uint8)
    edit(copy, golden_sample=golden.model_dump() | {"png": GoldenSample.of(nearly, golden.seed).png})
    Generator.from_pretrained(copy)
    other = np.clip(pixels + 2, 0, 255).astype(np.uint8)
    edit(copy, golden_sample=golden.model_dump() | {"png": GoldenSample.of(other, golden.seed).png})
    with pytest.raises(GoldenSampleMismatch, match="off by 2"):
        Generator.from_pretrained(copy)


def test_a_missing_file_is_named(copy):
    (copy / "generator.onnx").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"generator\.onnx"):
        Generator.from_pretrained(copy)


def test_only_the_weights_for_fine_tuning_may_be_missing(copy, tmp_path):
    """A wheel leaves them out, and its config is the repository's."""
    (copy / "generator.safetensors").unlink()
    assert "generator.safetensors" in verify_checkpoint(copy).files
    saved = Generator.from_pretrained(copy).save_pretrained(tmp_path / "saved")
    assert contents(saved) == contents(copy)
    (copy / "samples.png").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"samples\.png cannot be read"):
        verify_checkpoint(copy)


def test_weights_that_are_there_are_whole(copy, tmp_path):
    weights = copy / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DigestMismatch, match=r"generator\.safetensors"):
        Generator.from_pretrained(copy).save_pretrained(tmp_path / "saved")
    weights.unlink()
    weights.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidCheckpoint, match=r"generator\.safetensors"):
        verify_checkpoint(copy)
    assert not (tmp_path / "saved").exists()


def test_a_directory_without_config_is_no_checkpoint(tmp_path):
    with pytest.raises(InvalidCheckpoint, match=r"has no config\.json"):
        Generator.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "{}", '{"format_version": 1}', '{"format_version": "a"}', "\0", "[" * 10**5]
)
def test_a_damaged_config_is_refused(copy, text):
    (copy / "config.json").write_text(text)
    with pytest.raises(InvalidCheckpoint):
        Generator.from_pretrained(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"z_dim": 0},
        {"z_dim": 99},
        {"img_resolution": 32},
        {"c_dim": 2},
        {"c_dim": 2, "class_names": ["a", "b"]},
        {"golden_sample": {"seed": 0, "png": "AAAA"}},
        {"golden_sample": {"seed": 0, "png": "?"}},
        {"golden_sample": {"seed": -1, "png": GoldenSample.of(np.zeros((28, 28, 1), np.uint8), 0).png}},
        {"golden_sample": GoldenSample.of(np.zeros((28, 28, 1), np.uint8), 0, label=3).model_dump()},
        {"golden_sample": GoldenSample.of(np.zeros((28, 28, 3), np.uint8), 0).model_dump()},
        {"golden_sample": GoldenSample.of(np.zeros((9000, 9000, 1), np.uint8), 0).model_dump()},
        {"format_version": True},
        {"format_version": 0},
        {"format_version": "1"},
        {"files": {"../evil": {"sha256": "0" * 64, "size": 1}}},
        {"surprise": 1},
        {"name": "\x1b]0;title\x07"},
        {"name": "n" * 1000},
        {"license": "a\nb"},
        {"gan_serve_version": "\x1b[2J"},
        {"two\nlines \x1b[2J" + "n" * 1000: 1},
    ],
)
def test_a_config_that_describes_another_network_is_refused(copy, change):
    edit(copy, **change)
    with pytest.raises((InvalidCheckpoint, GoldenSampleMismatch)) as error:
        Generator.from_pretrained(copy)
    told = error.value.message + error.value.hint
    assert told.isprintable()
    assert len(told) < 400 + len(str(copy))


def test_a_later_format_says_what_to_install(copy):
    edit(copy, format_version=2, gan_serve_version="3.1.0")
    with pytest.raises(FormatTooNew) as error:
        Generator.from_pretrained(copy)
    assert "3.1.0" in error.value.hint


@pytest.mark.parametrize("version", ["\x1b[2J", "9" * 1000, "a b", None, ["9"]])
def test_a_later_format_says_nothing_that_is_no_version(copy, version):
    edit(copy, format_version=10**2000, gan_serve_version=version)
    with pytest.raises(FormatTooNew) as error:
        Generator.from_pretrained(copy)
    assert error.value.hint == "Install a later gan-serve."
    assert len(error.value.message) < 200 + len(str(copy))


def test_the_network_runs_in_any_onnx_runtime(checkpoint):
    """Only onnxruntime and NumPy, in a process that never sees gan_serve."""
    code = f"""
import numpy, onnxruntime
session = onnxruntime.InferenceSession({str(checkpoint / "generator.onnx")!r}, providers=["CPUExecutionProvider"])
z = numpy.random.RandomState(0).standard_normal(100).astype("float32")[None]
print(session.run(None, {{"z": z}})[0].tobytes().hex())
"""
    drawn = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    golden = read_config(checkpoint).golden_sample.pixels()
    difference = np.abs(np.frombuffer(bytes.fromhex(drawn), np.uint8).astype(int) - golden.ravel())
    assert difference.max() <= 1
