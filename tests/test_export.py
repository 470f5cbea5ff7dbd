"""From a run on real digits to a checkpoint that the runtime accepts."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from gan_serve import Generator
from gan_serve.checkpoint.config import precisions
from gan_serve.checkpoint.files import verify_checkpoint
from gan_serve.errors import CannotWrite, ExportRefused, InvalidOption, RunError
from gan_serve.exports import certify
from gan_serve.exports.card import Measurements, Publication, model_card
from gan_serve.exports.export import export_run
from gan_serve.exports.parity import Parity, compare_with
from gan_serve.exports.to_onnx import PixelGenerator, to_onnx
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.config import make_config
from gan_serve.training.evaluation.pixel_metrics import mean_gradient
from gan_serve.training.load_run import load_trained
from gan_serve.training.loop import train
from gan_serve.training.networks import build_generator
from gan_serve.training.snapshots import load_snapshot, snapshots

pytestmark = pytest.mark.usefixtures("fewer_images")


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "digits"
    settings = {
        "resolution": 8,
        "batch_size": 32,
        "kimg": 2,
        "kimg_per_tick": 1,
        "ticks_per_evaluation": 0,
        "z_dim": 16,
        "data": str(digits),
        "ema_kimg": 0.2,
        "width": 0.25,
    }
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
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "other"
    assert head["license_name"] == f"{head['model-index'][0]['results'][0]['dataset']['name']}-terms"
    assert head["datasets"] == [head["model-index"][0]["results"][0]["dataset"]["name"]]
    assert head["pipeline_tag"] == "unconditional-image-generation"
    assert "--recipe dcgan-28" in card
    assert re.search(r"- 2\.\d+ thousand images shown \(\d\.\d passes\), \d+ s on \d+ CPU threads?", card)
    assert json.loads((exported / "parity.json").read_text())["max_difference"] <= 1
    assert "mean_gradient_1000_seeds" in json.loads((exported / "metrics.json").read_text())
    with Image.open(exported / "samples.png") as grid:
        assert grid.size == (82, 82)


def test_the_card_says_whether_truncation_is_of_use(exported, digits):
    """By the sharpness that is left at 0.7, as a share of the training images'."""
    generator = Generator.from_pretrained(exported)
    real = json.loads((exported / "metrics.json").read_text())["mean_gradient_1000_train"]
    at_1, at_07 = (
        mean_gradient(generator.generate(n=1000, seed=0, truncation=truncation, output="numpy")) / real
        for truncation in (1.0, 0.7)
    )
    [paragraph] = [line for line in (exported / "README.md").read_text().splitlines() if line.startswith("Truncation,")]
    assert f"at 0.7 the images have {at_07:.2f} of the sharpness of the training images ({at_1:.2f} at 1)" in paragraph
    assert ("is of no use for this model" in paragraph) == (at_07 < 0.9)
    assert "1 changes nothing, 0 gives the image of the latent 0" in paragraph


@pytest.mark.parametrize(
    ("left", "says"),
    [pytest.param(18.1, "gives up variety", marks=pytest.mark.slow), (17.9, "is of no use for this model")],
)
def test_truncation_that_blurs_is_said_to_be_of_no_use(run, exported, left, says):
    trained = load_trained(run)
    data = trained.info.data.model_copy(update={"metrics": {"mean_gradient_1000_train": 20.0}})
    trained = trained._replace(info=trained.info.model_copy(update={"data": data}))
    parity = Parity.model_validate_json((exported / "parity.json").read_bytes())
    measured = Measurements(parity, {}, {"fp32": 1}, gradient=19.0, truncated_gradient=left, truncation=0.7)
    card = model_card("name", trained, Publication("mit", "nobody"), measured)
    assert f"Truncation, from 0 to 1, {says}" in card
    assert "(0.95 at 1)" in card


def test_parity_is_refused_beyond_one_grey_level(exported, run):
    torch.manual_seed(0)
    model, architecture = (exported / "generator.onnx").read_bytes(), verify_checkpoint(exported).architecture
    assert compare_with(model, PixelGenerator(load_trained(run).generator).eval()).max_difference <= 1
    other = build_generator(architecture.family, **architecture.arguments).eval()
    with pytest.raises(ExportRefused, match="differs from torch by"):
        compare_with(model, PixelGenerator(other).eval())


class Plain(nn.Module):
    """The attributes that every generator has beside its ``forward``."""

    z_dim, c_dim, truncation_space = 16, 0, "z"


class BatchMean(Plain):
    """A generator whose images depend on their batch."""

    def forward(self, z: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        return (z - z.mean(0)).tanh().reshape(-1, 1, 4, 4)


def test_a_network_whose_images_depend_on_the_batch_is_refused():
    with pytest.raises(ExportRefused, match="depend on its batch"):
        compare_with(to_onnx(BatchMean()), PixelGenerator(BatchMean()).eval())


class Fixed(Plain):
    """A generator that turns N into a constant when it is traced."""

    def forward(self, z: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        return torch.zeros(len(z), 1, 4, 4) + z.mean()


def test_a_network_that_fixes_the_number_of_images_is_refused():
    with pytest.raises(ExportRefused, match="fixes the number of images in z"):
        to_onnx(Fixed())


class Means(Plain):
    """Means over features, channels and pixels, so much enlarged that another order of their sums changes pixels."""

    z_dim = 13 * 25

    def forward(self, z: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        maps = z.reshape(-1, 13, 5, 5)
        features, channels, pixels = (
            z.mean(1, keepdim=True),
            maps.mean(1, keepdim=True),
            maps.mean((2, 3), keepdim=True),
        )
        total = features[:, :, None, None] + channels + pixels[:, :1]
        return (total * 1e6) % 2 - 1


def test_means_do_not_depend_on_the_batch():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_onnx(Means()), options, providers=["CPUExecutionProvider"])
    z = latents_from_seeds(range(20), Means.z_dim)
    [whole] = session.run(["img"], {"z": z})
    for size in (1, 3, 7):
        pieces = [session.run(["img"], {"z": z[start : start + size]})[0] for start in range(0, 20, size)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)
    with torch.no_grad():
        expected = PixelGenerator(Means())(torch.from_numpy(z)).numpy()
    assert np.median(np.abs(whole.astype(np.int16) - expected)) < 128  # the same means, up to their last bits


def test_pixels_are_rounded_to_the_nearest_grey_level():
    class Identity(Plain):
        z_dim = 1

        def forward(self, z: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
            return z.reshape(-1, 1, 1, 1)

    z = np.array([[-1.0], [-0.5], [0.0], [0.123], [1.0]], np.float32)
    expected = np.rint((z + 1) * 127.5)[:, :, None, None]
    assert (PixelGenerator(Identity())(torch.from_numpy(z)).numpy() == expected).all()
    session = onnxruntime.InferenceSession(to_onnx(Identity()), providers=["CPUExecutionProvider"])
    assert (session.run(["img"], {"z": z})[0] == expected).all()


def test_a_run_that_diverged_is_not_exported(run, tmp_path):
    state = load_snapshot(snapshots(run)[-1])
    state["ema"]["layers.conv3.bias"].fill_(math.nan)
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(ExportRefused, match="weights that are not finite"):
        export_run(run, tmp_path / "out", snapshot=tmp_path / "nan.pt")


def test_an_export_overwrites_nothing(exported, run):
    with pytest.raises(CannotWrite, match="already exists"):
        export_run(run, exported)


def test_what_cannot_be_exported_says_why(cli, run, tmp_path):
    outcome = cli("export", run, "--out", tmp_path / "out", "--back")
    assert (outcome.code, "The run has no way back." in outcome.err) == (1, True)
    with pytest.raises(RunError, match="has no training run"):
        export_run(tmp_path, tmp_path / "out")
    with pytest.raises(InvalidOption, match="cannot be the name"):
        export_run(run, tmp_path / "out", name="a/b")
    with pytest.raises(InvalidOption, match="not the name of a licence"):
        export_run(run, tmp_path / "out", publication=Publication(license="a\n---\nevil: 1"))
    (tmp_path / "bad.pt").write_bytes(b"no")
    with pytest.raises(RunError, match="cannot be read"):
        export_run(run, tmp_path / "out", snapshot=tmp_path / "bad.pt")
    assert not (tmp_path / "out").exists()


def test_only_the_precisions_that_were_asked_for_are_made(cli, run, tmp_path, monkeypatch):
    def no_work(*_: object) -> None:
        raise AssertionError("it was not requested")

    monkeypatch.setattr(certify, "to_int8", no_work)
    words = ["export", run, "--out", tmp_path / "out", "--precisions"]
    for given, says in (
        ("fp32,int9", "There is no precision 'int9'; choose from: fp32, int8, fp16.\nDid you mean 'int8'?"),
        ("", "There is no precision ''"),
        ("int8", "Every checkpoint has fp32"),
    ):
        outcome = cli(*words, given)
        assert outcome.code == 1
        assert says in outcome.err
    assert not (tmp_path / "out").exists()
    outcome = cli(*words, "fp32, fp16", "--credit", "Pictures by A. Painter", "--note", "Trained\nbriefly.")
    assert outcome.code == 0, outcome.err
    assert precisions(verify_checkpoint(tmp_path / "out")) == ["fp32", "fp16"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Pictures by A. Painter" in card.partition("## Training")[2].partition("## ")[0]
    assert card.partition("## Limits")[2].endswith("\n\nTrained briefly.\n")
    assert "There is no int8 file: it was not requested." in card
    parity = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert parity["refused"] == {"int8": "it was not requested"}


@pytest.mark.slow
def test_the_same_weights_export_to_the_same_bytes():
    generator = build_generator("stylegan", z_dim=6, img_resolution=8, img_channels=1, c_dim=2, width=0.05).eval()
    metadata = {"name": "a", "license": "mit"}
    assert to_onnx(generator, metadata) == to_onnx(generator, dict(reversed(metadata.items())))


def test_the_card_of_a_run_that_was_exported_before_its_end_tells_how_long_it_was(run, exported):
    first = snapshots(run)[0]
    parity = Parity.model_validate_json((exported / "parity.json").read_bytes())  # of another export
    measured = Measurements(parity, {}, {"fp32": 1}, gradient=19.0, truncated_gradient=18.0, truncation=0.7)
    card = model_card("early", load_trained(run, first), Publication("mit", "nobody"), measured)
    _check_the_card_of_a_part(card, first)
    assert verify_checkpoint(exported).training_data.name == "digits"


@pytest.mark.slow
def test_an_earlier_snapshot_is_exported(run, tmp_path):
    first = snapshots(run)[0]
    exported = export_run(run, tmp_path / "early", snapshot=first, precisions=["fp32"])
    _check_the_card_of_a_part((exported / "README.md").read_text(), first)
    weights, ema = load_file(exported / "generator.safetensors"), load_snapshot(first)["ema"]
    assert all(torch.equal(weights[name], ema[name]) for name in ema)


def _check_the_card_of_a_part(card: str, snapshot: Path) -> None:
    assert " --kimg 1 " in card
    shown = load_snapshot(snapshot)["shown"]
    assert f"- {shown / 1000:.3g} thousand images shown of 2 planned (" in card
    assert f"half-life {0.05 * shown / 1000:.3g} thousand images." in card  # ema_rampup
