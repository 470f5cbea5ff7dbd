"""The weights of a generator, read back from the ONNX file of its checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan_serve import Generator
from gan_serve.checkpoint.bundled import BUNDLED, list_models
from gan_serve.checkpoint.files import read_config
from gan_serve.errors import DigestMismatch, InvalidCheckpoint
from gan_serve.exports.to_onnx import PixelGenerator, to_onnx
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training import weights_from_onnx
from gan_serve.training.load_checkpoint import load_generator
from gan_serve.training.networks import build_generator
from gan_serve.training.weights_from_onnx import load_weights_from_onnx

OTHERS_OF_A_FAMILY = ("bricks-dcgan", "faces-cgan", "faces-wgan-gp", "fashion-cgan", "fashion-dcgan")
SMALL_NETWORK = {"z_dim": 16, "img_resolution": 16, "img_channels": 1, "width": 0.1}


@pytest.fixture
def few_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer latents for the statistics, to save time. They do not change images in eval mode."""
    monkeypatch.setattr(weights_from_onnx, "LATENTS", 400)


def without_weights(name: str, tmp_path: Path) -> Path:
    """Return a copy of a bundled checkpoint as the wheel has it."""
    return Path(shutil.copytree(BUNDLED / name, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors")))


def pixels(generator: nn.Module, z: torch.Tensor, c: torch.Tensor | None) -> np.ndarray:
    network = PixelGenerator(generator).eval()
    psi = torch.ones(len(z)) if network.truncation_space == "w" else None
    with torch.no_grad():
        return network(z, c, psi).numpy().astype(int)


# Their weights are in generator.onnx alone, to keep the repository small.
WITHOUT_WEIGHTS = ("avatars-cgan", "bricks-cgan")


@pytest.mark.usefixtures("few_latents")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in OTHERS_OF_A_FAMILY else ()) for name in list_models()],
)
def test_a_bundled_checkpoint_without_its_weights_file_gives_the_same_images(name, tmp_path):
    directory = without_weights(name, tmp_path)
    generator, config, digest = load_generator(directory)
    labels = [seed % config.c_dim for seed in range(32)] if config.c_dim else None
    expected = Generator.from_pretrained(name, device="cpu").sample(seeds=range(32), label=labels).pixels
    z = torch.from_numpy(latents_from_seeds(range(32), config.z_dim))
    drawn = pixels(generator, z, torch.tensor(labels) if labels else None)
    assert np.abs(drawn - expected).max() <= 1
    assert digest == f"sha256:{config.files['generator.onnx'].sha256}"
    weights = BUNDLED / name / "generator.safetensors"
    assert weights.exists() != (name in WITHOUT_WEIGHTS)
    if weights.exists():
        assert generator.state_dict().keys() == load_file(weights).keys()


def test_a_folded_batch_norm_gets_the_statistics_of_10_000_latents(tmp_path):
    """In training mode the images stay close, since a batch has about these statistics."""
    generator = load_generator(without_weights("mnist-mlp", tmp_path)).generator
    z = torch.from_numpy(latents_from_seeds(range(10_000), 100))
    inputs: dict[nn.Module, torch.Tensor] = {}
    for norm in generator.modules():
        if isinstance(norm, _BatchNorm):
            norm.register_forward_pre_hook(lambda module, values: inputs.update({module: values[0]}))
    with torch.no_grad():
        in_eval_mode = generator(z)
        assert len(inputs) == 3
        for norm, x in inputs.items():
            torch.testing.assert_close(norm.running_mean, x.mean(0), rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(norm.running_var, x.var(0), rtol=1e-3, atol=1e-6)
        in_training_mode = generator.train()(z)
    assert (in_training_mode - in_eval_mode).abs().max() < 2e-2
    trained = load_file(BUNDLED / "mnist-mlp" / "generator.safetensors")
    for i in (1, 2, 3):  # the scale after normalisation is that of the training, up to its statistics
        scale = generator.state_dict()[f"layers.norm{i}.weight"] / trained[f"layers.norm{i}.weight"]
        assert scale.std() < 0.1


CASES = [
    ("mlp", {}),
    ("mlp", {"c_dim": 3, "latents": "uniform"}),
    ("dcgan28", {"c_dim": 3}),
    ("dcgan28", {"c_dim": 3, "g_conditioning": "batchnorm"}),
    ("dcgan", {"img_resolution": 32, "g_bias": "all", "img_channels": 3}),
    ("dcgan", {"upsampling": "nearest", "c_dim": 3, "g_conditioning": "batchnorm"}),
    ("dcgan", {"upsampling": "nearest", "g_kernel": 4, "bn_eps": 1e-3}),
    ("resnet", {"c_dim": 3, "block_size": 8, "skip_z": True}),
    ("resnet", {"block": "sngan", "block_size": 16, "c_dim": 3}),
    ("resnet", {"upsampling": "transposed", "block_size": 4}),
    ("resnet", {"block": "r3gan"}),
    ("stylegan", {}),
    ("stylegan", {"c_dim": 3, "img_channels": 3}),
]


@pytest.mark.slow
@pytest.mark.usefixtures("few_latents")
@pytest.mark.parametrize(
    ("family", "arguments"),
    CASES,
    ids=lambda case: str(case) if isinstance(case, str) else "-".join(map(str, case.values())),
)
def test_what_every_family_exports_is_read_back(family, arguments):
    torch.manual_seed(1)
    arguments = SMALL_NETWORK | arguments
    trained = build_generator(family, **arguments)
    for name, value in [*trained.named_parameters(), *trained.named_buffers()]:
        if value.is_floating_point() and "noise_" not in name.rpartition(".")[2].replace("noise_strength", ""):
            value.data += torch.rand_like(value) * (0.5 if "running_var" in name else 0.1)
    z, c = torch.randn(64, 16), torch.arange(64) % 3 if "c_dim" in arguments else None
    read = build_generator(family, **arguments)
    load_weights_from_onnx(to_onnx(trained.eval()), read)
    assert np.abs(pixels(read, z, c) - pixels(trained, z, c)).max() <= 1


@pytest.mark.usefixtures("few_latents")
def test_a_damaged_file_is_refused(tmp_path):
    directory = without_weights("mnist-mlp", tmp_path)
    content = bytearray((directory / "generator.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (directory / "generator.onnx").write_bytes(content)
    with pytest.raises(DigestMismatch, match=r"generator\.onnx"):
        load_generator(directory)


@pytest.mark.parametrize(
    ("family", "arguments", "problem"),
    [
        ("resnet", {"g_spectral_norm": True}, r"\S+ is not in the file"),
        pytest.param("progressive", {}, r"to_rgb\.\d\.\w+ is not in the file", marks=pytest.mark.slow),
    ],
)
def test_a_network_that_cannot_be_read_back_is_refused(family, arguments, problem):
    torch.manual_seed(1)
    model = to_onnx(build_generator(family, **SMALL_NETWORK | arguments).eval())
    with pytest.raises(InvalidCheckpoint, match=problem) as error:
        load_weights_from_onnx(model, build_generator(family, **SMALL_NETWORK | arguments))
    assert "cannot be read from generator.onnx" in error.value.message
    assert "has generator.safetensors" in error.value.hint


def test_weights_of_another_width_are_refused():
    architecture = read_config(BUNDLED / "fashion-dcgan").architecture
    network = build_generator(architecture.family, **architecture.arguments | {"width": 0.2})
    with pytest.raises(InvalidCheckpoint, match=r"no weight in the file fits layers\.dense") as error:
        load_weights_from_onnx((BUNDLED / "fashion-dcgan" / "generator.onnx").read_bytes(), network)
    assert "cannot be read from generator.onnx" in error.value.message
    assert "has generator.safetensors" in error.value.hint
