"""The style-based generator: AdaIN's statistics, noise, the mean style, truncation, style mixing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gan_serve.errors import InvalidOption
from gan_serve.training.networks import build_generator
from gan_serve.training.networks.stylegan import AdaIN, MappingNetwork, StyleGANDiscriminator, StyleGANGenerator
from gan_serve.training.networks.truncation import track_mean_style

Z_DIM = 8
WIDTH = 1 / 32


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def generator(img_resolution: int = 16, img_channels: int = 1, **arguments: float) -> StyleGANGenerator:
    shape = {"img_resolution": img_resolution, "img_channels": img_channels}
    return build_generator("stylegan", z_dim=Z_DIM, width=WIDTH, **shape, **arguments)  # type: ignore[return-value]


def trained(**arguments: float) -> StyleGANGenerator:
    """A generator whose noise changes the images and whose mean style is known, as after some training."""
    g = generator(**arguments)
    with torch.no_grad():
        for layer in g.synthesis.layers:
            layer.noise_strength.fill_(0.5)
        g.w_mean.copy_(g.mapping(torch.randn(500, Z_DIM)).mean(dim=0))
    return g


# The parts


@torch.no_grad()
def test_adain_sets_mean_and_standard_deviation() -> None:
    adain, w = AdaIN(channels=5, w_dim=6), torch.randn(3, 6) * 2
    maps = adain(torch.randn(3, 5, 16, 16) * 7 + 3, w)
    deviation, mean = torch.std_mean(maps, dim=(2, 3), correction=0)
    torch.testing.assert_close(mean, adain.shift(w), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(deviation, adain.scale(w).abs(), rtol=1e-4, atol=1e-4)
    assert (adain.scale(w) < 0).any()  # otherwise abs() above would be untested


@torch.no_grad()
def test_a_style_starts_as_plain_instance_normalisation() -> None:
    adain, x = AdaIN(channels=5, w_dim=6), torch.randn(3, 5, 16, 16) * 7 + 3
    torch.testing.assert_close(adain(x, torch.zeros(3, 6)), F.instance_norm(x), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_mapping_is_eight_slow_layers_that_keep_the_scale() -> None:
    mapping = MappingNetwork(z_dim=128, c_dim=0, w_dim=256)
    z = torch.randn(200, 128)
    w = mapping(z)
    assert w.shape == (200, 256)
    assert w.square().mean().item() == pytest.approx(1, rel=0.3)
    assert len(list(mapping.parameters())) == 16
    torch.testing.assert_close(mapping(z * 30), w, rtol=1e-4, atol=1e-4)  # only z's direction counts
    for parameter in mapping.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(mapping.parameters(), lr=0.1).step()
    assert mapping.layers[0].weight.std().item() == pytest.approx(100, rel=0.05)


@torch.no_grad()
def test_upsampling_is_repetition_and_the_papers_blur() -> None:
    """Bilinear upsampling = nearest, then [1, 2, 1] / 4 in both directions, with the border repeated."""
    x = torch.randn(2, 3, 5, 5)
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    repeated = F.pad(F.interpolate(x, scale_factor=2), (1, 1, 1, 1), mode="replicate")
    blurred = F.conv2d(repeated, torch.outer(row, row).expand(3, 1, 3, 3), groups=3)
    layer = generator().synthesis.layers[2]
    assert layer.up
    torch.testing.assert_close(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False), blurred)


# The whole


@pytest.mark.parametrize("conditioning", ["planes", "projection"])
@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize(("resolution", "channels", "layers"), [(8, 1, 4), (28, 1, 6), (32, 3, 8), (64, 3, 10)])
def test_every_size_with_and_without_labels(
    resolution: int, channels: int, layers: int, c_dim: int, conditioning: str
) -> None:
    g = generator(resolution, channels, c_dim=c_dim)
    d = StyleGANDiscriminator(resolution, channels, c_dim, conditioning, width=WIDTH)
    c = torch.tensor([0, 2, 1, 1]) if c_dim else None
    images = g(torch.randn(4, Z_DIM), c)
    assert images.shape == (4, channels, resolution, resolution)
    assert torch.isfinite(images).all()
    assert d(images, c).shape == (4,)
    assert g.num_layers == layers
    if c_dim:
        z = torch.randn(1, Z_DIM).expand(2, -1)
        first, second = g.eval()(z, torch.tensor([0, 1]))
        assert not torch.equal(first, second)
        with pytest.raises(ValueError, match="conditional"):
            g(z)


def test_bad_options_are_refused() -> None:
    with pytest.raises(InvalidOption, match="multiple of 4"):
        generator(30)
    with pytest.raises(InvalidOption, match="multiple of 4"):
        StyleGANDiscriminator(30, 1)
    with pytest.raises(InvalidOption, match="style_mixing"):
        generator(style_mixing=1.5)


def test_every_parameter_has_a_gradient() -> None:
    g, d = generator(), StyleGANDiscriminator(16, 1, width=WIDTH)
    F.softplus(-d(g(torch.randn(4, Z_DIM)))).mean().backward()
    for network in (g, d):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


def test_r1_can_be_differentiated() -> None:
    d = StyleGANDiscriminator(16, 1, width=WIDTH)
    images = torch.randn(4, 1, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(d(images).sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in d.parameters() if p.grad is not None)
    assert not hasattr(d, "set_level")  # nothing grows


# Noise


def test_noise_changes_nothing_at_the_start() -> None:
    g = generator(style_mixing=0)
    z = torch.randn(2, Z_DIM)
    assert torch.equal(g(z), g(z))
    ws = torch.randn(2, g.num_layers, g.w_dim)
    assert torch.equal(g.train().synthesis(ws), g.eval().synthesis(ws))


def test_noise_is_random_in_training_and_constant_in_eval() -> None:
    g = trained(style_mixing=0)
    z = torch.randn(2, Z_DIM)
    assert not torch.equal(g(z), g(z))
    torch.manual_seed(1)
    first = g(z)
    torch.manual_seed(1)
    assert torch.equal(g(z), first)
    g.eval()
    random_state = torch.get_rng_state()
    assert torch.equal(g(z), g(z))
    assert torch.equal(torch.get_rng_state(), random_state)
    ws = g.mapping(z)[:, None].expand(-1, g.num_layers, -1)
    assert torch.equal(g.synthesis(ws), g(z))
    assert not torch.equal(g.train().synthesis(ws), g.eval().synthesis(ws))


def test_constant_noise_does_not_depend_on_the_random_state() -> None:
    def noise(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return [buffer for name, buffer in generator(32).named_buffers() if "noise_" in name]

    first, second = noise(1), noise(2)
    assert [tuple(buffer.shape) for buffer in first] == [(1, 1, size, size) for size in (4, 4, 8, 8, 16, 16, 32, 32)]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_an_image_does_not_depend_on_its_batch() -> None:
    g = trained().eval()
    z = torch.randn(5, Z_DIM)
    torch.testing.assert_close(g(z)[2:3], g(z[2:3]))


# The mean style and truncation


def test_the_mean_style_moves_in_training_only() -> None:
    g = generator()
    z = torch.randn(4, Z_DIM)
    g.eval()(z)
    assert torch.equal(g.w_mean, torch.zeros(g.w_dim))
    g.train()(z)
    torch.testing.assert_close(g.w_mean, 0.005 * g.mapping(z).mean(dim=0))
    assert not g.w_mean.requires_grad
    assert "w_mean" in g.state_dict()


def test_the_mean_style_converges_to_the_mean_of_w() -> None:
    g = generator(8)
    with torch.no_grad():
        for _ in range(1500):
            track_mean_style(g.w_mean, g.mapping(torch.randn(16, Z_DIM)))
        mean = g.mapping(torch.randn(20000, Z_DIM)).mean(dim=0)
    torch.testing.assert_close(g.w_mean, mean, rtol=0, atol=0.1)


@pytest.mark.parametrize("c_dim", [0, 3])
@torch.no_grad()
def test_truncation(c_dim: int) -> None:
    g = generator(c_dim=c_dim).eval()
    z, c = torch.randn(6, Z_DIM), torch.arange(6) % 3 if c_dim else None
    g.w_mean.copy_(g.mapping(torch.randn(500, Z_DIM), torch.arange(500) % 3 if c_dim else None).mean(dim=0))
    full = g(z, c)
    assert torch.equal(g(z, c, torch.ones(6)), full)
    mean = g(z, c, torch.zeros(6))
    torch.testing.assert_close(mean, mean[:1].expand(6, -1, -1, -1))
    half = g(z, c, torch.full((6,), 0.5))
    assert 0 < (half - mean).square().mean() < (full - mean).square().mean()
    each = g(z, c, torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0, 0.5]))  # every image has its own
    torch.testing.assert_close(each, torch.stack([(full, mean, half)[i % 3][i] for i in range(6)]))


@torch.no_grad()
def test_truncation_moves_w_towards_its_mean() -> None:
    g = trained().eval()
    z, psi = torch.randn(4, Z_DIM), torch.tensor([0.7, -0.5, 0.2, 1.3])
    w = g.w_mean + psi[:, None] * (g.mapping(z) - g.w_mean)
    expected = g.synthesis(w[:, None].expand(-1, g.num_layers, -1))
    torch.testing.assert_close(g(z, psi=psi), expected, rtol=1e-3, atol=1e-4)


# Style mixing


def test_no_style_mixing_without_a_probability() -> None:
    g = generator(style_mixing=0)
    z = torch.randn(4, Z_DIM)
    assert torch.equal(g(z), g.eval()(z))  # noise has no strength yet


def test_style_mixing_is_drawn_for_each_image() -> None:
    g = generator(style_mixing=0.6)
    crossovers = g._random_crossovers(4000, torch.device("cpu"))
    assert (crossovers < g.num_layers).float().mean().item() == pytest.approx(0.6, abs=0.03)
    counts = torch.bincount(crossovers[crossovers < g.num_layers], minlength=g.num_layers)[1:]
    assert len(counts) == g.num_layers - 1
    assert (counts / counts.sum()).tolist() == pytest.approx([1 / len(counts)] * len(counts), abs=0.04)


def test_style_mixing_in_training_only() -> None:
    g = generator(style_mixing=1)
    z = torch.randn(4, Z_DIM)
    first, second = g(z), g(z)
    assert (first - second).flatten(1).abs().sum(dim=1).min() > 0
    assert torch.equal(g.eval()(z), g(z))


@torch.no_grad()
def test_a_style_mixing_sheet_can_be_drawn() -> None:
    g = trained().eval()
    a, b = g.mapping(torch.randn(2, Z_DIM))
    ws = a.repeat(1, g.num_layers, 1)
    ws[:, 2:] = b
    mixed = g.synthesis(ws)
    assert mixed.shape == (1, 1, 16, 16)
    assert not torch.allclose(mixed, g.synthesis(a.repeat(1, g.num_layers, 1)))
    assert not torch.allclose(mixed, g.synthesis(b.repeat(1, g.num_layers, 1)))


# Export; every day in test_style_inputs.py and test_export_inputs.py


@pytest.mark.slow
@pytest.mark.parametrize("with_psi", [False, True])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_exports_with_any_batch_size(c_dim: int, with_psi: bool) -> None:
    g = trained(c_dim=c_dim).eval() if not c_dim else generator(c_dim=c_dim).eval()

    def inputs(n: int) -> dict[str, Tensor]:
        every = {"z": torch.randn(n, Z_DIM), "c": torch.arange(n) % 3, "psi": torch.linspace(0, 1, n)}
        return {name: x for name, x in every.items() if name == "z" or (with_psi if name == "psi" else c_dim)}

    batch = torch.export.Dim("N")
    example = inputs(2)
    exported = torch.export.export(g, (), example, dynamic_shapes={name: {0: batch} for name in example}).module()
    for n in (1, 5):
        x = inputs(n)
        torch.testing.assert_close(exported(**x), g(**x))
