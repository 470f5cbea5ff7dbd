"""Layers that use the whole batch: minibatch deviation and discrimination, and the networks that have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from network_cases import DISCRIMINATORS, NARROW, images
from torch import nn

from gan_serve.training.networks import build_discriminator
from gan_serve.training.networks.layers import MinibatchDiscrimination, MinibatchStd, normalise_spectrally


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# What looks at the whole batch


def test_minibatch_std_of_equal_images_is_0():
    features = torch.randn(1, 5).expand(4, -1)
    joined = MinibatchStd()(features)
    assert torch.equal(joined[:, :5], features)
    assert joined[:, 5].tolist() == pytest.approx([0] * 4, abs=2e-4)
    assert MinibatchStd()(features[:1])[0, 5].item() == pytest.approx(0, abs=2e-4)


def test_minibatch_std_is_the_mean_deviation():
    pair = torch.tensor([[0.0, 0.0], [2.0, 6.0]])  # deviations 1 and 3
    assert MinibatchStd()(pair)[:, 2].tolist() == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize(("n", "group"), [(4, 4), (8, 4), (6, 3), (5, 1), (2, 2)])
def test_minibatch_std_of_maps_agrees_with_numpy(n, group):
    maps = torch.randn(n, 3, 2, 2)
    joined = MinibatchStd()(maps)
    assert joined.shape == (n, 4, 2, 2)
    together = [maps.numpy()[i % (n // group) :: n // group] for i in range(n)]
    expected = [members.std(axis=0).mean() for members in together]
    assert joined[:, 3, 1, 0].tolist() == pytest.approx(expected, abs=2e-4)
    assert torch.equal(joined[:, 3], joined[:, 3, :1, :1].expand(-1, 2, 2))


def test_minibatch_discrimination_of_equal_images_is_all_the_others():
    closeness = MinibatchDiscrimination(5, kernels=7)(torch.randn(1, 5).expand(6, -1))[:, 5:]
    torch.testing.assert_close(closeness, torch.full((6, 7), 5.0))


def test_minibatch_discrimination_of_distant_images_is_0():
    closeness = MinibatchDiscrimination(5, kernels=7)(1e4 * torch.randn(6, 5))[:, 5:]
    torch.testing.assert_close(closeness, torch.zeros(6, 7))


def test_minibatch_discrimination_is_its_formula():
    layer = MinibatchDiscrimination(5, kernels=3, kernel_dim=2)
    features = torch.randn(4, 5)
    m = layer.project(features).detach().numpy().reshape(4, 3, 2)
    expected = [
        [sum(np.exp(-np.abs(m[i, b] - m[j, b]).sum()) for j in range(4) if j != i) for b in range(3)] for i in range(4)
    ]
    joined = layer(features)
    assert torch.equal(joined[:, :5], features)
    np.testing.assert_allclose(joined[:, 5:].detach().numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("minibatch", ["none", "std", "discrimination"])
@pytest.mark.parametrize("name", [*DISCRIMINATORS, "progressive", "stylegan"])
@pytest.mark.parametrize("resolution", [8, 16])
def test_mixes_batch_says_whether_a_logit_depends_on_the_other_images(name, minibatch, resolution):
    family, options = DISCRIMINATORS.get(name, (name, {}))
    discriminator = build_discriminator(
        family, img_resolution=resolution, img_channels=1, minibatch=minibatch, width=1 / 8, **options
    )
    for module in discriminator.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    one, other = images(4, 1, resolution), images(4, 1, resolution) / 4
    other[0] = one[0]
    difference = (discriminator(one)[0] - discriminator(other)[0]).abs().item()
    assert discriminator.mixes_batch == (difference > 1e-6), difference


def test_spectral_normalisation_leaves_mixes_batch_as_it_is():
    for minibatch in ("none", "std", "discrimination"):
        discriminator = build_discriminator("mlp", img_resolution=8, img_channels=1, minibatch=minibatch, **NARROW)
        before = discriminator.mixes_batch
        normalise_spectrally(discriminator)
        assert discriminator.mixes_batch == before
