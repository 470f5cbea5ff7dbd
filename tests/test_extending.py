"""Adding a loss, an augmentation and a family of networks: one function or file each, and its name in a registry."""

from __future__ import annotations

from typing import Annotated

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn
from training_runs import SMALL

from gan_serve.errors import InvalidOption
from gan_serve.training.augment import AUGMENTATIONS
from gan_serve.training.config import command_line, make_config, parse_settings
from gan_serve.training.data.batch_loader import Loader
from gan_serve.training.data.load import load_images
from gan_serve.training.losses import LOSSES, Loss, Targets
from gan_serve.training.networks import FAMILIES, Family
from gan_serve.training.networks.discriminator import Discriminator
from gan_serve.training.networks.options import NetworkOptions
from gan_serve.training.random_numbers import StepRandom
from gan_serve.training.step import Training


def absolute(real_logits: Tensor, fake_logits: Tensor, _targets: Targets) -> Tensor:
    return (1 - real_logits).abs().mean() + (1 + fake_logits).abs().mean()


def absolute_generator(fake_logits: Tensor) -> Tensor:
    return (1 - fake_logits).abs().mean()


def invert(images: Tensor, random: StepRandom) -> Tensor:
    return torch.where(random.uniform(len(images), 1, 1, 1) < 0.5, -images, images)


class LinearOptions(NetworkOptions):
    gain: Annotated[float, Field(gt=0)] | None = None  # multiplies the generator's output


class LinearGenerator(nn.Module):
    truncation_space = "z"

    def __init__(self, z_dim: int, img_resolution: int, img_channels: int, c_dim: int = 0, gain: float = 1.0) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.gain = z_dim, c_dim, gain
        self.layers = nn.Sequential(
            nn.Linear(z_dim, img_channels * img_resolution**2),
            nn.Unflatten(1, (img_channels, img_resolution, img_resolution)),
        )

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.gain * self.layers(z)


class LinearDiscriminator(Discriminator):
    def __init__(
        self, img_resolution: int, img_channels: int, c_dim: int = 0, minibatch: str = "none", dropout: float = 0.0
    ) -> None:
        body = nn.Sequential(nn.Flatten(), nn.Dropout(dropout))
        super().__init__(body, img_channels * img_resolution**2, c_dim=c_dim, minibatch=minibatch)


@pytest.fixture
def additions(monkeypatch):
    monkeypatch.setitem(LOSSES, "absolute", Loss(absolute, absolute_generator, has_targets=False, boundary=0.0))
    monkeypatch.setitem(AUGMENTATIONS, "invert", invert)
    monkeypatch.setitem(FAMILIES, "linear", Family(LinearGenerator, LinearDiscriminator, LinearOptions))


def test_what_is_named_in_a_registry_trains_by_its_name(additions, digits):
    typed = parse_settings(["family=linear", "gain=0.5", "loss=absolute", "augment=invert", "dropout=0.1"])
    config = make_config("mlp-gan", SMALL | {"data": str(digits), "channels": 1, "bf16": False} | typed)
    assert config.network_options == {"gain": 0.5, "dropout": 0.1}
    assert "--set gain=0.5" in command_line(config)
    training = Training.start(config, torch.device("cpu"))
    assert training.generator.gain == 0.5
    loader = Loader(load_images(digits), seed=0, labels=False, device=torch.device("cpu"))
    before = training.generator.layers[0].weight.detach().clone()
    training.step([loader.batch(0, config.batch_size)])
    assert not torch.equal(training.generator.layers[0].weight, before)
    assert {"d_loss", "d_acc", "g_loss"} <= training.record().keys()


def test_options_are_checked_where_the_family_describes_them(additions):
    with pytest.raises(InvalidOption, match="gain: Input should be greater than 0"):
        make_config("mlp-gan", {"data": "x", "family": "linear", "gain": 0})
    with pytest.raises(InvalidOption, match="mlp have no gain") as error:
        make_config("mlp-gan", {"data": "x", "gain": 1})
    assert "dropout" in error.value.hint
