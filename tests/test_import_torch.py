"""State dicts of PyTorch's DCGAN example and its copies: from ``netG_epoch_24.pth`` to a served checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_generators import NZ, NetD, net_g
from hub_server import DEPRECATED, WRITER
from safetensors.torch import save_file
from servers import running
from torch import nn

from gan_serve import Generator
from gan_serve.checkpoint.files import verify_checkpoint
from gan_serve.errors import ImportRefused, InvalidOption
from gan_serve.exports.imports.dcgan_weights import to_dcgan
from gan_serve.exports.imports.import_generator import import_generator
from gan_serve.exports.imports.options import ImportOptions
from gan_serve.exports.imports.state_dicts import read_safetensors, read_torch_file
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.load_checkpoint import load_generator

pytestmark = pytest.mark.usefixtures("fewer_images")


def expected_images(network: nn.Module, seeds: range) -> np.ndarray:
    """The images of the original, float in grey levels [N, H, W, C]."""
    latents = torch.from_numpy(latents_from_seeds(seeds, NZ))
    with torch.no_grad():
        return ((network(latents[:, :, None, None]) + 1) * 127.5).permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def pth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "netG_epoch_24.pth"
    torch.save(net_g().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def imported(pth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "faces"
    made = import_generator(pth, out, license="bsd-3-clause", credit="The authors of the example", precisions=["fp32"])
    assert made.directory == out
    return out


def test_it_computes_what_the_original_does(imported):
    config = verify_checkpoint(imported)
    assert (config.z_dim, config.img_resolution, config.img_channels, config.c_dim) == (NZ, 64, 3, 0)
    assert config.architecture.family == "dcgan"
    images = Generator.from_pretrained(imported).generate(seeds="0-7", output="numpy")
    expected = expected_images(net_g(), range(8))
    assert np.abs(images - expected).max() <= 1
    assert images.std() > 20


def test_its_card_names_the_file_the_author_and_what_was_assumed(imported, pth):
    card = (imported / "README.md").read_text()
    assert f"`netG_epoch_24.pth` (sha256 `{hashlib.sha256(pth.read_bytes()).hexdigest()}`)" in card
    assert "- Author: The authors of the example\n- Licence of the weights: `bsd-3-clause`" in card
    assert "Assumed, since a state dict does not say: BatchNorm and ReLU" in card
    assert "--init-from" in card


def test_a_run_can_start_from_it(imported):
    generator = load_generator(imported).generator
    with torch.no_grad():
        images = generator(torch.from_numpy(latents_from_seeds(range(4), NZ)))
    assert np.abs((images.permute(0, 2, 3, 1).numpy() + 1) * 127.5 - expected_images(net_g(), range(4))).max() < 0.01


@pytest.mark.filterwarnings(DEPRECATED)
def test_it_is_served_pushed_and_pulled(imported, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    Generator.from_pretrained(imported).push_to_hub("somebody/faces")
    pulled = Generator.from_pretrained("somebody/faces")
    ours = Generator.from_pretrained(imported)
    assert (pulled.generate(seed=3, n=2, output="numpy") == ours.generate(seed=3, n=2, output="numpy")).all()
    with running([str(imported)], tmp_path) as client:
        response = client.post("/sample", json={"model": "faces", "seed": 3})
        assert response.status_code == 200, response.text
        assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("bias", [False, True])
def test_names_and_order_of_the_copies_are_understood(bias, tmp_path):
    """safetensors sorts names as text, DataParallel has a prefix, other authors have biases before BatchNorm."""
    network = net_g(bias=bias, nc=1)
    if bias:
        for layer in network.modules():
            if isinstance(layer, nn.ConvTranspose2d):
                layer.bias.data.normal_()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    torch.save({"epoch": 3, "netG": nn.DataParallel(network).state_dict(), "netD": NetD().state_dict()}, tmp_path / "a")
    read = read_safetensors((tmp_path / "model.safetensors").read_bytes(), "model.safetensors")
    nested = read_torch_file((tmp_path / "a").read_bytes(), "a")
    assert set(nested) == {"netG", "netD"}
    for weights in (read[""], nested["netG"]):
        generator, arguments = to_dcgan(weights, "it")
        assert arguments["img_channels"] == 1
        z = torch.randn(4, NZ)
        with torch.no_grad():
            assert (generator(z) - network(z[:, :, None, None])).abs().max() < 2e-5
    with pytest.raises(ImportRefused, match="is a discriminator"):
        to_dcgan(nested["netD"], "it")


def test_uniform_latents_are_those_of_the_original():
    network = net_g()
    floats = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    generator, _ = to_dcgan(floats, "it", latents="uniform")
    z = torch.randn(4, NZ)
    uniform = torch.erf(z / 2**0.5)
    with torch.no_grad():
        assert (generator(z) - network(uniform[:, :, None, None])).abs().max() < 2e-5


def test_a_repository_of_the_hub_is_a_source(hub, tmp_path, cli):
    content = tmp_path / "repository"
    content.mkdir()
    torch.save(net_g(ngf=2).state_dict(), content / "pytorch_model.bin")
    torch.save(NetD().state_dict(), content / "netD.pth")
    (content / "README.md").write_text("# weights\n")
    commit = hub.publish("somebody/dcgan", content)
    arguments = ("--license", "mit", "--precisions", "fp32")
    outcome = cli("import", "somebody/dcgan", "--out", tmp_path / "out", *arguments)
    assert outcome.code == 0, outcome.err
    assert "Assumed, since a state dict does not say" in outcome.out
    assert f"`somebody/dcgan@{commit}/pytorch_model.bin`" in (tmp_path / "out" / "README.md").read_text()
    outcome = cli("import", "somebody/dcgan", "--out", tmp_path / "again", "--file", "netD.pth", *arguments)
    assert (outcome.code, outcome.out) == (1, "")
    assert "netD.pth is a discriminator" in outcome.err


def test_what_does_not_fit_is_named(pth, tmp_path):
    with pytest.raises(InvalidOption, match="read as a DCGAN without classes"):
        import_generator(pth, tmp_path / "out", license="mit", options=ImportOptions(class_names=("a", "b")))
    network = nn.Sequential(nn.Linear(100, 64), nn.LSTM(64, 64), nn.ConvTranspose2d(1, 1, 4))
    with pytest.raises(ImportRefused, match=r"its layers 0 \(weight, bias\), 1 \(weight_ih_l0.*export_module"):
        to_dcgan(network.state_dict(), "it")
    other = nn.Sequential(nn.ConvTranspose2d(100, 8, 4), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 3, 3))
    floats = {name: value for name, value in other.state_dict().items() if value.is_floating_point()}
    with pytest.raises(ImportRefused, match="its kernels are 4x4, 3x3"):
        to_dcgan(floats, "it")
