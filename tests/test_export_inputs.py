"""Exported networks that take more than latents: labels, and psi."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from gan_serve import Generator
from gan_serve.checkpoint.files import verify_checkpoint
from gan_serve.errors import InvalidCheckpoint
from gan_serve.exports.export import export_run
from gan_serve.exports.parity import compare_with
from gan_serve.exports.to_onnx import PixelGenerator, to_onnx
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.config import make_config
from gan_serve.training.loop import train
from gan_serve.training.networks import FAMILIES, build_generator
from gan_serve.training.snapshots import load_snapshot, snapshots
from gan_serve.verify import verify_image

pytestmark = pytest.mark.usefixtures("fewer_images")


@pytest.fixture(scope="module")
def conditional_run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "labelled"
    settings = {"resolution": 8, "batch_size": 32, "kimg": 0.5, "z_dim": 16, "data": str(digits), "ema_kimg": 0.1}
    train(make_config("dcgan-28", settings | {"conditional": True, "width": 0.25}), run_dir, quiet=True)
    return run_dir


@pytest.fixture(scope="module")
def conditional(conditional_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(conditional_run, tmp_path_factory.mktemp("out") / "digits-cgan")


def test_a_conditional_run_becomes_a_checkpoint_with_labels(conditional, conditional_run):
    config = verify_checkpoint(conditional)
    assert (config.c_dim, config.class_names, config.golden_sample.label) == (10, tuple("0123456789"), 0)
    generator = Generator.from_pretrained(conditional)
    labels = ["3", 0, "9", "9", 7]
    drawn = generator.generate(seeds="0-4", label=labels, output="numpy")
    network = build_generator(config.architecture.family, **config.architecture.arguments).eval()
    network.load_state_dict(load_snapshot(snapshots(conditional_run)[-1])["ema"])
    with torch.no_grad():
        expected = PixelGenerator(network)(
            torch.from_numpy(latents_from_seeds(range(5), 16)), torch.tensor([3, 0, 9, 9, 7])
        ).numpy()
    assert np.abs(drawn.astype(np.int16) - expected).max() <= 1
    of_each = [generator.generate(seeds=5, label=name, output="numpy")[0] for name in generator.labels]
    assert len({image.tobytes() for image in of_each}) == 10


def test_the_card_of_a_conditional_checkpoint_tells_its_labels(conditional):
    card = (conditional / "README.md").read_text()
    assert 'label="9")' in card
    assert "--label 9" in card
    assert "`0`, `1`, `2`" in card
    assert "`c` int64 [N]" in card
    assert "unconditional" not in card
    with Image.open(conditional / "samples.png") as grid:
        assert grid.size == (82, 102)  # 8 latents under each of 10 classes
    parity = json.loads((conditional / "parity.json").read_text())
    assert (parity["labels"], parity["seeds"]) == (10, 6)


def test_an_image_with_a_label_verifies(conditional, tmp_path):
    Generator.from_pretrained(conditional).generate(seeds=3, label="4", truncation=0.7)[0].save(tmp_path / "a.png")
    assert verify_image(tmp_path / "a.png", conditional).receipt.label == "4"


@pytest.fixture(scope="module")
def stylegan(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of StyleGAN with labels, and its export."""
    settings = {"resolution": 8, "batch_size": 16, "kimg": 0.1, "z_dim": 10, "data": str(digits), "ema_kimg": 0.01}
    run_dir = tmp_path_factory.mktemp("runs") / "stylegan"
    settings |= {"width": 0.05, "mapping_layers": 2, "conditional": True}
    train(make_config("stylegan", settings), run_dir, quiet=True)
    return run_dir, export_run(run_dir, tmp_path_factory.mktemp("out") / "digits-stylegan", precisions=["fp32"])


def test_psi_is_a_graph_input_and_the_mean_w_lies_inside(stylegan):
    run, exported = stylegan
    config = verify_checkpoint(exported)
    assert config.truncation_space == "w"
    network = build_generator(config.architecture.family, **config.architecture.arguments).eval()
    network.load_state_dict(load_snapshot(snapshots(run)[-1])["ema"])
    generator = Generator.from_pretrained(exported)
    z = torch.from_numpy(latents_from_seeds(range(9), 10))
    labels = torch.arange(9)
    for truncation in (1.0, 0.6, 0.0):
        drawn = generator.generate(seeds="0-8", label=labels.tolist(), truncation=truncation, output="numpy")
        psi = None if truncation == 1.0 else torch.full((9,), truncation)
        with torch.no_grad():
            expected = PixelGenerator(network)(z, labels, psi).numpy()
        assert np.abs(drawn.astype(np.int16) - expected).max() <= 1
    assert "psi: w' = mean + psi (w - mean)" in (exported / "README.md").read_text()


def test_psi_zero_draws_the_mean_for_every_seed_and_one_is_the_identity(stylegan):
    generator = Generator.from_pretrained(stylegan[1])
    sixteen = {"n": 16, "seed": 0, "label": 3, "output": "numpy"}
    plain = generator.generate(**sixteen)
    np.testing.assert_array_equal(generator.generate(**sixteen, truncation=1.0), plain)
    assert (generator.generate(**sixteen, truncation=0.5) != plain).any(axis=(1, 2, 3)).all()
    mean = generator.generate(**sixteen, truncation=0)
    assert (mean == mean[0]).all()
    walk = generator.interpolate([0, 5], steps=3, label=3, truncation=0, output="numpy")
    assert (walk == mean[0]).all()


def test_an_image_does_not_depend_on_the_psi_of_others(stylegan):
    session = onnxruntime.InferenceSession(
        (stylegan[1] / "generator.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    z, psi = latents_from_seeds(range(11), 10), np.linspace(0, 1, 11, dtype=np.float32)
    inputs = {"z": z, "c": np.arange(11) % 10, "psi": psi}
    [whole] = session.run(["img"], inputs)
    for index in range(11):
        [[alone]] = session.run(["img"], {name: values[index : index + 1] for name, values in inputs.items()})
        np.testing.assert_array_equal(alone, whole[index])


def test_a_truncated_image_verifies(stylegan, tmp_path):
    exported = stylegan[1]
    Generator.from_pretrained(exported).generate(seeds=3, label=0, truncation=0.7)[0].save(tmp_path / "a.png")
    assert verify_image(tmp_path / "a.png", exported).receipt.truncation == 0.7


@pytest.mark.parametrize("claim", ["z", "no labels"])
def test_a_config_that_describes_other_inputs_is_refused(stylegan, tmp_path, claim):
    copy = Path(shutil.copytree(stylegan[1], tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    if claim == "z":
        config["truncation_space"] = "z"
    else:
        config |= {"c_dim": 0, "class_names": []}
        config["golden_sample"]["label"] = None
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidCheckpoint, match=r"its config requires others|is not expected"):
        Generator.from_pretrained(copy)


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=() if name == "mlp" else pytest.mark.slow) for name in FAMILIES],
)
def test_every_family_exports_with_labels(family):
    torch.manual_seed(0)
    arguments = {"z_dim": 6, "img_resolution": 8, "img_channels": 3, "c_dim": 20, "width": 0.05}
    generator = build_generator(family, **arguments).eval()
    model = to_onnx(generator, {"name": family})
    assert {prop.key: prop.value for prop in onnx.load_from_string(model).metadata_props} == {"name": family}
    parity = compare_with(model, PixelGenerator(generator).eval())
    assert parity.batch_invariant
    assert (parity.labels, parity.seeds) == (16, 4)  # of the 64 images of ``fewer_images``
