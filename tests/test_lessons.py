"""The recipes ``lesson-...``: as many parameters as the lessons' networks, and the same outputs with the same weights.

Counts are those of docs/lessons.md. The torch lessons' layers are written again here; those in Keras are compared by
``test_lessons_in_keras.py``.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gan_serve.errors import InvalidOption
from gan_serve.training.build import build_networks
from gan_serve.training.config import command_line, make_config, parse_settings
from gan_serve.training.distributed import Processes
from gan_serve.training.losses import soft_targets
from gan_serve.training.networks import build_discriminator, build_generator, initialise_glorot
from gan_serve.training.networks.discriminator import Discriminator
from gan_serve.training.networks.stylegan import AdaIN, MappingNetwork
from gan_serve.training.recipes import recipes

PARAMETERS = {
    "lesson-mnist-dcgan": (2_305_472, 212_865),
    "lesson-bricks-dcgan": (3_574_656, 2_763_520),
    "lesson-bricks-upsample": (3_574_656 + 256 + 128 + 64 + 1, 2_763_520),  # the biases of its convolutions
    "lesson-faces-wgan-gp": (3_806_083, 2_764_737),
    "lesson-faces-cgan": (728_963, 662_977),
    "lesson-mnist-mlp": (1_510_032, 533_505),
    "lesson-dcgan-rgb": (3_576_704, 2_765_568),
    "lesson-wgan": (3_576_704, 2_765_568),
    "lesson-hinge-sn": (3_576_704, 2_763_776),
}


def networks(recipe: str, *, c_dim: int = 0) -> tuple[nn.Module, Discriminator]:
    torch.manual_seed(0)
    config = make_config(recipe, {"data": "x"})
    return build_networks(config, torch.device("cpu"), c_dim=c_dim, processes=Processes())


def n_parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


@pytest.mark.parametrize("recipe", PARAMETERS)
def test_a_lesson_has_the_parameters_of_its_networks(recipe):
    built = networks(recipe, c_dim=2 if recipe == "lesson-faces-cgan" else 0)
    assert tuple(map(n_parameters, built)) == PARAMETERS[recipe]


def test_the_mapping_network_and_adain_have_the_parameters_of_the_lesson():
    generator, _ = networks("lesson-stylegan")
    assert n_parameters(generator.mapping) == 2_101_248
    assert n_parameters(AdaIN(64, 512)) == 65_664


def test_every_lesson_says_where_it_is_described():
    lessons = [recipe for name, recipe in recipes().items() if name.startswith("lesson-")]
    assert len(lessons) == 11
    assert all("docs/lessons.md" in recipe.source for recipe in lessons)


# The layers of the lesson in PyTorch


def mlp_generator() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(100, 128), nn.LeakyReLU(0.2)]
    for before, after in ((128, 256), (256, 512), (512, 1024)):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(1024, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))


def mlp_discriminator() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 512), nn.LeakyReLU(0.2), nn.Linear(512, 256), nn.LeakyReLU(0.2)),
        *(nn.Linear(256, 1), nn.Flatten(0)),
    )


def dcgan_generator() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Unflatten(1, (100, 1, 1))]
    for i, (before, after) in enumerate(((100, 512), (512, 256), (256, 128), (128, 64))):
        convolution = nn.ConvTranspose2d(before, after, 4, 2 if i else 1, 1 if i else 0, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())


def dcgan_discriminator(*, spectral: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in ((3, 64), (64, 128), (128, 256), (256, 512)):
        layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=False))
        layers += [nn.BatchNorm2d(after)] if before > 3 and not spectral else []
        layers.append(nn.LeakyReLU(0.2))
    layers += [nn.Conv2d(512, 1, 4, bias=False), nn.Flatten(0)]
    if spectral:
        layers = [nn.utils.parametrizations.spectral_norm(x) if isinstance(x, nn.Conv2d) else x for x in layers]
    return nn.Sequential(*layers)


LESSONS = {
    "lesson-mnist-mlp": (mlp_generator, mlp_discriminator),
    "lesson-dcgan-rgb": (dcgan_generator, dcgan_discriminator),
    "lesson-hinge-sn": (dcgan_generator, lambda: dcgan_discriminator(spectral=True)),
}


def copy_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy in the order of the layers; a convolution on one pixel is a dense layer of ours."""
    state = theirs.state_dict()
    assert len(state) == len(ours.state_dict())
    for (name, own), other in zip(ours.state_dict().items(), state.values(), strict=True):
        if own.ndim == 2 and other.ndim == 4:
            # ConvTranspose2d [in, out, h, w] -> [out * h * w, in]; Conv2d [1, in, h, w] -> [1, in * h * w]
            other = other.flatten(1).T if name.startswith("layers.dense") else other.flatten(1)
        own.copy_(other)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("recipe", LESSONS)
def test_a_torch_lesson_has_equal_outputs_with_copied_weights(recipe, training):
    torch.manual_seed(1)
    resolution, channels = (28, 1) if "mnist" in recipe else (64, 3)
    inputs = torch.randn(4, 100), torch.rand(4, channels, resolution, resolution) * 2 - 1
    for ours, lesson, x in zip(networks(recipe), LESSONS[recipe], inputs, strict=True):
        theirs = lesson()
        copy_weights(ours, theirs)
        with torch.no_grad():
            expected, found = theirs.train(training)(x), ours.train(training)(x)
        assert expected.std() > 0
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_mapping_network_computes_as_the_lesson_does():
    """Ours normalises z, and scales its weights where it uses them."""
    torch.manual_seed(1)
    theirs = nn.Sequential(*(layer for _ in range(8) for layer in (nn.Linear(512, 512), nn.LeakyReLU(0.2))))
    ours = MappingNetwork(512, 0, 512)
    with torch.no_grad():
        for own, other in zip(ours.layers[::2], theirs[::2], strict=True):
            own.weight.copy_(other.weight / own.scale)
            own.bias.copy_(other.bias / own.bias_scale)
        z = torch.randn(4, 512)
        torch.testing.assert_close(ours(z), theirs(ours.normalise(z)), rtol=1e-4, atol=1e-6)


def test_adain_computes_as_the_lesson_does():
    torch.manual_seed(1)
    style, norm, ours = nn.Linear(512, 128), nn.InstanceNorm2d(64), AdaIN(64, 512)
    x, w = torch.randn(4, 64, 8, 8), torch.randn(4, 512)
    with torch.no_grad():
        for own, weight, bias in zip((ours.scale, ours.shift), style.weight.chunk(2), style.bias.chunk(2), strict=True):
            own.weight.copy_(weight / own.scale)
            own.bias.copy_(bias)
        gamma, beta = (part[:, :, None, None] for part in style(w).chunk(2, dim=1))
        torch.testing.assert_close(ours(x, w), gamma * norm(x) + beta, rtol=1e-3, atol=1e-4)  # eps 1e-8, not 1e-5


# The options that the lessons need


def test_target_ranges_lie_where_they_were_asked_for():
    uniform = torch.rand(1000, 4, generator=torch.Generator().manual_seed(0))
    real, fake = soft_targets(uniform, real_range=(0.7, 1.0), fake_range=(-0.1, 0.0))
    for targets, low, high in ((real, 0.7, 1.0), (fake, -0.1, 0.0)):
        assert low <= targets.min() < low + 0.01
        assert high - 0.01 < targets.max() <= high
    assert real.mean().item() == pytest.approx(0.85, abs=0.01)


def test_target_ranges_are_read_as_typed_and_written_so_again():
    typed = parse_settings(["real_target=[0.9,1.0]", "fake_target=[0,0]"])
    config = make_config("lesson-bricks-dcgan", {"data": "x"} | typed)
    assert (config.real_target, config.fake_target) == ((0.9, 1.0), (0.0, 0.0))
    assert "'real_target=[0.9, 1]'" in command_line(config)
    assert parse_settings(["real_target=[0.9, 1]"]) == {"real_target": [0.9, 1]}


@pytest.mark.parametrize(
    ("recipe", "settings", "says"),
    [
        ("lesson-bricks-dcgan", {"real_target": [1.0, 0.7]}, "lower bound comes first"),
        ("lesson-bricks-dcgan", {"label_noise": 0.1}, "takes the place of"),
        ("lesson-hinge-sn", {"real_target": [0.7, 1.0]}, "no targets"),
        ("lesson-hinge-sn", {"bce_eps": 1e-7}, "no probabilities"),
        ("lesson-dcgan-rgb", {"init": "glorot"}, "both say how weights start"),
        ("lesson-stylegan", {"init": "glorot"}, "scale their weights"),
        ("lesson-wgan", {"simultaneous": True}, "several steps"),
        ("lesson-dcgan-rgb", {"critic_reuses_batch": True}, "no effect without n_critic"),
        ("lesson-mnist-dcgan", {"g_kernel": 4}, "no g_kernel"),
        ("lesson-mnist-dcgan", {"bn_momentum": 0}, "bn_momentum"),
    ],
)
def test_settings_that_do_not_fit_are_refused(recipe, settings, says):
    with pytest.raises(InvalidOption, match=says):
        make_config(recipe, {"data": "x"} | settings)


def test_a_4x4_kernel_needs_upsampling():
    with pytest.raises(InvalidOption, match="transposed convolutions has no g_kernel of 4"):
        build_generator("dcgan", z_dim=8, img_resolution=16, img_channels=1, g_kernel=4)


@pytest.mark.parametrize("family", ["mlp", "dcgan28", "dcgan"])
def test_uniform_latents_are_made_from_the_normal_ones(family):
    torch.manual_seed(0)
    shape = {"z_dim": 8, "img_resolution": 16, "img_channels": 1, "width": 0.1}
    normal, uniform = (
        build_generator(family, **shape).eval(),
        build_generator(family, **shape, latents="uniform").eval(),
    )
    uniform.load_state_dict(normal.state_dict())
    z = torch.randn(4000, 8)
    torch.testing.assert_close(uniform(z[:4]), normal(torch.erf(z[:4] / math.sqrt(2))))
    ordered = torch.erf(z / math.sqrt(2)).flatten().sort().values
    assert (ordered - torch.linspace(-1, 1, len(ordered))).abs().max() < 0.02


def test_batch_norm_is_set_in_both_networks():
    for network in networks("lesson-bricks-dcgan"):
        layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
        assert len(layers) >= 3
        assert {(layer.momentum, layer.eps) for layer in layers} == {(0.1, 1e-3)}


def test_glorot_weights_fill_their_range():
    network = build_discriminator("dcgan28", img_resolution=28, img_channels=1)
    initialise_glorot(network)
    bound = math.sqrt(6 / (64 * 25 + 128 * 25))
    weight = network.body.conv2.weight
    assert bound * 0.99 < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not network.body.conv2.bias.any()


def test_d_width_narrows_the_discriminator_alone():
    config = make_config("lesson-dcgan-rgb", {"data": "x", "d_width": 0.25})
    generator, discriminator = build_networks(config, torch.device("cpu"), c_dim=0, processes=Processes())
    assert discriminator.body.conv1.weight.shape[0] == 16
    assert generator.layers.dense.weight.shape[0] == 512 * 16
