"""The optional inputs of networks with a space w, as ONNX Runtime sees them: style mixing and offsets."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from gan_serve.exports.graph import copy_of
from gan_serve.exports.parity import compare_with, varied_styles
from gan_serve.exports.quantize import _quantise, ranges, to_fp16
from gan_serve.exports.rewrite import optimize
from gan_serve.exports.to_onnx import IR_VERSION, OPSET, PixelGenerator, serialize, to_onnx, torch_export
from gan_serve.images.compare import psnr
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.session import open_session, run_in_batches
from gan_serve.training.networks import build_generator

Z_DIM, N = 6, 12
OPTIONAL = {"z_mix", "crossover", "w_offset"}


@pytest.fixture(scope="module", params=[pytest.param(0, marks=pytest.mark.slow), 3])
def network(request: pytest.FixtureRequest) -> PixelGenerator:
    """A StyleGAN with random weights and visible contrast, without classes and with three."""
    torch.manual_seed(1)
    generator = build_generator(
        "stylegan", z_dim=Z_DIM, img_resolution=8, img_channels=3, c_dim=request.param, width=0.1, mapping_layers=2
    )
    with torch.no_grad():
        generator.synthesis.to_rgb.weight.mul_(0.5)
        generator.w_mean.normal_(0, 0.1)
    return PixelGenerator(generator.eval()).eval()


@pytest.fixture(scope="module")
def model(network: PixelGenerator) -> bytes:
    return to_onnx(network.generator)


def inputs_of(network: PixelGenerator, psi: float = 0.7) -> dict[str, Any]:
    inputs: dict[str, Any] = {"z": latents_from_seeds(range(N), Z_DIM), "psi": np.full(N, psi, np.float32)}
    return inputs | ({"c": np.arange(N) % network.c_dim} if network.c_dim else {})


def torch_images(network: PixelGenerator, inputs: dict[str, Any]) -> np.ndarray:
    with torch.no_grad():
        return network(**{name: torch.from_numpy(values) for name, values in inputs.items()}).numpy()


def sampled(model: bytes, inputs: dict[str, Any], batch: int = N) -> np.ndarray:
    return run_in_batches(open_session(model, "cpu")[0], inputs, batch=batch)


def test_the_file_is_old_enough_and_tells_which_inputs_are_optional(network, model):
    read = onnx.load_from_string(model)
    assert ([opset.version for opset in read.opset_import], read.ir_version) == ([OPSET], IR_VERSION) == ([18], 8)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert {value.name for value in session.get_inputs()} == {"z", "psi"} | ({"c"} if network.c_dim else set())
    assert {value.name for value in session.get_overridable_initializers()} == OPTIONAL


def test_left_out_they_change_nothing(network, model):
    inputs = inputs_of(network)
    plain = sampled(model, inputs)
    assert np.abs(plain.astype(int) - torch_images(network, inputs)).max() <= 1
    assert plain.std(axis=0).mean() > 2  # seeds differ
    defaults = {name: np.repeat(value, N, 0) for name, value in network.optional_inputs().items()}
    np.testing.assert_array_equal(sampled(model, inputs | defaults), plain)
    noise = {"z_mix": latents_from_seeds(range(50, 50 + N), Z_DIM)}
    np.testing.assert_array_equal(sampled(model, inputs | noise), plain)  # without a crossover it is not used


def test_a_crossover_at_the_first_layer_gives_the_images_of_the_second_latents(network, model):
    other = inputs_of(network) | {"z": latents_from_seeds(range(50, 50 + N), Z_DIM)}
    mixed = inputs_of(network) | {"z_mix": other["z"], "crossover": np.zeros(N, np.int64)}
    np.testing.assert_array_equal(sampled(model, mixed), sampled(model, other))


def test_mixing_and_offsets_agree_with_torch_and_do_not_depend_on_the_batch(network, model):
    inputs = inputs_of(network)
    for names in (["z_mix", "crossover"], ["w_offset"], sorted(OPTIONAL)):
        styles = {name: value for name, value in varied_styles(network, range(N)).items() if name in names}
        images = sampled(model, inputs | styles)
        assert np.abs(images.astype(int) - torch_images(network, inputs | styles)).max() <= 1
        changed = (images != sampled(model, inputs)).any(axis=(1, 2, 3))
        assert not changed[::2].any()  # even seeds have the defaults
        assert changed[1::2].all()
        for batch in (1, 2, 5):
            np.testing.assert_array_equal(sampled(model, inputs | styles, batch), images)


def test_a_row_alone_serves_every_image(network, model):
    """ONNX Runtime broadcasts a default of one row, and so one row that is given."""
    styles = {"crossover": np.array([2]), "z_mix": latents_from_seeds([50], Z_DIM)}
    whole = {name: np.repeat(value, N, 0) for name, value in styles.items()}
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    [images] = session.run(["img"], inputs_of(network) | styles)
    np.testing.assert_array_equal(images, sampled(model, inputs_of(network) | whole))


@pytest.mark.usefixtures("fewer_images")
def test_parity_covers_mixed_styles(network, model):
    read = onnx.load_from_string(model)
    assert compare_with(model, network).max_difference <= 1
    [crossover] = [tensor for tensor in read.graph.initializer if tensor.name == "crossover"]
    assert onnx.numpy_helper.to_array(crossover).tolist() == [network.generator.num_layers]


@pytest.mark.slow
def test_lower_precisions_keep_the_optional_inputs(network):
    plain = torch_export(network.generator)
    inputs = inputs_of(network) | varied_styles(network, range(N))
    reference = sampled(serialize(copy_of(plain)), inputs)
    fused = copy_of(plain)
    optimize(fused, "int8")
    int8 = _quantise(fused, inputs, ranges(fused, inputs, 1.4), (), 7)
    content = serialize(onnx.load_from_string(int8), optional_inputs=network.optional_inputs())
    np.testing.assert_array_equal(sampled(content, inputs), sampled(int8, inputs))
    assert psnr(sampled(content, inputs), reference).mean() > 15  # random weights; trained ones lose less
    some = {name: value for name, value in inputs.items() if name not in OPTIONAL}
    assert (sampled(content, some)[::2] == sampled(content, inputs)[::2]).all()
    if (fp16 := to_fp16(plain, inputs, reference)) is not None:
        content = serialize(onnx.load_from_string(fp16.model), optional_inputs=network.optional_inputs())
        np.testing.assert_array_equal(sampled(content, inputs), sampled(fp16.model, inputs))
