"""From a run on real digits to a checkpoint that the runtime accepts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from gan_serve import Generator
from gan_serve.checkpoint import verify_checkpoint
from gan_serve.errors import CannotWrite, ExportRefused, InvalidOption, RunError
from gan_serve.exports.export import export_run
from gan_serve.exports.onnx import PixelGenerator, to_onnx
from gan_serve.exports.parity import measure_parity
from gan_serve.latents import latents_from_seeds
from gan_serve.training.config import make_config
from gan_serve.training.networks import build_generator
from gan_serve.training.state import load_snapshot, snapshots
from gan_serve.training.trainer import train


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "digits"
    settings = {"resolution": 8, "batch_size": 32, "kimg": 1, "z_dim": 16, "data": str(digits), "ema_kimg": 0.2}
    train(make_config("dcgan-28", settings), run_dir, quiet=True)
    return run_dir


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(run, tmp_path_factory.mktemp("out") / "digits-dcgan")


def test_a_run_becomes_a_checkpoint_that_the_runtime_accepts(exported, run):
    config = verify_checkpoint(exported)
    assert (config.name, config.z_dim, config.img_resolution, config.license) == ("digits-dcgan", 16, 8, "other")
    drawn = Generator.from_pretrained(exported).generate(n=5, seed=0, output="numpy")
    generator = build_generator(config.architecture.family, **config.architecture.arguments).eval()
    generator.load_state_dict(load_snapshot(snapshots(run)[-1])["ema"])
    with torch.no_grad():
        images = generator(torch.from_numpy(latents_from_seeds(range(5), 16))).permute(0, 2, 3, 1).numpy()
    assert np.abs(drawn - ((images + 1) * 127.5)).max() <= 1.0


def test_the_weights_for_fine_tuning_are_the_averaged_ones(exported, run):
    weights, ema = load_file(exported / "generator.safetensors"), load_snapshot(snapshots(run)[-1])["ema"]
    assert weights.keys() == ema.keys()
    assert all(torch.equal(weights[name], ema[name]) for name in ema)


def test_the_same_run_exports_to_the_same_bytes(exported, run, tmp_path):
    again = export_run(run, tmp_path / "again", name="digits-dcgan")
    for path in exported.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_network_is_one_file_of_standard_operators_without_paths(exported):
    content = (exported / "generator.onnx").read_bytes()
    model = onnx.load_from_string(content)
    assert {node.domain for node in model.graph.node} == {""}
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[1]).encode() not in content
    [z], [img] = model.graph.input, model.graph.output
    assert [dim.dim_param or dim.dim_value for dim in z.type.tensor_type.shape.dim] == ["N", 16]
    assert [dim.dim_param or dim.dim_value for dim in img.type.tensor_type.shape.dim] == ["N", 8, 8, 1]


def test_the_card_tells_how_it_was_trained(exported):
    card = (exported / "README.md").read_text()
    assert "license: other" in card
    assert "--recipe dcgan-28" in card
    assert "1 thousand images shown" in card
    assert json.loads((exported / "parity.json").read_text())["max_difference"] <= 1
    assert "mean_gradient_1000_seeds" in json.loads((exported / "metrics.json").read_text())
    with Image.open(exported / "samples.png") as grid:
        assert grid.size == (82, 82)


def test_parity_is_refused_beyond_one_grey_level():
    torch.manual_seed(0)
    arguments = {"z_dim": 16, "img_resolution": 8, "img_channels": 1}
    one, other = (build_generator("dcgan28", **arguments).eval() for _ in range(2))
    model = to_onnx(one, 16)
    assert measure_parity(model, one, 16).max_difference <= 1
    with pytest.raises(ExportRefused, match="differs from torch by"):
        measure_parity(model, other, 16)


class BatchMean(nn.Module):
    """A generator whose images depend on their batch."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return (z - z.mean(0)).tanh().reshape(-1, 1, 4, 4)


def test_a_network_whose_images_depend_on_the_batch_is_refused():
    with pytest.raises(ExportRefused, match="depend on the batch"):
        measure_parity(to_onnx(BatchMean(), 16), BatchMean(), 16)


@pytest.mark.parametrize("value", [-1.0, -0.5, 0.0, 0.123, 1.0])
def test_pixels_are_rounded_to_the_nearest_grey_level(value):
    class Constant(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return (z * 0 + value).reshape(-1, 1, 2, 2)

    expected = np.rint((value + 1) * 127.5)
    z = torch.zeros(3, 4)
    assert (PixelGenerator(Constant())(z).numpy() == expected).all()
    session = onnxruntime.InferenceSession(to_onnx(Constant(), 4), providers=["CPUExecutionProvider"])
    assert (session.run(["img"], {"z": z.numpy()})[0] == expected).all()


def test_a_run_that_diverged_is_not_exported(run, tmp_path):
    state = load_snapshot(snapshots(run)[-1])
    state["ema"]["layers.conv3.bias"].fill_(math.nan)
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(ExportRefused, match="not all finite"):
        export_run(run, tmp_path / "out", snapshot=tmp_path / "nan.pt")


def test_an_export_overwrites_nothing(exported, run):
    with pytest.raises(CannotWrite, match="already exists"):
        export_run(run, exported)


def test_what_cannot_be_exported_says_why(run, tmp_path):
    with pytest.raises(RunError, match="holds no training run"):
        export_run(tmp_path, tmp_path / "out")
    with pytest.raises(InvalidOption, match="no name"):
        export_run(run, tmp_path / "out", name="a/b")
    with pytest.raises(InvalidOption, match="no name of a licence"):
        export_run(run, tmp_path / "out", license="a\n---\nevil: 1")
    (tmp_path / "bad.pt").write_bytes(b"no")
    with pytest.raises(RunError, match="cannot be read"):
        export_run(run, tmp_path / "out", snapshot=tmp_path / "bad.pt")
    assert not (tmp_path / "out").exists()
