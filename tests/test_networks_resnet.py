"""Residual networks and conditional BatchNorm: the papers' sizes, closed forms, first weights, spectral norm."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_serve.errors import InvalidOption
from gan_serve.exports.to_onnx import torch_export, without_parametrizations
from gan_serve.training.distributed import synchronise_batch_norm
from gan_serve.training.networks import build_discriminator, build_generator
from gan_serve.training.networks.conditional_norm import ConditionalBatchNorm
from gan_serve.training.networks.residual import (
    FIRST_WEIGHTS,
    DownBlock,
    FixupBlock,
    UpBlock,
    fixup,
    glorot,
    orthogonal,
)

NARROW = {"width": 1 / 16}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


# The papers' networks


def test_biggan_has_as_many_parameters_as_the_authors_networks():
    """128x128, 96 channels: 70,433,988 and 87,982,370 in the log of the authors' code, with its non-local layers.

    Table 1 of the paper has 158.3 million for both.
    """
    with torch.device("meta"):
        shape = {"img_resolution": 128, "img_channels": 3, "c_dim": 1000, "block_size": 128}
        generator = build_generator("resnet", z_dim=120, width=3, skip_z=True, **shape)
        discriminator = build_discriminator("resnet", width=1.5, max_channels=1024, **shape)
    own_scales = sum(parameters(layer.norm) for layer in generator.modules() if isinstance(layer, ConditionalBatchNorm))

    def non_local(channels: int) -> int:
        return channels * (channels // 8) * 2 + channels * (channels // 2) * 2 + 1

    assert parameters(generator) - own_scales + non_local(2 * 96) == 70_433_988
    assert parameters(discriminator) + non_local(96) == 87_982_370


def test_sngan_has_the_channels_of_its_table():
    """Miyato et al. 2018, table 5 (128x128, unconditional)."""
    with torch.device("meta"):
        shape = {"img_resolution": 128, "img_channels": 3, "block": "sngan", "block_size": 128}
        generator = build_generator("resnet", z_dim=128, width=2, **shape)
        discriminator = build_discriminator("resnet", max_channels=1024, **shape)
    assert generator.start[0].out_features == 1024 * 4 * 4
    ups = [layer.main[3] for layer in generator.modules() if isinstance(layer, UpBlock)]
    channels = [1024, 1024, 512, 256, 128, 64]
    assert [(conv.in_channels, conv.out_channels) for conv in ups] == list(itertools.pairwise(channels))
    downs = [layer.main for layer in discriminator.modules() if isinstance(layer, DownBlock)]
    assert [main[3].out_channels for main in downs] == [64, 128, 256, 512, 1024, 1024]
    assert all(main[1].out_channels == main[1].in_channels for main in downs)  # the hidden channels
    assert [isinstance(main[0], nn.ReLU) for main in downs] == [False] + [True] * 5
    assert [isinstance(main[4], nn.AvgPool2d) for main in downs] == [True] * 5 + [False]


@pytest.mark.parametrize(("block_size", "ups"), [(4, 0), (8, 1), (16, 2), (32, 3), (64, 4)])
def test_blocks_go_up_to_their_size(block_size, ups):
    shape = {"img_resolution": 64, "img_channels": 3, "block_size": block_size, **NARROW}
    generator = build_generator("resnet", z_dim=8, **shape)
    discriminator = build_discriminator("resnet", **shape)
    assert sum(isinstance(layer, UpBlock) for layer in generator.modules()) == ups
    assert sum(isinstance(layer, DownBlock) for layer in discriminator.modules()) == ups + 1
    strided = [layer for layer in discriminator.modules() if getattr(layer, "kernel_size", 0) == (4, 4)]
    assert len(strided) == 4 - ups


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("block_size", [4, 16, 64])
@pytest.mark.parametrize("block", FIRST_WEIGHTS)
def test_an_image_does_not_depend_on_its_batch(block, block_size, conditional, transposed):
    generator = build_generator(
        "resnet", z_dim=12, img_resolution=32, img_channels=3, c_dim=3 * conditional, block=block,
        block_size=block_size, skip_z=block == "biggan", g_spectral_norm=block == "biggan",
        upsampling="transposed" if transposed else "nearest", **NARROW,
    )  # fmt: skip
    z, c = torch.randn(6, 12), torch.arange(6) % 3 if conditional else None
    generator(z, c)  # moves the statistics
    generator.eval()
    with torch.no_grad():
        images = generator(z, c)
        alone = generator(z[4:5], None if c is None else c[4:5])
    assert images.shape == (6, 3, 32, 32)
    torch.testing.assert_close(images[4:5], alone, rtol=1e-4, atol=1e-5)


# Conditional BatchNorm


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d])
@torch.no_grad()
def test_conditional_batch_norm_is_batch_norm_with_the_scale_and_shift_of_the_class(kind):
    layer = ConditionalBatchNorm(kind(5), condition_dim=3)
    for weight in layer.parameters():
        weight.normal_()
    c = torch.tensor([0, 2, 2, 1])
    x = torch.randn(4, 5, *[6, 6][: 2 * (kind is nn.BatchNorm2d)]) * 3 + 1
    shape = [4, 5, *[1] * (x.ndim - 2)]
    scale = (layer.norm.weight * (1 + layer.scale.weight[:, c].T)).view(shape)
    shift = (layer.norm.bias * (1 + layer.scale.weight[:, c].T) + layer.shift.weight[:, c].T).view(shape)
    expected = F.batch_norm(x, None, None, training=True) * scale + shift
    torch.testing.assert_close(layer(x, F.one_hot(c, 3).float()), expected, rtol=1e-4, atol=1e-4)
    layer.eval()
    expected = F.batch_norm(x, layer.norm.running_mean, layer.norm.running_var) * scale + shift
    torch.testing.assert_close(layer(x, F.one_hot(c, 3).float()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "options", "layers"),
    [
        ("dcgan", {}, 4),
        ("dcgan28", {}, 3),
        ("resnet", {"block": "sngan"}, 6),
        ("resnet", {"block": "biggan"}, 6),
        ("resnet", {"block": "biggan", "block_size": 64}, 8),  # the last BatchNorm is a plain one, as in the paper
    ],
)
def test_the_label_reaches_every_layer(family, options, layers):
    generator = build_generator(
        family, z_dim=10, img_resolution=64, img_channels=1, c_dim=3, g_conditioning="batchnorm", **NARROW, **options
    ).eval()
    told = [layer for layer in generator.modules() if isinstance(layer, ConditionalBatchNorm)]
    assert len(told) == layers
    z = torch.randn(1, 10).expand(3, -1)
    for layer in told:  # each alone changes the image
        saved = {other: other.scale.weight.detach().clone() for other in told}
        with torch.no_grad():
            for other in told:
                other.scale.weight.mul_(float(other is layer))
                other.shift.weight.mul_(0)
            images = generator(z, torch.arange(3))
            for other, weight in saved.items():
                other.scale.weight.copy_(weight)
                other.shift.weight.copy_(weight)
        assert (images[0] - images[1]).abs().max() > 1e-6


@pytest.mark.parametrize("family", ["dcgan", "dcgan28"])
def test_without_classes_conditional_batch_norm_is_the_plain_network(family):
    shape = {"z_dim": 10, "img_resolution": 16, "img_channels": 1, **NARROW}
    plain, told = build_generator(family, **shape), build_generator(family, g_conditioning="batchnorm", **shape)
    assert str(plain) == str(told)
    told.load_state_dict(plain.state_dict())


def test_conditional_batch_norm_goes_on_in_many_processes():
    generator = build_generator("resnet", z_dim=8, img_resolution=16, img_channels=1, c_dim=3, skip_z=True, **NARROW)
    before = generator.eval()(z := torch.randn(4, 8), c := torch.arange(4) % 3)
    names = list(generator.state_dict())
    synchronise_batch_norm(generator)
    assert list(generator.state_dict()) == names
    torch.testing.assert_close(generator.eval()(z, c), before)


# Latents in every layer


def test_parts_of_the_latent_go_to_their_layers():
    generator = build_generator("resnet", z_dim=23, img_resolution=64, img_channels=1, c_dim=3, skip_z=True, **NARROW)
    assert generator.z_parts == [7, 4, 4, 4, 4]
    assert generator.start[0].in_features == 7
    told = {layer.scale.in_features for layer in generator.modules() if isinstance(layer, ConditionalBatchNorm)}
    assert told == {128 + 4}
    seen: list[Tensor] = []
    for layer in generator.layers:
        layer.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[1]))
    z = torch.randn(2, 23)
    generator(z, torch.tensor([2, 0]))
    for i, condition in enumerate(seen):
        torch.testing.assert_close(condition[:, 128:], z[:, 7 + 4 * i : 11 + 4 * i])
        torch.testing.assert_close(condition[:, :128], generator.embed.weight[:, [2, 0]].T)


def test_skip_z_without_labels():
    generator = build_generator("resnet", z_dim=10, img_resolution=64, img_channels=1, skip_z=True, **NARROW).eval()
    z = torch.randn(2, 10)
    z[1, :2] = z[0, :2]  # only the parts behind the first differ
    first, second = generator(z)
    assert (first - second).abs().max() > 1e-4


# First weights


def matrices(network: nn.Module) -> list[Tensor]:
    kinds = nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding
    return [layer.weight.detach().flatten(1) for layer in network.modules() if isinstance(layer, kinds)]


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_orthogonal_weights_are_orthogonal(network):
    shape = {"img_resolution": 32, "img_channels": 3, "c_dim": 3, "width": 1 / 8, "block_size": 16}
    built = (
        build_generator("resnet", z_dim=32, skip_z=True, upsampling="transposed", **shape)
        if network == "generator"
        else build_discriminator("resnet", **shape)
    )
    for matrix in matrices(built):
        short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        torch.testing.assert_close(short @ short.T, torch.eye(len(short)), rtol=0, atol=1e-4)
    assert not any(
        weight.any() for name, weight in built.named_parameters() if name.endswith("bias") and "norm" in name
    )


@pytest.mark.parametrize("block", FIRST_WEIGHTS)
def test_networks_start_as_their_paper_says(block):
    starts = {"sngan": glorot, "biggan": orthogonal, "r3gan": fixup}
    for build, extra in ((build_generator, {"z_dim": 8}), (build_discriminator, {})):
        network = build("resnet", img_resolution=16, img_channels=3, block=block, width=1 / 4, **extra)
        deviations = [matrix.std().item() for matrix in matrices(network)]
        starts[block](network)
        for deviation, matrix in zip(deviations, matrices(network), strict=True):
            if matrix.numel() > 200:
                assert matrix.std().item() == pytest.approx(deviation, rel=0.3)


def test_a_fixup_block_is_the_identity_at_first():
    block, x = FixupBlock(24), torch.randn(2, 24, 5, 5)
    fixup(block)
    assert torch.equal(block(x), x)
    block.main[-1].weight.data.normal_()
    assert not torch.equal(block(x), x)


def test_fixup_scales_what_lies_within_blocks_by_their_number():
    blocks = nn.Sequential(*(FixupBlock(64) for _ in range(16)), plain := nn.Conv2d(64, 64, 1))
    fixup(blocks)
    gain = math.sqrt(2 / (1 + 0.2**2))
    for block in blocks[:16]:
        assert block.main[0].weight.std().item() == pytest.approx(gain / math.sqrt(64) / 2, rel=0.05)  # 16 ** -¼
        assert block.main[2].weight.std().item() == pytest.approx(gain / math.sqrt(16 * 9) / 2, rel=0.05)
    assert plain.weight.std().item() == pytest.approx(1 / 8, rel=0.05)


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_r3gan_keeps_the_variance_at_first(upsampling):
    shape = {"img_resolution": 64, "img_channels": 3, "block": "r3gan", "width": 1 / 4}
    images = build_generator("resnet", z_dim=64, upsampling=upsampling, **shape)(torch.randn(16, 64))
    assert 0.1 < images.std().item() < 1.5
    logits = build_discriminator("resnet", **shape)(torch.randn(64, 3, 64, 64))
    assert 0.02 < logits.std().item() < 2


def test_r3gan_normalises_nothing():
    for network in (
        build_generator("resnet", z_dim=8, img_resolution=16, img_channels=1, block="r3gan", **NARROW),
        build_discriminator("resnet", img_resolution=16, img_channels=1, block="r3gan", **NARROW),
    ):
        assert not any("Norm" in type(layer).__name__ for layer in network.modules())


# Spectral norm


def test_every_weight_of_the_generator_has_a_largest_singular_value_of_1():
    generator = build_generator(
        "resnet", z_dim=20, img_resolution=32, img_channels=3, c_dim=3, skip_z=True, g_spectral_norm=True, width=1 / 8
    )
    with torch.no_grad():
        for name, weight in generator.named_parameters():
            if name.endswith("original"):
                weight.normal_()
        for _ in range(300):  # a step of power iteration each
            generator(torch.randn(2, 20), torch.tensor([0, 1]))
        generator.eval()
        for matrix in matrices(generator.layers) + matrices(generator.start) + matrices(generator.to_image):
            assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1, rel=0.02)
    assert not any("embed" in name for name, _ in generator.named_parameters() if "original" in name)
    assert any("embed" in name for name, _ in generator.named_parameters())


# Bad options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"block": "bigan"}, "no block 'bigan'"),
        ({"g_conditioning": "batch"}, "no g_conditioning"),
        ({"upsampling": "nearst"}, "upsampling"),
        ({"skip_z": True, "z_dim": 4}, "skip_z needs 5 parts"),
        ({"block": "r3gan", "skip_z": True}, "no normalisation for skip_z"),
        ({"block": "r3gan", "g_conditioning": "batchnorm"}, "no normalisation for g_conditioning"),
        ({"block": "r3gan", "g_spectral_norm": True}, "no normalisation for g_spectral_norm"),
    ],
)
def test_bad_options_of_a_generator_are_refused(options, says):
    with pytest.raises(InvalidOption, match=says) as error:
        build_generator("resnet", **{"z_dim": 8, "img_resolution": 64, "img_channels": 1} | NARROW | options)
    assert error.value.hint


def test_an_unknown_block_of_a_discriminator_is_refused():
    with pytest.raises(InvalidOption, match="no block 'bigan'"):
        build_discriminator("resnet", img_resolution=64, img_channels=1, block="bigan")


@pytest.mark.parametrize("family", ["dcgan", "dcgan28"])
def test_an_unknown_conditioning_of_a_generator_is_refused(family):
    with pytest.raises(InvalidOption, match="no g_conditioning") as error:
        build_generator(family, z_dim=4, img_resolution=16, img_channels=1, g_conditioning="batchnrm")
    assert error.value.hint == "Did you mean 'batchnorm'?"


# Export


@torch.no_grad()
def test_an_export_has_the_weights_that_spectral_norm_makes():
    generator = build_generator(
        "resnet", z_dim=20, img_resolution=32, img_channels=3, c_dim=3, skip_z=True, g_spectral_norm=True, **NARROW
    ).eval()
    z, c = torch.randn(4, 20), torch.arange(4) % 3
    images, names = generator(z, c), list(generator.state_dict())
    plain = without_parametrizations(generator)
    assert torch.equal(plain(z, c), images)
    assert not any("parametrizations" in name for name in plain.state_dict())
    assert torch.equal(generator(z, c), images)  # as it was
    assert list(generator.state_dict()) == names
    weights = {tensor.name for tensor in torch_export(generator).graph.initializer}
    assert "generator.layers.0.main.3.weight" in weights
