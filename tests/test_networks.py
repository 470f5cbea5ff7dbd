"""The fully connected and convolutional families: every size, gray and RGB, with and without labels, and their parts.

Residual, progressive and StyleGAN networks have files of their own; what holds for every family is tested for them too.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from network_cases import DISCRIMINATORS, GENERATORS, LABELS, NARROW, images
from pairwise import pairwise
from torch import Tensor, nn

from gan_serve.errors import InvalidOption
from gan_serve.training.config import discriminator_arguments, generator_arguments, make_config
from gan_serve.training.networks import (
    FAMILIES,
    build_discriminator,
    build_generator,
    initialise,
    to_pixels,
)
from gan_serve.training.networks.layers import (
    label_planes,
    one_hot,
    scaled,
    start_and_levels,
    with_labels,
)

RESOLUTIONS = [8, 12, 20, 28, 32, 64]
C = torch.tensor([0, 2])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def recipe_networks(recipe: str, img_channels: int, **settings: object) -> tuple[nn.Module, nn.Module]:
    config = make_config(recipe, {"data": "x", **settings})
    generator = build_generator(config.family, **generator_arguments(config, img_channels=img_channels, c_dim=0))
    arguments = discriminator_arguments(config, img_channels=img_channels, c_dim=0)
    return generator, build_discriminator(config.family, **arguments)


def weights(network: nn.Module, layers: type[nn.Module] | tuple[type[nn.Module], ...]) -> list[tuple[int, ...]]:
    return [tuple(layer.weight.shape) for layer in network.modules() if isinstance(layer, layers)]


# Every size


@pytest.mark.parametrize(("name", "resolution", "channels", "c_dim"), pairwise(GENERATORS, RESOLUTIONS, [1, 3], [0, 3]))
def test_a_generator_draws_any_size_gray_or_rgb_with_or_without_labels(name, resolution, channels, c_dim):
    family, options = GENERATORS[name]
    generator = build_generator(
        family, z_dim=10, img_resolution=resolution, img_channels=channels, c_dim=c_dim, **NARROW, **options
    )
    drawn = generator(torch.randn(2, 10), C if c_dim else None)
    assert drawn.shape == (2, channels, resolution, resolution)
    assert drawn.dtype == torch.float32
    assert drawn.abs().max() <= 1
    drawn.mean().backward()
    assert all(weight.grad is not None for weight in generator.parameters())
    assert (generator.z_dim, generator.c_dim, generator.truncation_space) == (10, c_dim, "z")


@pytest.mark.parametrize(
    ("name", "resolution", "labels", "channels", "minibatch", "dropout"),
    pairwise(DISCRIMINATORS, RESOLUTIONS, LABELS, [1, 3], ["none", "std", "discrimination"], [0.0, 0.3]),
)
def test_a_discriminator_takes_any_size_gray_or_rgb_with_every_option(
    name, resolution, labels, channels, minibatch, dropout
):
    family, options = DISCRIMINATORS[name]
    discriminator = build_discriminator(
        family,
        img_resolution=resolution,
        img_channels=channels,
        minibatch=minibatch,
        dropout=dropout,
        **LABELS[labels],
        **NARROW,
        **options,
    )
    c = C if LABELS[labels]["c_dim"] else None
    _check_logits(discriminator, images(2, channels, resolution), c)


def _check_logits(discriminator: nn.Module, judged: Tensor, c: Tensor | None) -> None:
    logits = discriminator(judged, c)
    assert logits.shape == (2,)
    assert logits.dtype == torch.float32
    logits.sum().backward()
    assert all(weight.grad is not None for weight in discriminator.parameters())
    discriminator.eval()
    features = discriminator.features(judged, c)
    assert features.shape == (2, discriminator.logit.in_features)
    torch.testing.assert_close(discriminator.logits_of_features(features, c), discriminator(judged, c))


@pytest.mark.parametrize(
    ("resolution", "start", "levels"),
    [(8, 4, 1), (12, 6, 1), (20, 5, 2), (28, 7, 2), (32, 4, 3), (64, 4, 4), (36, 9, 2), (1024, 4, 8)],
)
def test_a_resolution_is_doublings_of_a_start_of_4_or_more(resolution, start, levels):
    assert start_and_levels(resolution) == (start, levels)


@pytest.mark.parametrize(("resolution", "nearest"), [(4, 8), (31, 32), (2, 8), (65, 64)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_resolution_that_cannot_be_built_is_refused(family, resolution, nearest):
    with pytest.raises(InvalidOption, match="multiple of 4") as error:
        build_generator(family, z_dim=10, img_resolution=resolution, img_channels=1)
    assert str(nearest) in error.value.hint
    with pytest.raises(InvalidOption, match="multiple of 4"):
        build_discriminator(family, img_resolution=resolution, img_channels=1)


# The layers that the recipes promise


def test_mlp_gan_has_its_layers():
    generator, discriminator = recipe_networks("mlp-gan", 1)
    assert weights(generator, nn.Linear) == [(128, 100), (256, 128), (512, 256), (1024, 512), (784, 1024)]
    assert weights(generator, nn.BatchNorm1d) == [(256,), (512,), (1024,)]
    assert weights(discriminator, nn.Linear) == [(512, 784), (256, 512), (1, 256)]
    assert _kinds(discriminator) == {nn.Flatten, nn.Linear, nn.LeakyReLU, nn.Dropout}
    assert _slopes(generator) == _slopes(discriminator) == {0.2}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_papers_dcgan_has_its_layers(channels):
    generator, discriminator = recipe_networks("dcgan-64-upsample", channels, upsampling="transposed")
    assert weights(generator, nn.Linear) == [(512 * 4 * 4, 100)]
    assert weights(generator, nn.ConvTranspose2d) == [  # [in, out, height, width]
        (512, 256, 4, 4),
        (256, 128, 4, 4),
        (128, 64, 4, 4),
        (64, channels, 4, 4),
    ]
    assert weights(generator, nn.BatchNorm2d) == [(512,), (256,), (128,), (64,)]
    assert weights(discriminator, nn.Conv2d) == [
        (64, channels, 4, 4),
        (128, 64, 4, 4),
        (256, 128, 4, 4),
        (512, 256, 4, 4),
    ]
    assert weights(discriminator, nn.BatchNorm2d) == [(128,), (256,), (512,)]
    assert weights(discriminator, nn.Linear) == [(1, 512 * 4 * 4)]
    assert _slopes(discriminator) == {0.2}
    assert [layer.p for layer in discriminator.modules() if isinstance(layer, nn.Dropout)] == [0.3] * 4
    strides = {layer.stride for layer in (*generator.modules(), *discriminator.modules()) if hasattr(layer, "stride")}
    assert strides == {(2, 2)}


def test_dcgan_64_doubles_the_image_layer_by_layer():
    generator, _ = recipe_networks("lsgan", 3, width=1 / 16)
    shapes = []
    for layer in generator.modules():
        if isinstance(layer, nn.Unflatten | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _layer, _inputs, output: shapes.append(tuple(output.shape[1:])))
    generator(torch.randn(2, 100))
    assert shapes == [(32, 4, 4), (16, 8, 8), (8, 16, 16), (4, 32, 32), (3, 64, 64)]


@pytest.mark.parametrize(
    ("recipe", "upsampling", "last"),
    [
        *((recipe, "nearest", [(64, 3)]) for recipe in ("dcgan-64-upsample", "dcgan-64", "sngan-hinge", "wgan-gp")),
        ("dcgan-64", "bilinear", [(64, 3)]),
        ("recommended-64", "nearest", [(64, 32), (32, 3)]),
    ],
)
def test_upsampling_differs_only_in_how_the_generator_doubles(recipe, upsampling, last):
    generator, _ = recipe_networks(recipe, 3, width=1, resolution=64, upsampling=upsampling)
    convolutions = [layer for layer in generator.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [
        (512, 256),
        (256, 128),
        (128, 64),
        *last,
    ]
    assert {type(layer) for layer in convolutions} == {nn.Conv2d}
    assert {layer.stride for layer in convolutions} == {(1, 1)}
    doublings = [layer for layer in generator.modules() if isinstance(layer, nn.Upsample)]
    assert [(layer.scale_factor, layer.mode) for layer in doublings] == [(2.0, upsampling)] * 4


def test_dcgan_28_has_its_layers():
    generator, discriminator = recipe_networks("dcgan-28", 1)
    assert weights(generator, (nn.Linear, nn.ConvTranspose2d)) == [
        (7 * 7 * 256, 100),
        (256, 128, 5, 5),
        (128, 64, 5, 5),
        (64, 1, 5, 5),
    ]
    assert [name for name, _ in generator.named_parameters() if "bias" in name and "norm" not in name] == [
        "layers.conv3.bias"
    ]
    assert weights(discriminator, (nn.Linear, nn.Conv2d)) == [(64, 1, 5, 5), (128, 64, 5, 5), (1, 7 * 7 * 128)]


@pytest.mark.parametrize(("activation", "kind"), [("relu", nn.ReLU), ("leaky", nn.LeakyReLU)])
def test_a_dcgan_generator_takes_either_activation(activation, kind):
    generator, _ = recipe_networks("dcgan-64", 1, activation=activation, width=1 / 64)
    assert _kinds(generator) & {nn.ReLU, nn.LeakyReLU} == {kind}


@pytest.mark.parametrize("recipe", ["wgan-gp", "cgan", "sngan-hinge", "dcgan-64", "recommended-64"])
def test_critics_with_a_slope_constraint_have_no_batch_norm(recipe):
    _, critic = recipe_networks(recipe, 3, width=1 / 64)
    assert not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in critic.modules())


def test_width_scales_every_layer_but_leaves_one_channel_at_least():
    assert [scaled(64, width) for width in (2, 1, 0.5, 0.001)] == [128, 64, 32, 1]
    generator, _ = recipe_networks("lsgan", 3, width=0.5)
    assert weights(generator, nn.ConvTranspose2d) == [(256, 128, 4, 4), (128, 64, 4, 4), (64, 32, 4, 4), (32, 3, 4, 4)]


def _kinds(network: nn.Module) -> set[type[nn.Module]]:
    return {type(layer) for layer in network.modules() if not list(layer.children())} - {nn.Identity}


def _slopes(network: nn.Module) -> set[float]:
    return {layer.negative_slope for layer in network.modules() if isinstance(layer, nn.LeakyReLU)}


# Labels


@pytest.mark.parametrize("family", FAMILIES)
def test_a_label_changes_what_the_generator_draws(family):
    generator = build_generator(family, z_dim=10, img_resolution=8, img_channels=1, c_dim=3, width=1 / 8).eval()
    z = torch.randn(1, 10).expand(3, -1)
    drawn = generator(z, torch.arange(3))
    torch.testing.assert_close(drawn[1:2], generator(z[:1], torch.tensor([1])), rtol=0, atol=1e-5)
    for one, other in itertools.combinations(drawn, 2):
        assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize("conditioning", ["planes", "projection"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_label_changes_what_the_discriminator_says(family, conditioning):
    discriminator = build_discriminator(
        family, img_resolution=8, img_channels=1, c_dim=3, conditioning=conditioning, width=1 / 8
    ).eval()
    logits = discriminator(images(1, 1, 8).expand(3, -1, -1, -1), torch.arange(3))
    assert (logits[:, None] - logits).abs()[~torch.eye(3, dtype=torch.bool)].min() > 1e-5


@pytest.mark.parametrize("conditioning", ["planes", "projection"])
@pytest.mark.parametrize("family", FAMILIES)
def test_conditional_networks_without_labels_say_what_they_need(family, conditioning):
    shape = {"img_resolution": 8, "img_channels": 1, "c_dim": 3, "width": 1 / 8}
    with pytest.raises(ValueError, match=r"labels int64 \[N\] from 0 to 2"):
        build_generator(family, z_dim=10, **shape)(torch.randn(2, 10))
    with pytest.raises(ValueError, match=r"labels int64 \[N\] from 0 to 2"):
        build_discriminator(family, conditioning=conditioning, **shape)(images(2, 1, 8))


def test_labels_join_latents_one_hot_and_images_as_constant_planes():
    one = math.sqrt(3)  # a mean square of 1, as latents have
    expected = torch.tensor([[7, one, 0, 0], [7, 0, 0, one]])
    torch.testing.assert_close(with_labels(torch.full((2, 1), 7.0), C, 3), expected)
    joined = label_planes(torch.full((2, 1, 4, 4), 7.0), C, 3)
    assert joined.shape == (2, 4, 4, 4)
    assert joined.mean((2, 3)).tolist() == joined[:, :, 3, 1].tolist() == [[7, 1, 0, 0], [7, 0, 0, 1]]
    assert one_hot(C, 3).dtype == torch.float32


def test_projection_adds_the_product_of_features_and_the_labels_embedding():
    shape = {"img_resolution": 8, "img_channels": 1, **NARROW}
    discriminator = build_discriminator("mlp", c_dim=3, conditioning="projection", **shape).eval()
    judged = images(2, 1, 8)
    features = discriminator.features(judged, C).detach().numpy()
    plain = discriminator.logit(torch.from_numpy(features)).detach().numpy()[:, 0]
    expected = plain + (discriminator.embed.weight.detach().numpy()[C.numpy()] * features).sum(1)
    np.testing.assert_allclose(discriminator(judged, C).detach().numpy(), expected, rtol=1e-5)


# Starts


@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "bilinear"])
def test_initialise_draws_dcgans_weights(upsampling):
    generator, discriminator = recipe_networks("dcgan-64", 3, upsampling=upsampling, width=0.5)
    for network in (generator, discriminator):
        initialise(network, 0.02)
        for name, layer in network.named_modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                expected, error = 0.0, 5 * 0.02 / layer.weight.numel() ** 0.5
            elif isinstance(layer, nn.BatchNorm2d):
                expected, error = 1.0, 5 * 0.02 / layer.weight.numel() ** 0.5
            else:
                continue
            assert layer.weight.mean().item() == pytest.approx(expected, abs=error), name
            assert layer.weight.std().item() == pytest.approx(0.02, abs=error), name
            assert layer.bias is None or not layer.bias.any(), name


def test_a_network_starts_the_same_from_the_same_seed():
    first, second = (torch.manual_seed(3) and recipe_networks("dcgan-64", 1, width=1 / 16) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_dropout_acts_in_training_alone():
    discriminator = build_discriminator("dcgan", img_resolution=8, img_channels=1, dropout=0.5)
    judged = images(2, 1, 8)
    assert not torch.equal(discriminator(judged), discriminator(judged))
    discriminator.eval()
    assert torch.equal(discriminator(judged), discriminator(judged))


# Names, pixels


@pytest.mark.parametrize(
    ("options", "nearest"),
    [
        ({"conditioning": "plane"}, "planes"),
        ({"minibatch": "discriminaton"}, "discrimination"),
        ({"d_norm": "batsh"}, "batch"),
    ],
)
def test_an_unknown_option_of_a_discriminator_names_the_nearest(options, nearest):
    with pytest.raises(InvalidOption, match=next(iter(options.values()))) as error:
        build_discriminator("dcgan", img_resolution=16, img_channels=1, c_dim=2, **NARROW, **options)
    assert error.value.hint == f"Did you mean {nearest!r}?"


@pytest.mark.parametrize(
    ("options", "nearest"), [({"upsampling": "nearst"}, "nearest"), ({"activation": "leeky"}, "leaky")]
)
def test_an_unknown_option_of_a_generator_names_the_nearest(options, nearest):
    with pytest.raises(InvalidOption, match=next(iter(options.values()))) as error:
        build_generator("dcgan", z_dim=4, img_resolution=16, img_channels=1, **NARROW, **options)
    assert error.value.hint == f"Did you mean {nearest!r}?"


@pytest.mark.parametrize("build", [build_generator, build_discriminator])
def test_an_unknown_family_names_the_nearest(build):
    with pytest.raises(InvalidOption, match="dcgan29") as error:
        build("dcgan29")
    assert error.value.hint == "Did you mean 'dcgan28'?"


def test_pixels_are_rounded_to_the_nearest_grey_level():
    values = torch.tensor([-2.0, -1.0, -1 + 0.9 / 127.5, 0.2, 1 - 0.4 / 127.5, 1.0, 3.0]).view(1, 1, 1, 7)
    pixels = to_pixels(values)
    assert (pixels.shape, pixels.dtype) == ((1, 1, 7, 1), torch.uint8)
    assert pixels.flatten().tolist() == [0, 0, 1, 153, 255, 255, 255]
