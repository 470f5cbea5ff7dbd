"""Progressive growing: equalised layers, pixel norm, fade-in, the schedule, and what a level leaves out."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from gan_serve.errors import InvalidOption
from gan_serve.training.networks import build_discriminator, build_generator
from gan_serve.training.networks.equalized import EqualizedConv2d, EqualizedLinear, PixelNorm
from gan_serve.training.networks.layers import MinibatchStd
from gan_serve.training.networks.progressive import (
    ProgressiveDiscriminator,
    ProgressiveGenerator,
    channels_at,
    fade_real,
    growth_level,
)

Z_DIM = 8
WIDTH = 1 / 32


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def generator(img_resolution: int = 16, img_channels: int = 1, **arguments: int) -> ProgressiveGenerator:
    shape = {"img_resolution": img_resolution, "img_channels": img_channels}
    return build_generator("progressive", z_dim=Z_DIM, width=WIDTH, **shape, **arguments)  # type: ignore[return-value]


def discriminator(img_resolution: int = 16, img_channels: int = 1, **arguments: object) -> ProgressiveDiscriminator:
    shape = {"img_resolution": img_resolution, "img_channels": img_channels}
    return build_discriminator("progressive", width=WIDTH, **shape, **arguments)  # type: ignore[return-value]


def enlarge(images: Tensor, factor: int) -> Tensor:
    return images.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


# Equalised layers and pixel norm


@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
@pytest.mark.parametrize("lr_multiplier", [1.0, 0.01])
def test_equalised_layers_turn_unit_variance_into_gain_squared(gain: float, lr_multiplier: float) -> None:
    linear = EqualizedLinear(400, 500, gain=gain, lr_multiplier=lr_multiplier)
    conv = EqualizedConv2d(64, 128, 3, gain=gain)
    with torch.no_grad():
        assert linear(torch.randn(200, 400)).var().item() == pytest.approx(gain**2, rel=0.05)
        inside = conv(torch.randn(8, 64, 12, 12))[:, :, 1:-1, 1:-1]  # the border sees the padding's zeros
        assert inside.var().item() == pytest.approx(gain**2, rel=0.05)


def test_equalised_weights_start_as_a_standard_normal() -> None:
    assert EqualizedLinear(300, 300).weight.std().item() == pytest.approx(1, rel=0.02)
    assert EqualizedConv2d(64, 64, 3).weight.std().item() == pytest.approx(1, rel=0.02)
    assert EqualizedLinear(300, 300, lr_multiplier=0.01).weight.std().item() == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("lr_multiplier", [1.0, 0.1])
def test_a_step_of_adam_moves_every_layer_by_its_scale(lr_multiplier: float) -> None:
    """Adam's first step moves each stored number by lr, and so each weight in use by lr * gain / sqrt(fan_in)."""
    for fan_in in (4, 400):
        layer = EqualizedLinear(fan_in, 3, gain=1, lr_multiplier=lr_multiplier)
        x = torch.ones(1, fan_in)
        before = layer(x)
        optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
        before.sum().backward()
        optimizer.step()
        # fan_in weights, each by lr * multiplier / sqrt(fan_in), and a bias by lr * multiplier
        expected = 1e-3 * lr_multiplier * (math.sqrt(fan_in) + 1)
        torch.testing.assert_close(before - layer(x), torch.full((1, 3), expected), rtol=1e-2, atol=1e-6)


def test_a_bias_starts_where_it_is_told() -> None:
    layer = EqualizedLinear(5, 3, lr_multiplier=0.01, bias_init=1)
    torch.testing.assert_close(layer(torch.zeros(2, 5)), torch.ones(2, 3))
    assert EqualizedConv2d(2, 3, 1, bias=False).bias is None


def test_spectral_normalisation_sets_the_scale_alone() -> None:
    layer = spectral_norm(EqualizedLinear(20, 30), n_power_iterations=50)
    with torch.no_grad():
        matrix = layer(torch.eye(20)) - layer(torch.zeros(1, 20))
    assert torch.linalg.svdvals(matrix)[0].item() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("shape", [(4, 7), (4, 7, 5, 5)])
def test_pixel_norm_gives_each_pixel_a_unit_mean_square(shape: tuple[int, ...]) -> None:
    x = PixelNorm()(torch.randn(shape) * 30)
    torch.testing.assert_close(x.square().mean(dim=1), torch.ones_like(x[:, 0]))


# The networks


def test_channels_fall_with_the_resolution() -> None:
    assert [channels_at(resolution) for resolution in (4, 8, 16, 32, 64)] == [256, 256, 128, 64, 32]
    assert channels_at(64, width=0.5) == 16
    assert channels_at(2048, width=0.1) == 1


@pytest.mark.parametrize("conditioning", ["planes", "projection"])
@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize(("resolution", "channels"), [(8, 1), (28, 1), (32, 3), (64, 3)])
def test_every_size_with_and_without_labels(resolution: int, channels: int, c_dim: int, conditioning: str) -> None:
    g = generator(resolution, channels, c_dim=c_dim)
    d = discriminator(resolution, channels, c_dim=c_dim, conditioning=conditioning)
    c = torch.tensor([0, 2, 1, 1]) if c_dim else None
    for level in (0.0, 0.5, float(g.levels)):
        g.set_level(level)
        d.set_level(level)
        images = g(torch.randn(4, Z_DIM), c)
        assert images.shape == (4, channels, resolution, resolution)
        assert d(images, c).shape == (4,)
        assert torch.isfinite(d(images, c)).all()
    if c_dim:
        z = torch.randn(1, Z_DIM).expand(2, -1)
        first, second = g(z, torch.tensor([0, 1]))
        assert not torch.equal(first, second)
        logits = discriminator(resolution, channels, c_dim=c_dim, conditioning=conditioning, minibatch="none")(
            images[:1].expand(2, -1, -1, -1), torch.tensor([0, 1])
        )
        assert logits[0] != logits[1]
        with pytest.raises(ValueError, match="conditional"):
            g(z)


@pytest.mark.parametrize("resolution", [4, 30])
def test_other_sizes_are_refused(resolution: int) -> None:
    for network in (generator, discriminator):
        with pytest.raises(InvalidOption, match="multiple of 4"):
            network(resolution)


def test_minibatch_layers() -> None:
    def logit_of_first(d: nn.Module, others: Tensor) -> Tensor:
        first = torch.zeros(1, 1, 16, 16)
        return d(torch.cat([first, others]))[0]  # type: ignore[no-any-return]

    near, far = torch.zeros(3, 1, 16, 16), torch.randn(3, 1, 16, 16)
    for minibatch, mixes in {"std": True, "discrimination": True, "none": False}.items():
        d = discriminator(minibatch=minibatch).eval()
        assert d.mixes_batch is mixes
        assert (logit_of_first(d, near) != logit_of_first(d, far)) == mixes
    assert any(isinstance(module, MinibatchStd) for module in discriminator().modules())
    with pytest.raises(InvalidOption, match="minibatch"):
        discriminator(minibatch="stdd")


def test_features_are_what_the_logit_sees() -> None:
    d = discriminator(minibatch="discrimination")
    features = d.features(torch.randn(4, 1, 16, 16))
    assert features.shape == (4, d.logit.in_features)
    torch.testing.assert_close(d.logit(features).squeeze(1), d.logits_of_features(features))


def test_dropout_acts_in_training_only() -> None:
    d = discriminator(dropout=0.5, minibatch="none")
    images = torch.randn(4, 1, 16, 16)
    assert not torch.equal(d(images), d(images))
    d.eval()
    assert torch.equal(d(images), d(images))


# Growing


def test_a_fresh_network_is_full_grown() -> None:
    for network in (generator(64), discriminator(64)):
        assert (network.level, network.levels) == (4.0, 4)
        for level in (-0.1, 4.1, math.nan):
            with pytest.raises(ValueError, match="from 0 to 4"):
                network.set_level(level)


@torch.no_grad()
def test_fading_in_mixes_the_levels_images() -> None:
    g, z = generator(16, 3), torch.randn(2, Z_DIM)
    images = []
    for level in (0.0, 1.0, 2.0):
        g.set_level(level)
        images.append(g(z))
    assert torch.equal(images[0], enlarge(images[0][:, :, ::4, ::4], 4))
    assert torch.equal(images[1], enlarge(images[1][:, :, ::2, ::2], 2))
    assert not torch.equal(images[2], enlarge(images[2][:, :, ::2, ::2], 2))
    for below in (0, 1):
        for fraction in (0.25, 0.7):
            g.set_level(below + fraction)
            torch.testing.assert_close(g(z), images[below].lerp(images[below + 1], fraction))


@torch.no_grad()
def test_the_discriminator_fades_between_what_it_sees_below_and_at_a_level() -> None:
    """At level s it is what its layers say about the image averaged down; a fade starts and ends without a jump."""
    d, images = discriminator(16, 3), torch.randn(4, 3, 16, 16)
    for level in (0, 1):
        d.set_level(level)
        blurred = enlarge(F.avg_pool2d(images, 2 ** (2 - level)), 2 ** (2 - level))
        assert not torch.equal(blurred, images)
        torch.testing.assert_close(d(blurred), d(images))
        below = d(images)
        d.set_level(level + 1e-6)
        torch.testing.assert_close(d(images), below, rtol=1e-4, atol=1e-4)
        d.set_level(level + 1)
        above = d(images)
        assert not torch.allclose(above, below)
        d.set_level(level + 1 - 1e-6)
        torch.testing.assert_close(d(images), above, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_discriminators_fade_is_linear_in_its_first_block() -> None:
    d, images = discriminator(16), torch.randn(4, 1, 16, 16)
    body = d.body
    d.set_level(0.3)  # level 1 fades in, 8x8 pixels
    half, quarter = F.avg_pool2d(images, 2), F.avg_pool2d(images, 4)
    mixed = torch.lerp(body.from_rgb[0](quarter), body.blocks[1](body.from_rgb[1](half)), 0.3)
    torch.testing.assert_close(d.features(images), body.blocks[0](mixed))


def test_fade_real_blurs_as_the_generator() -> None:
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(fade_real(images, 2.0, 2), images)
    mean2, mean4 = (enlarge(F.avg_pool2d(images, size), size) for size in (2, 4))
    torch.testing.assert_close(fade_real(images, 1.0, 2), mean2)
    torch.testing.assert_close(fade_real(images, 0.0, 2), mean4)
    torch.testing.assert_close(fade_real(images, 1.25, 2), torch.lerp(mean2, images, 0.25))
    torch.testing.assert_close(fade_real(images, 0.5, 2), torch.lerp(mean4, mean2, 0.5))


def test_fade_real_leaves_an_integer_levels_generated_image_as_it_is() -> None:
    g = generator(16)
    for level in (0, 1, 2):
        g.set_level(level)
        images = g(torch.randn(2, Z_DIM))
        torch.testing.assert_close(fade_real(images, level, 2), images)


def test_the_schedule_at_its_corners() -> None:
    def level(kimg: float) -> float:
        return growth_level(kimg * 1000, 2, stage_kimg=10, fade_kimg=4)

    corners = {0: 0, 5: 0, 10: 0, 11: 0.25, 12: 0.5, 14: 1, 20: 1, 24: 1, 26: 1.5, 28: 2, 38: 2, 39: 2, 1000: 2}
    assert {kimg: level(kimg) for kimg in corners} == corners
    levels = [level(kimg / 10) for kimg in range(400)]
    assert levels == sorted(levels)
    assert max(later - earlier for earlier, later in itertools.pairwise(levels)) < 0.03
    assert [growth_level(kimg * 1000, 2, 10, 0) for kimg in (0, 9, 10, 19, 20, 50)] == [0, 0, 1, 1, 2, 2]
    assert [growth_level(kimg * 1000, 2, 0, 10) for kimg in (0, 5, 10, 15, 20, 50)] == [0, 0.5, 1, 1.5, 2, 2]
    assert growth_level(0, 3, 0, 0) == 3


@pytest.mark.parametrize("make", [generator, discriminator])
def test_the_level_is_part_of_the_state(make: type[ProgressiveGenerator]) -> None:
    network, other = make(16), make(16)
    network.set_level(1.3)
    state = network.state_dict()
    assert all(isinstance(value, Tensor) for value in state.values())
    other.load_state_dict(state)
    assert other.level == network.level == pytest.approx(1.3)
    x = torch.randn(4, Z_DIM) if make is generator else torch.randn(4, 1, 16, 16)
    assert torch.equal(other(x), network(x))
    copied = copy.deepcopy(network)
    network.set_level(0)
    assert copied.level == other.level
    assert torch.equal(copied(x), other(x))


def test_only_the_parts_of_a_level_have_gradients() -> None:
    def moved(network: nn.Module) -> set[str]:
        return {name for name, parameter in network.named_parameters() if parameter.grad is not None}

    def nonzero(network: nn.Module) -> bool:
        return all(p.grad is None or bool(p.grad.abs().sum() > 0) for p in network.parameters())

    parts = {
        0.0: ({0}, {0}),
        0.5: ({0, 1}, {0, 1}),
        1.0: ({0, 1}, {1}),
        1.5: ({0, 1, 2}, {1, 2}),
        2.0: ({0, 1, 2}, {2}),
    }
    for level, (blocks, entries) in parts.items():
        g, d = generator(16), discriminator(16)
        g.set_level(level)
        d.set_level(level)
        F.softplus(-d(g(torch.randn(4, Z_DIM)))).mean().backward()
        expected = {f"blocks.{i}." for i in blocks} | {f"to_rgb.{i}." for i in entries} | {"dense."}
        assert moved(g) == {n for n, _ in g.named_parameters() if any(n.startswith(part) for part in expected)}
        expected = {f"body.blocks.{i}." for i in blocks} | {f"body.from_rgb.{i}." for i in entries} | {"logit."}
        assert moved(d) == {n for n, _ in d.named_parameters() if any(n.startswith(part) for part in expected)}
        assert nonzero(g)
        assert nonzero(d)


def test_a_gradient_penalty_can_be_differentiated() -> None:
    d = discriminator(16)
    d.set_level(1.5)
    images = torch.randn(4, 1, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(d(images).sum(), images, create_graph=True)
    ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean().backward()
    kernel = d.body.blocks[1][0].weight.grad
    assert torch.isfinite(kernel).all()
    assert kernel.abs().sum() > 0


@pytest.mark.parametrize("c_dim", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_exports_with_any_batch_size(c_dim: int) -> None:
    g = generator(16, c_dim=c_dim).eval()
    example = (torch.randn(2, Z_DIM), torch.tensor([0, 1]))[: 1 + bool(c_dim)]
    batch = torch.export.Dim("N")
    program = torch.export.export(g, example, dynamic_shapes=tuple({0: batch} for _ in example)).module()
    for n in (1, 5):
        inputs = (torch.randn(n, Z_DIM), torch.randint(3, (n,)))[: len(example)]
        torch.testing.assert_close(program(*inputs), g(*inputs))
