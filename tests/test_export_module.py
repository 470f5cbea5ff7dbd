"""Any torch module as a checkpoint: ``export_module``, which makes the same promises as ``gan-serve export``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from gan_serve import Generator
from gan_serve.checkpoint.files import verify_checkpoint
from gan_serve.errors import CannotWrite, ExportRefused, InvalidOption
from gan_serve.exports import export_module
from gan_serve.sampling.latents import latents_from_seeds

pytestmark = pytest.mark.usefixtures("fewer_images")


class Conditional(nn.Module):
    """A small generator with labels: 8x8 RGB."""

    def __init__(self, last: nn.Module | None = None) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 4)
        self.dense = nn.Linear(10, 32 * 4)
        self.norm = nn.BatchNorm2d(32)
        self.up = nn.ConvTranspose2d(32, 3, 6, stride=2, padding=1)
        self.last = last or nn.Tanh()

    def forward(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        x = self.dense(torch.cat([z, self.embed(c)], 1)).unflatten(1, (32, 2, 2))
        x = nn.functional.interpolate(torch.relu(self.norm(x)), scale_factor=1.5)
        return self.last(self.up(x))


@pytest.fixture(scope="module")
def module() -> Conditional:
    torch.manual_seed(0)
    network = Conditional()
    network.norm.running_mean.normal_()
    return network


@pytest.fixture(scope="module")
def exported(module: Conditional, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "shapes"
    written = export_module(
        module, out, z_dim=6, class_names=["circle", "square", "star"], license="cc0-1.0", credit="Ada", note="A test."
    )
    assert written == out
    return out


def test_a_module_becomes_a_checkpoint_that_computes_its_images(exported, module):
    config = verify_checkpoint(exported)
    assert (config.z_dim, config.class_names, config.license) == (6, ("circle", "square", "star"), "cc0-1.0")
    assert module.training  # it is copied
    images = Generator.from_pretrained(exported).generate(seeds="0-5", label="star", output="numpy")
    z, c = torch.from_numpy(latents_from_seeds(range(6), 6)), torch.full((6,), 2)
    with torch.no_grad():
        expected = (module.eval()(z, c) + 1) * 127.5
    module.train()
    assert images.shape == (6, 8, 8, 3)
    assert np.abs(images - expected.permute(0, 2, 3, 1).numpy()).max() <= 1


def test_its_card_says_whose_weights_they_are_and_under_which_licence(exported):
    card = (exported / "README.md").read_text()
    assert "- Author: Ada\n" in card
    assert "- Licence of the weights: `cc0-1.0`" in card
    assert "torch module `Conditional`" in card
    assert "A test." in card
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "cc0-1.0"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Conditional(nn.Identity()), "The images have values from"),
        (Conditional(nn.Flatten()), r"The module returns float32 \[16, 192\] for 16 latents"),
        (nn.Linear(6, 3), "The module cannot be called with z float32 .16, 6., c int64 .16.: TypeError"),
    ],
)
def test_a_module_with_other_images_is_refused(network, message, tmp_path):
    torch.nn.init.constant_(next(network.parameters()), 3.0)
    with pytest.raises(ExportRefused, match=message):
        export_module(network, tmp_path / "out", z_dim=6, class_names=["a", "b", "c"], license="mit")
    assert not list(tmp_path.iterdir())


def test_what_the_module_must_say_is_checked_first(module, exported, tmp_path):
    with pytest.raises(InvalidOption, match="same name"):
        export_module(module, tmp_path / "out", z_dim=6, class_names=["a", "a", "b"], license="mit")
    with pytest.raises(InvalidOption, match="z_dim must be"):
        export_module(module, tmp_path / "out", z_dim=0, class_names=["a", "b", "c"], license="mit")
    with pytest.raises(InvalidOption, match="not the name of a licence"):
        export_module(module, tmp_path / "out", z_dim=6, class_names=["a", "b", "c"], license="my own")
    with pytest.raises(CannotWrite, match="already exists"):
        export_module(module, exported, z_dim=6, class_names=["a", "b", "c"], license="mit")
    with torch.no_grad():
        broken = Conditional()
        broken.dense.weight[0, 0] = torch.nan
    with pytest.raises(ExportRefused, match="not finite"):
        export_module(broken, tmp_path / "out", z_dim=6, class_names=["a", "b", "c"], license="mit")


class Branches(nn.Module):
    """Its computation depends on values of the latents."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(z if z.sum() > 0 else -z)[:, :4].reshape(-1, 1, 2, 2)


def test_a_module_that_torch_cannot_export_is_refused(tmp_path):
    with pytest.raises(ExportRefused, match=r"torch cannot export the module to ONNX: .* must not depend on values"):
        export_module(Branches(), tmp_path / "out", z_dim=4, license="mit")
    assert not list(tmp_path.iterdir())


def test_the_package_is_imported_without_torch():
    code = "import sys, gan_serve.exports, gan_serve.exports.commands; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
