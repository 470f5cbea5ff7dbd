"""BatchNorm statistics estimated anew for given latents."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gan_serve.training.networks import FAMILIES, build_generator
from gan_serve.training.networks.standing_statistics import standing_statistics


class Normalised(nn.Module):
    """z [N, 3] -> a linear layer and BatchNorm, whose statistics are known in closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        x = self.dense(z)
        normalised: torch.Tensor = self.norm(x if c is None else x + c[:, None])
        return normalised


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("labels", [False, True])
@torch.no_grad()
def test_statistics_are_the_mean_over_batches_of_what_the_layer_meets(labels):
    network, z = Normalised(), torch.randn(21, 3) * 0.7 + 2
    c = torch.arange(21) % 3 if labels else None
    met = network.dense(z) + (0 if c is None else c[:, None])
    batches = met[:20].split(5)
    statistics = standing_statistics(network, z, c, batch_size=5)
    assert list(statistics) == ["norm.running_mean", "norm.running_var"]
    expected = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    torch.testing.assert_close(statistics["norm.running_mean"], expected)
    expected = torch.stack([batch.var(0) for batch in batches]).mean(0)
    torch.testing.assert_close(statistics["norm.running_var"], expected)
    whole = standing_statistics(network, z, c, batch_size=100)
    torch.testing.assert_close(whole["norm.running_mean"], met.mean(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_generator_stays_as_it_is_and_takes_its_new_statistics(family):
    generator = build_generator(family, z_dim=8, img_resolution=8, img_channels=1, width=1 / 16).train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    random_state = torch.get_rng_state()
    z = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    statistics = standing_statistics(generator, 0.5 * z)
    assert generator.training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert bool(statistics) == any("running_mean" in name for name in before)
    assert not generator.load_state_dict(statistics, strict=False).unexpected_keys
    for name, value in statistics.items():
        assert torch.equal(generator.state_dict()[name], value)


@torch.no_grad()
def test_with_statistics_of_their_own_truncated_latents_keep_their_contrast():
    generator = build_generator("dcgan", z_dim=16, img_resolution=16, img_channels=1, width=1 / 4)
    z = torch.randn(512, 16)

    def deviation(psi: float, statistics_of: float) -> float:
        generator.load_state_dict(standing_statistics(generator, statistics_of * z), strict=False)
        return float(generator.eval()(psi * z[:64]).std())

    full = deviation(1.0, 1.0)
    assert deviation(0.5, 0.5) == pytest.approx(full, rel=0.1)
    assert deviation(0.5, 1.0) < 0.8 * full


@pytest.mark.parametrize(("n", "batch_size"), [(1, 8), (8, 1)])
def test_one_latent_has_no_variance(n, batch_size):
    with pytest.raises(ValueError, match="two or more"):
        standing_statistics(Normalised(), torch.randn(n, 3), batch_size=batch_size)
