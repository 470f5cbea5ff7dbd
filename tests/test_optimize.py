"""The passes over exported generators: the same numbers from other operators, and hands off what they do not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import helper
from onnx_steps import Array, Step, network, normal
from pairwise import pairwise
from torch import nn

from gan_serve.exports import rewrite as passes
from gan_serve.exports.graph import Graph, copy_of
from gan_serve.exports.to_onnx import PixelGenerator, serialize, to_onnx, torch_export
from gan_serve.sampling import session as runtime
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.networks import FAMILIES, build_generator

CHANNELS = 6
SIZES = [(4, 4), (7, 7), (8, 8), (9, 9), (16, 16), (5, 12), (3, 8)]
RESIZE = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def rewritten(model: onnx.ModelProto, change: Callable[[Any], None]) -> Counter[str]:
    """The operators that a pass leaves, after a look that the model is valid and gives the same numbers."""
    size = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
    other = copy_of(model)
    if change in (passes.optimize, passes.fold_constants):
        change(other)
    else:
        graph = Graph(other)
        change(graph)
        graph.write(other)
    onnx.checker.check_model(other, full_check=True)
    assert [value.name for value in other.graph.output] == [value.name for value in model.graph.output]
    sessions = [runtime.open_session(one.SerializeToString(), "cpu")[0] for one in (model, other)]
    for images in (1, 3):
        x = normal(images, *size)
        for before, after in zip(*(session.run(None, {"x": x}) for session in sessions), strict=True):
            assert before.std() > 0.1
            np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5 * np.abs(before).max())
    return Counter(node.op_type for node in other.graph.node)


ACTIVATIONS = [None, Step("Relu"), Step("LeakyRelu", (), {"alpha": 0.2})]
BIASES = [True, False]


def transposed(kernel: int, stride: int, *, channels: int = CHANNELS, bias: bool = True, **attributes: Any) -> Step:
    """A transposed convolution that makes its map ``stride`` times as large; attributes say what is otherwise."""
    padding = -((stride - kernel) // 2)
    extra = stride - kernel + 2 * padding
    usual = {"strides": [stride] * 2, "pads": [padding] * 4, "output_padding": [extra] * 2}
    weight = normal(CHANNELS, channels, kernel, kernel)
    channels *= attributes.get("group", 1)
    return Step("ConvTranspose", [weight, normal(channels)] if bias else [weight], usual | attributes)


def test_products_of_constants_are_computed_once():
    big, factor = normal(40, 400), np.array(0.25, np.float32)  # more than optimisers fold unasked
    model = network([40], Step("Mul", [big, factor], takes=()), Step("MatMul", takes=("x", "v0")), Step("Tanh"))
    for change in (passes.fold_constants, passes.optimize):
        assert rewritten(model, change) == {"MatMul": 1, "Tanh": 1}


def norm(channels: int) -> Step:
    variance = np.abs(normal(channels, seed=3)) + 0.1
    parts = [normal(channels, seed=1), normal(channels, seed=2), normal(channels, seed=4), variance]
    return Step("BatchNormalization", parts, {"epsilon": 1e-3})


def dense(columns: int, *, bias: bool = True, **attributes: Any) -> Step:
    weight = normal(columns, 10)
    return Step("Gemm", [weight, normal(columns)] if bias else [weight], {"transB": 1} | attributes)


def reshape(*shape: int) -> Step:
    return Step("Reshape", [np.array(shape, np.int64)])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(4, 4), (7, 7), (2, 3)])
def test_a_batch_norm_behind_the_dense_layer_vanishes(size, bias):
    first = dense(CHANNELS * size[0] * size[1], bias=bias)
    model = network([10], first, reshape(-1, CHANNELS, *size), norm(CHANNELS), Step("Relu"))
    assert rewritten(model, passes.norm_into_dense) == {"Gemm": 1, "Reshape": 1, "Relu": 1}
    assert rewritten(model, passes.optimize) == {"Gemm": 1, "Reshape": 1, "Transpose": 1, "Relu": 1}


def test_a_batch_norm_stays_where_its_channels_are_no_columns():
    first, parts = dense(CHANNELS * 4), reshape(-1, CHANNELS, 2, 2)
    model = network([10], dense(CHANNELS * 8), parts, norm(CHANNELS))  # two maps from each row
    assert rewritten(model, passes.optimize)["BatchNormalization"] == 1
    model = network([10], first, parts, norm(CHANNELS), Step("Add", takes=("v1", "v2")))
    assert rewritten(model, passes.optimize)["BatchNormalization"] == 1
    gamma, *rest = norm(CHANNELS).constants
    computed = Step("Mul", [gamma, np.array(2, np.float32)], takes=())
    behind = Step("BatchNormalization", rest, takes=("v2", "v0"))
    model = network([10], computed, first._replace(takes=("x",)), parts, behind)
    assert rewritten(model, passes.norm_into_dense)["BatchNormalization"] == 1


def scales(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def resize(**attributes: Any) -> Step:
    return Step("Resize", [None, scales(1, 1, 2, 2)], RESIZE | attributes)


def convolution(*, kernel: int = 3, bias: bool = True, group: int = 1, **attributes: Any) -> Step:
    weight = normal(8, CHANNELS // group, kernel, kernel)
    usual = {"pads": [kernel // 2] * 4, "group": group}
    return Step("Conv", [weight, normal(8)] if bias else [weight], usual | attributes)


@pytest.mark.parametrize(("size", "bias", "activation"), pairwise(SIZES, BIASES, ACTIVATIONS))
def test_upsampling_and_a_convolution_become_one_transposed_convolution(size, bias, activation):
    model = network([CHANNELS, *size], resize(), convolution(bias=bias), activation)
    operators = rewritten(model, passes.upsampling_to_transposed)
    assert operators == Counter(["ConvTranspose"] + ([activation.op_type] if activation else []))
    assert not {"Resize", "ConvTranspose"} & rewritten(model, passes.optimize).keys()


OTHER_UPSAMPLING = [
    (resize(), convolution(strides=[2, 2])), (resize(), convolution(group=2)),
    (resize(), convolution(dilations=[2, 2])), (resize(), convolution(pads=[0, 0, 0, 0])),
    (resize(), convolution(pads=[1, 1, 0, 0])), (resize(), convolution(kernel=5)),
    (resize(), convolution(kernel=1)), (resize(), Step("Relu"), convolution()),
    (resize(mode="linear"), convolution()), (resize(nearest_mode="ceil"), convolution()),
    (resize(coordinate_transformation_mode="half_pixel", nearest_mode="ceil"), convolution()),
    (Step("Resize", [None, scales(1, 1, 3, 3)], RESIZE), convolution()),
    (Step("Resize", [None, scales(1, 1, 2, 1)], RESIZE), convolution()),
    (Step("Resize", [None, scales(2, 2)], RESIZE | {"axes": [2, 3]}), convolution()),
    (Step("Resize", [None, None, np.array([14, 10])], RESIZE | {"axes": [2, 3]}), convolution()),
]  # fmt: skip


@pytest.mark.parametrize("steps", OTHER_UPSAMPLING)
def test_other_upsampling_stays_as_it_is(steps):
    assert rewritten(network([CHANNELS, 7, 5], *steps), passes.optimize) == Counter(step.op_type for step in steps)


def test_upsampling_that_others_see_too_stays_as_it_is():
    same = Step("Conv", [normal(8, 8, 3, 3)], {"pads": [1] * 4})
    model = network([8, 4, 4], resize(), same, Step("Add", takes=("v0", "v1")))
    assert rewritten(model, passes.optimize) == {"Resize": 1, "Conv": 1, "Add": 1}
    model = network([CHANNELS, 4, 4], resize(), convolution(), outputs=["v0"])
    assert rewritten(model, passes.optimize) == {"Resize": 1, "Conv": 1}
    weight, bias = (Step("Mul", [array, scales(2)], takes=()) for array in convolution().constants)
    plain = convolution()._replace(constants=(), takes=("v2", "v0", "v1"))
    model = network([CHANNELS, 4, 4], weight, bias, resize()._replace(takes=("x",)), plain)
    assert rewritten(model, passes.upsampling_to_transposed) == {"Mul": 2, "Resize": 1, "Conv": 1}


@pytest.mark.parametrize(("size", "bias", "activation"), pairwise([(4, 4), (7, 7), (3, 5)], BIASES, ACTIVATIONS))
def test_the_dense_layer_gives_its_map_pixel_by_pixel(size, bias, activation):
    model = network([10], dense(CHANNELS * size[0] * size[1], bias=bias), activation, reshape(-1, CHANNELS, *size))
    expected = Counter(["Gemm", "Reshape", "Transpose"] + ([activation.op_type] if activation else []))
    assert rewritten(model, passes.dense_to_nhwc) == expected
    assert rewritten(model, passes.optimize) == expected


OTHER_DENSE = [
    (dense(16), reshape(-1, 1, 4, 4)),  # one channel: either order is the same
    (dense(24), reshape(-1, 6, 4)), (dense(96), Step("Tanh"), reshape(-1, 6, 4, 4)),
    (dense(96), reshape(-1, 6, 2, 4)),  # two maps from each row
    (dense(96, alpha=0.5), reshape(-1, 6, 4, 4)), (dense(96, beta=0.5), reshape(-1, 6, 4, 4)),
    (Step("Gemm", [normal(10, 96), normal(96)]), reshape(-1, 6, 4, 4)),
    (Step("Gemm", [normal(10, 10), normal(10)]), reshape(-1, 5, 2, 1)),  # square: either way round would fit
    (Step("Gemm", [normal(96, 10), normal(1)], {"transB": 1}), reshape(-1, 6, 4, 4)),
]  # fmt: skip


@pytest.mark.parametrize("steps", OTHER_DENSE)
def test_other_dense_layers_stay_as_they_are(steps):
    assert rewritten(network([10], *steps), passes.optimize) == Counter(step.op_type for step in steps)


@pytest.mark.parametrize(("size", "kernel", "bias"), pairwise(SIZES, [1, 3, 5], BIASES))
def test_a_transposed_convolution_of_stride_one_is_a_convolution(kernel, size, bias):
    model = network([CHANNELS, *size], transposed(kernel, 1, channels=8, bias=bias), Step("Relu"))
    assert rewritten(model, passes.stride_one_to_convolution) == {"Conv": 1, "Relu": 1}
    assert rewritten(model, passes.optimize) == {"Conv": 1, "Relu": 1}


@pytest.mark.parametrize(
    ("size", "kernel", "activation", "bias"), pairwise(SIZES, [2, 3, 4, 5, 6], ACTIVATIONS, BIASES)
)
def test_a_transposed_convolution_that_doubles_is_a_convolution_and_a_shuffle(kernel, size, bias, activation):
    model = network([CHANNELS, *size], transposed(kernel, 2, bias=bias), activation)
    operators = rewritten(model, passes.transposed_to_subpixel)
    assert operators["ConvTranspose"] == 0
    assert operators["Conv"] == (1 if kernel == 4 and max(size) > 8 else 4)
    if activation:  # behind each convolution, where the runtime fuses it
        assert operators[activation.op_type] == operators["Conv"]


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("side", [4, 14, 16])
def test_a_layer_that_gives_gray_images_stays_plain(kernel, side):
    for channels in (1, 3):  # in colour, either form may be the faster one
        model = network([CHANNELS, side, side], transposed(kernel, 2, channels=channels), Step("Tanh"))
        operators = rewritten(model, passes.optimize)
        assert channels == 3 or operators == {"ConvTranspose": 1, "Tanh": 1}


OTHER_TRANSPOSED = [
    transposed(4, 2, dilations=[2, 2]), transposed(4, 2, group=2), transposed(5, 1, group=3),
    transposed(4, 2, pads=[0, 0, 0, 0]), transposed(4, 2, pads=[1, 1, 0, 0]), transposed(4, 2, strides=[2, 1]),
    transposed(5, 2, output_padding=[0, 0]), transposed(5, 2, output_padding=[1, 0]),
    transposed(3, 2, output_padding=[0, 0]), transposed(4, 2, output_shape=[10, 10]),
    transposed(1, 2), transposed(3, 3), transposed(5, 3),
    transposed(4, 1, pads=[1, 1, 1, 1], output_padding=[0, 0]), transposed(5, 1, pads=[0, 0, 0, 0]),
    transposed(5, 1, dilations=[2, 2], pads=[4, 4, 4, 4]),
    Step("ConvTranspose", [normal(CHANNELS, 8, 4, 4)], {"strides": [2, 2], "auto_pad": "VALID"}),
    Step("ConvTranspose", [normal(CHANNELS, 8, 4, 2)], {"strides": [2, 2], "pads": [1, 0, 1, 0]}),
    Step("ConvTranspose", [normal(CHANNELS, 8, 4, 6)], {"strides": [2, 2], "pads": [1, 2, 1, 2]}),
]  # fmt: skip


@pytest.mark.parametrize("layer", OTHER_TRANSPOSED)
def test_transposed_convolutions_of_other_kinds_stay_as_they_are(layer):
    model = network([CHANNELS, 5, 5], layer, Step("Relu"))
    assert rewritten(model, passes.optimize) == {"ConvTranspose": 1, "Relu": 1}


@pytest.mark.parametrize("layer", [transposed(4, 2), transposed(5, 1)])
def test_transposed_convolutions_with_computed_weights_stay_as_they_are(layer):
    weight, bias = (Step("Mul", [array, scales(2)], takes=()) for array in layer.constants)
    model = network([CHANNELS, 5, 5], weight, bias, Step("ConvTranspose", (), layer.attributes, ("x", "v0", "v1")))
    for change in (passes.stride_one_to_convolution, passes.transposed_to_subpixel):
        assert rewritten(model, change) == {"Mul": 2, "ConvTranspose": 1}
    assert "ConvTranspose" not in rewritten(model, passes.optimize)  # once they are folded


def test_an_activation_stays_behind_where_another_takes_what_it_takes():
    model = network([CHANNELS, 4, 4], transposed(4, 2), Step("Relu"), Step("Add", takes=("v0", "v1")))
    operators = rewritten(model, passes.optimize)
    assert (operators["ConvTranspose"], operators["Conv"], operators["Relu"]) == (0, 4, 1)


def test_layers_that_share_a_weight_keep_it():
    shared = transposed(4, 2).constants
    layers = [transposed(4, 2, **other)._replace(constants=shared) for other in ({}, {"dilations": [2, 2]}, {})]
    assert rewritten(network([CHANNELS, 5, 5], *layers), passes.optimize)["ConvTranspose"] == 1
    twice = [Step("Gemm", [normal(40, 40)], {"transB": 1}), reshape(-1, 10, 2, 2), norm(10), Step("Flatten")] * 2
    assert "BatchNormalization" not in rewritten(network([40], *twice), passes.optimize)


@pytest.mark.parametrize("seen", ["v0", "v1"])
def test_a_value_that_is_an_output_stays_one(seen):
    rewritten(network([CHANNELS, 4, 4], transposed(4, 2), Step("Relu"), Step("Tanh"), outputs=[seen]), passes.optimize)
    rewritten(network([10], dense(24), reshape(-1, CHANNELS, 2, 2), norm(CHANNELS), outputs=[seen]), passes.optimize)


def test_new_constants_take_no_name_that_is_in_use():
    model = network([CHANNELS, 4, 4], Step("Relu"), transposed(4, 2), Step("Tanh"))
    for name in ("weight0_00", "-1x4x4x2x2x6"):  # what the pass would call two of its constants
        renamed = copy_of(model)
        renamed.graph.node[0].output[0] = renamed.graph.node[1].input[0] = name
        del renamed.graph.value_info[:]
        renamed = onnx.shape_inference.infer_shapes(renamed, strict_mode=True)
        assert rewritten(renamed, passes.optimize)["Conv"] == 4


def test_rewriting_keeps_what_a_file_says_of_itself_and_drops_unused_constants():
    model = network([CHANNELS, 4, 4], transposed(4, 2), Step("Relu"))
    model.producer_name, model.doc_string = "somebody", "a note"
    helper.set_model_props(model, {"license": "mit"})
    before = copy_of(model)
    passes.optimize(model)
    for part in ("producer_name", "doc_string", "metadata_props", "opset_import", "ir_version"):
        assert getattr(model, part) == getattr(before, part), part
    taken = {name for node in model.graph.node for name in node.input}
    assert {constant.name for constant in model.graph.initializer} <= taken - {"weight0"}


# Whole generators

VARIANTS: dict[str, dict[str, Any]] = {family: {} for family in FAMILIES} | {
    "progressive": {"img_resolution": 16},
    "stylegan": {"img_resolution": 8},
    "dcgan, nearest": {"upsampling": "nearest", "activation": "leaky"},
}


def generator_of(variant: str) -> nn.Module:
    """A narrow generator as if trained: no weight, bias or statistic is what it is at the start."""
    torch.manual_seed(0)
    usual = {"z_dim": 12, "img_resolution": 32, "img_channels": 3, "c_dim": 4, "width": 0.1}
    generator = build_generator(variant.partition(",")[0], **usual | VARIANTS[variant]).eval()
    with torch.no_grad():
        for name, values in generator.state_dict().items():
            if name.endswith("running_var"):
                values.uniform_(0.3, 2)
            elif values.ndim == 1:
                values.add_(torch.randn_like(values), alpha=0.2)
            elif values.ndim and values.std() < 0.1:
                values.normal_(0, 0.15)
    return generator


EVERY_DAY = ("dcgan28", "resnet", "dcgan, nearest")  # each pass is tested on its own layers above


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in EVERY_DAY else pytest.mark.slow) for name in VARIANTS],
)
def exported(request: pytest.FixtureRequest) -> tuple[str, bytes, bytes]:
    """A variant, its plain and its fused file."""
    generator = generator_of(request.param)
    model, optional = torch_export(generator), PixelGenerator(generator).optional_inputs()
    fused = copy_of(model)
    passes.optimize(fused)
    return request.param, serialize(model, optional_inputs=optional), serialize(fused, optional_inputs=optional)


def draw(model: bytes, batch: int = 48) -> npt.NDArray[np.uint8]:
    inputs = {"z": latents_from_seeds(range(48), 12), "c": np.arange(48) % 4, "psi": np.full(48, 0.7, np.float32)}
    session, _ = runtime.open_session(model, "cpu")
    taken = [value.name for value in session.get_inputs()]
    return runtime.run_in_batches(session, {name: inputs[name] for name in taken}, batch=batch)


def test_a_fused_generator_draws_what_the_plain_one_draws(exported):
    _, plain, fused = exported
    expected, whole = draw(plain), draw(fused)
    assert expected.std(axis=0).mean() > 2  # seeds differ
    assert np.abs(whole.astype(np.int16) - expected).max() <= 1
    for batch in (1, 2, 3, 7, 16):
        np.testing.assert_array_equal(draw(fused, batch), whole)


def test_a_fused_generator_is_one_file_of_standard_operators(exported):
    variant, _, fused = exported
    model = onnx.load_from_string(fused)
    assert {node.domain for node in model.graph.node} == {""}
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    operators = Counter(node.op_type for node in model.graph.node)
    # A residual block normalises before its activation, where no layer is to fold it into.
    assert operators["BatchNormalization"] == (3 if variant == "resnet" else 0)
    # Bilinear in stylegan; in resnet it is in front of a block whose shortcut takes it as well.
    assert operators["Resize"] == {"stylegan": 1, "resnet": 2}.get(variant, 0)
    assert operators["ConvTranspose"] <= (
        "dcgan" in variant or variant == "resnet"
    )  # at most the layer that gives the image
    assert all(value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input)
    [img] = model.graph.output
    del model.graph.value_info[:]
    img.type.tensor_type.ClearField("shape")
    [img] = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.output
    side = VARIANTS[variant].get("img_resolution", 32)
    assert [dim.dim_value for dim in img.type.tensor_type.shape.dim] == [0, side, side, 3]


@pytest.mark.slow  # every day in test_export.py
@pytest.mark.parametrize("exported", ["dcgan28"], indirect=True)
def test_the_same_generator_gives_the_same_bytes(exported):
    variant, _, fused = exported
    assert to_onnx(generator_of(variant)) == fused
