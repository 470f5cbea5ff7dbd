"""int8 and fp16: near enough to fp32 or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from gan_serve.exports.certify import certify
from gan_serve.exports.graph import copy_of
from gan_serve.exports.int8_weights import SMALLEST, store_weights_in_int8
from gan_serve.exports.parity import varied_styles
from gan_serve.exports.quantize import (
    LARGEST_LATENT,
    LOW_PSNR,
    MAX_IN_FP32,
    MEAN_PSNR,
    Fidelity,
    LowPrecision,
    layer_of,
    measure,
    multiplications,
    ranges,
    to_fp16,
    to_int8,
    weight_names,
    with_large_latents,
)
from gan_serve.exports.rewrite import optimize
from gan_serve.exports.to_onnx import PixelGenerator, serialize, torch_export
from gan_serve.images.compare import psnr
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.session import open_session, run_in_batches
from gan_serve.training.config import make_config
from gan_serve.training.loop import train
from gan_serve.training.networks import build_generator
from gan_serve.training.snapshots import load_snapshot, snapshots

Z_DIM = 16
INPUTS = {"z": latents_from_seeds(range(64), Z_DIM)}
CALIBRATION = {"z": latents_from_seeds(range(1000, 1032), Z_DIM)}


class Models(NamedTuple):
    """A generator of digits as torch exports it, and as it is optimised."""

    plain: onnx.ModelProto
    optimised: onnx.ModelProto


@pytest.fixture(scope="module")
def models(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    run = tmp_path_factory.mktemp("runs") / "digits"
    settings = {"resolution": 8, "batch_size": 32, "kimg": 2, "z_dim": Z_DIM, "data": str(digits), "ema_kimg": 0.2}
    train(make_config("dcgan-28", settings | {"width": 0.25, "threads": 1}), run, quiet=True)
    generator = build_generator("dcgan28", z_dim=Z_DIM, img_resolution=8, img_channels=1, width=0.25).eval()
    generator.load_state_dict(load_snapshot(snapshots(run)[-1])["ema"])
    plain = torch_export(generator)
    optimised = copy_of(plain)
    optimize(optimised)
    return Models(plain, optimised)


def drawn(model: bytes, inputs: dict[str, Any], batch: int = 64) -> UInt8Array:
    session, _ = open_session(model, "cpu")
    return run_in_batches(session, inputs, batch=batch)


def int8_of(model: onnx.ModelProto) -> LowPrecision | None:
    return to_int8(model, CALIBRATION, INPUTS, drawn(model.SerializeToString(), INPUTS))


@pytest.fixture(scope="module")
def int8(models: Models) -> LowPrecision:
    reduced = int8_of(models.optimised)
    assert reduced is not None
    return reduced


def enlarged(model: onnx.ModelProto, factor: float, layer: str) -> onnx.ModelProto:
    """A copy whose weights of a layer are ``factor`` times as large."""
    copy = copy_of(model)
    for constant in copy.graph.initializer:
        if layer in constant.name:
            array = numpy_helper.to_array(constant) * np.float32(factor)
            constant.CopyFrom(numpy_helper.from_array(array, constant.name))
    return copy


def test_psnr_is_that_of_the_books():
    reference = np.full((4, 2, 2, 1), 100, np.uint8)
    images = reference.copy()
    images[1, 0, 0] += 5  # a mean square of 25 / 4
    images[2], images[3] = 101, 99
    np.testing.assert_allclose(psnr(images, reference), [100, 40.1720, 48.1308, 48.1308], atol=1e-4)
    assert psnr(np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)) == 0
    one, other = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 6, 3), np.uint8)
    squares = (one.astype(float) - other.astype(float)) ** 2
    expected = [20 * np.log10(255) - 10 * np.log10(image.mean()) for image in squares]
    np.testing.assert_allclose(psnr(one, other), expected)


def test_the_work_is_shared_as_counted_by_hand(models):
    shares = multiplications(models.optimised)
    assert sum(shares.values()) == pytest.approx(1)
    # Dense 16 -> 256; 5x5 from 64 to 32 channels on 2x2; 5x5 from 32 to 16, each tap on 2x2. The image is no Conv.
    by_hand = np.array([16 * 256, 25 * 64 * 32 * 4, 25 * 32 * 16 * 4])
    assert sorted(shares.values()) == pytest.approx(sorted(by_hand / by_hand.sum()))


def chain(activation: str | None) -> onnx.ModelProto:
    """z float32 [N, 1] -> the same numbers, an activation (LeakyRelu: 0.2), a Reshape; called dense, act, moved."""
    nodes = [helper.make_node("Gemm", ["z", "weight"], ["dense"], name="dense")]
    if activation:
        attributes = {"alpha": 0.2} if activation == "LeakyRelu" else {}
        nodes.append(helper.make_node(activation, ["dense"], ["act"], name="act", **attributes))
    nodes.append(helper.make_node("Reshape", [nodes[-1].output[0], "shape"], ["moved"], name="moved"))
    nodes.append(helper.make_node("Cast", ["moved"], ["img"], name="cast", to=TensorProto.UINT8))
    constants = [
        numpy_helper.from_array(np.eye(1, dtype=np.float32), "weight"),
        numpy_helper.from_array(np.array([-1, 1, 1, 1]), "shape"),
    ]
    return model_of(nodes, constants, 1, 1)


def model_of(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], z_dim: int, side: int) -> onnx.ModelProto:
    """z float32 [N, z_dim] -> img uint8 [N, side, side, 1]."""
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", z_dim])
    img = helper.make_tensor_value_info("img", TensorProto.UINT8, ["N", side, side, 1])
    graph = helper.make_graph(nodes, "by hand", [z], [img], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def test_ranges_cut_off_heavy_tails_and_nothing_else():
    random = np.random.default_rng(0)
    heavy = {"z": random.standard_t(2, (20_000, 1)).astype(np.float32)}
    even = {"z": random.uniform(-1, 1, (20_000, 1)).astype(np.float32)}
    largest = float(np.abs(heavy["z"]).max())
    low, high = ranges(chain(None), heavy, 1.0)["dense"]
    assert 5 < high < 0.5 * largest
    assert 5 < -low < 0.5 * largest
    wide = ranges(chain(None), heavy, 2.0)["dense"]  # squares weigh the tail more
    assert wide[0] < low < high < wide[1]
    assert ranges(chain(None), even, 2.0)["dense"] == pytest.approx((-1, 1), abs=0.01)


def test_ranges_give_less_to_what_a_leaky_relu_lets_through_less():
    values = {"z": np.random.default_rng(0).standard_normal((20_000, 1)).astype(np.float32)}
    plain, leaky = ranges(chain(None), values, 1.5), ranges(chain("LeakyRelu"), values, 1.5)
    assert plain["dense"][0] < -3
    assert plain["dense"][0] < leaky["dense"][0] < -0.5
    assert leaky["act"][0] == pytest.approx(0.2 * values["z"].min(), rel=0.4)
    assert leaky["moved"] == leaky["act"]
    relu = ranges(chain("Relu"), values, 1.5)
    assert "dense" not in relu  # fused: only what comes behind is rounded
    assert relu["act"][0] == 0
    assert relu["act"][1] > 3


def test_int8_holds_the_gate_and_says_by_how_much(int8, models):
    reference = drawn(models.optimised.SerializeToString(), INPUTS)
    assert reference.std() > 40  # digits
    images = drawn(int8.model, INPUTS)
    decibels = psnr(images, reference)
    assert int8.fidelity.psnr_mean == pytest.approx(decibels.mean(), abs=0.01)
    assert int8.fidelity.psnr_min == pytest.approx(decibels.min(), abs=0.01)
    assert int8.fidelity.max_difference == np.abs(images.astype(int) - reference).max() > 0
    assert int8.fidelity.psnr_mean >= MEAN_PSNR == int8.fidelity.gate
    assert int8.fidelity.psnr_p1 == pytest.approx(np.percentile(decibels, 1), abs=0.01)
    assert int8.fidelity.psnr_p1 >= LOW_PSNR == int8.fidelity.gate_p1
    assert (int8.fidelity.images, int8.fidelity.weight_bits, int8.fidelity.layers_in_fp32) == (64, 7, ())


def weights_of(model: onnx.ModelProto) -> dict[str, list[np.ndarray]]:
    """The weights of each layer, as the file has them."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    found: dict[str, list[np.ndarray]] = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            name = node.input[1]
            while name not in constants:
                assert makers[name].op_type in ("DequantizeLinear", "Mul", "Cast")
                name = makers[name].input[0]
            found.setdefault(layer_of(node), []).append(constants[name])
    return found


def test_int8_is_a_smaller_file_of_standard_operators(int8, models):
    model = onnx.load_from_string(int8.model)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert [opset.domain for opset in model.opset_import] == [""]
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}
    weights = weights_of(model)
    assert weights.keys() == multiplications(models.optimised).keys()
    assert {array.dtype for arrays in weights.values() for array in arrays} == {np.dtype(np.int8)}
    assert max(np.abs(array.astype(int)).max() for arrays in weights.values() for array in arrays) <= 64  # 7 bits
    assert len(int8.model) < 0.4 * len(models.optimised.SerializeToString())


def test_an_image_in_int8_does_not_depend_on_its_batch(int8):
    whole = drawn(int8.model, INPUTS)
    for batch in (1, 2, 3, 7, 16):
        np.testing.assert_array_equal(drawn(int8.model, INPUTS, batch), whole)


def test_int8_of_the_same_model_is_the_same_file(int8, models):
    before = models.optimised.SerializeToString(deterministic=True)
    assert int8_of(models.optimised) == int8
    assert models.optimised.SerializeToString(deterministic=True) == before


def test_layers_are_kept_in_fp32_where_that_holds_the_gate(models):
    model = enlarged(models.optimised, 8, "conv3")  # a contrast that shows what 8 bits lose
    reduced = int8_of(model)
    assert reduced is not None
    names, shares = weight_names(model), multiplications(model)
    kept = {layer for layer, name in names.items() if name in reduced.fidelity.layers_in_fp32}
    assert kept
    assert {names[layer] for layer in kept} <= {"layers.dense", "layers.conv1", "layers.conv2"}
    assert kept < shares.keys()
    assert sum(shares[layer] for layer in kept) <= MAX_IN_FP32
    weights = weights_of(onnx.load_from_string(reduced.model))
    large = [array for layer in kept for array in weights.pop(layer) if array.size >= SMALLEST]
    assert {array.dtype for array in large} <= {np.dtype(np.int8)}  # stored in int8, computed in fp32
    assert {array.dtype for arrays in weights.values() for array in arrays} == {np.dtype(np.int8)}
    assert measure(reduced.model, INPUTS, drawn(model.SerializeToString(), INPUTS)).psnr_mean >= MEAN_PSNR


def dense(weight: np.ndarray, transposed: int = 0) -> onnx.ModelProto:
    """z float32 [N, in] -> y float32 [N, out], of a weight [in, out], which is stored as [out, in] if transposed."""
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", weight.shape[1]])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", weight.shape[0]])
    node = helper.make_node("Gemm", ["z", "weight"], ["y"], name="dense", transB=transposed)
    constant = numpy_helper.from_array(np.ascontiguousarray(weight.T if transposed else weight), "weight")
    graph = helper.make_graph([node], "dense", [z], [y], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("transposed", [0, 1])
def test_weights_in_int8_are_within_half_a_step_of_their_channel(transposed):
    random = np.random.default_rng(0)
    weight = random.standard_normal((128, 64)).astype(np.float32) * np.geomspace(0.01, 10, 64, dtype=np.float32)
    weight[:, 7] = 0
    model = dense(weight, transposed)
    whole = len(model.SerializeToString())
    store_weights_in_int8(model, ["dense"])
    z = np.eye(128, dtype=np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [restored] = session.run(None, {"z": z})
    step = np.abs(weight).max(0) / 127
    assert (np.abs(restored - weight) <= step * 0.501).all()
    assert (restored[:, 7] == 0).all()
    assert len(model.SerializeToString()) < 0.3 * whole


def test_few_weights_and_other_layers_stay_as_they_are():
    model = dense(np.ones((8, 8), np.float32))
    before = [node.op_type for node in model.graph.node]
    store_weights_in_int8(model, ["dense"])
    assert [node.op_type for node in model.graph.node] == before
    model = dense(np.ones((128, 64), np.float32))
    store_weights_in_int8(model, ["another"])
    assert [node.op_type for node in model.graph.node] == before


def chaos() -> onnx.ModelProto:
    """A model that enlarges the least error until nothing else is left: 40 dense layers of gain 5, tanh between."""
    random = np.random.default_rng(0)
    nodes, constants, value = [], [], "z"
    for number in range(40):
        weight = random.standard_normal((Z_DIM, Z_DIM)).astype(np.float32) * 5 / Z_DIM**0.5
        constants.append(numpy_helper.from_array(weight, f"weight{number}"))
        nodes.append(helper.make_node("Gemm", [value, f"weight{number}"], [f"dense{number}"], name=f"dense{number}"))
        value = f"tanh{number}"
        nodes.append(helper.make_node("Tanh", [f"dense{number}"], [value], name=value))
    constants.append(numpy_helper.from_array(np.float32(127), "grey"))
    constants.append(numpy_helper.from_array(np.array([-1, 4, 4, 1]), "shape"))
    nodes += [
        helper.make_node("Mul", [value, "grey"], ["scaled"], name="scaled"),
        helper.make_node("Add", ["scaled", "grey"], ["grey_levels"], name="grey_levels"),
        helper.make_node("Reshape", ["grey_levels", "shape"], ["image"], name="image"),
        helper.make_node("Cast", ["image"], ["img"], name="img", to=TensorProto.UINT8),
    ]
    return model_of(nodes, constants, Z_DIM, 4)


def test_nothing_is_made_of_a_model_that_rounding_ruins():
    model = chaos()
    reference = drawn(model.SerializeToString(), INPUTS)
    assert reference.std() > 40
    assert to_int8(model, CALIBRATION, INPUTS, reference) is None
    assert to_fp16(model, INPUTS, reference) is None


def test_fp16_halves_the_file_and_keeps_the_gate_and_the_interface(models):
    fp32 = serialize(copy_of(models.plain))
    reference = drawn(fp32, INPUTS)
    reduced = to_fp16(models.plain, INPUTS, reference)
    assert reduced is not None
    assert reduced == to_fp16(models.plain, INPUTS, reference)
    assert psnr(drawn(reduced.model, INPUTS), reference).mean() == pytest.approx(reduced.fidelity.psnr_mean, abs=0.01)
    assert reduced.fidelity.psnr_mean >= MEAN_PSNR
    assert reduced.fidelity.layers_in_fp32 == ()
    assert len(reduced.model) < 0.55 * len(fp32)
    model = onnx.load_from_string(reduced.model)
    onnx.checker.check_model(model, full_check=True)
    [z], [img] = model.graph.input, model.graph.output
    assert z.type.tensor_type.elem_type == TensorProto.FLOAT
    assert img.type.tensor_type.elem_type == TensorProto.UINT8
    assert {constant.data_type for constant in model.graph.initializer if constant.dims} >= {TensorProto.FLOAT16}


@pytest.mark.slow
def test_a_model_that_upsamples_twice_becomes_fp16():
    torch.manual_seed(0)
    generator = build_generator("stylegan", z_dim=Z_DIM, img_resolution=16, img_channels=1, width=0.05).eval()
    model = torch_export(generator)
    assert [node.op_type for node in model.graph.node].count("Resize") == 2
    inputs = INPUTS | {"psi": np.full(64, 0.7, np.float32)} | varied_styles(PixelGenerator(generator), range(64))
    reference = drawn(serialize(copy_of(model)), inputs)
    assert reference.std() > 5
    reduced = to_fp16(model, inputs, reference)
    assert reduced is not None
    assert np.abs(drawn(reduced.model, inputs).astype(int) - reference).max() <= 8


def test_a_file_needs_a_high_mean_and_a_high_first_percentile():
    values = {"max_difference": 9, "images": 5000, "psnr_min": 12.0}
    assert Fidelity(psnr_mean=40.0, psnr_p1=30.0, **values).is_near
    assert not Fidelity(psnr_mean=39.99, psnr_p1=35.0, **values).is_near
    assert not Fidelity(psnr_mean=60.0, psnr_p1=29.99, **values).is_near
    assert not Fidelity(psnr_mean=60.0, **values).is_near  # written before the percentile was measured


def test_large_latents_differ_in_their_largest_number_alone():
    latents = latents_from_seeds(range(32), Z_DIM)
    large = with_large_latents(latents)
    changed = large != latents
    assert (changed.sum(1) == 1).all()
    assert set(np.abs(large[changed]).tolist()) == {LARGEST_LATENT}
    np.testing.assert_array_equal(np.sign(large), np.sign(latents))
    assert np.abs(latents).max() < LARGEST_LATENT - 1  # what calibration without them would show


def test_int8_keeps_latents_that_usual_calibration_never_shows(models):
    """The range of z is chosen from calibration; a number beyond it is cut off and changes the image."""
    beyond = {"z": with_large_latents(latents_from_seeds(range(64), Z_DIM))}
    reference = drawn(models.optimised.SerializeToString(), beyond)
    large = {"z": np.concatenate([CALIBRATION["z"], with_large_latents(CALIBRATION["z"])])}
    decibels = []
    for calibration in (CALIBRATION, large):
        converted = to_int8(models.optimised, calibration, INPUTS, drawn(models.optimised.SerializeToString(), INPUTS))
        assert converted is not None
        decibels.append(psnr(drawn(converted.model, beyond), reference).mean())
    assert decibels[1] > decibels[0] + 1


@pytest.mark.slow
def test_an_export_compares_as_many_images_as_the_card_says():
    """Other tests of exports use the fixture ``fewer_images``."""
    generator = build_generator("dcgan28", z_dim=Z_DIM, img_resolution=8, img_channels=1, width=0.25).eval()
    certified = certify(generator, {}, ("fp32", "int8"))
    assert certified.parity.seeds == 256
    assert certified.parity.int8 is not None
    assert certified.parity.int8.images == 5000
