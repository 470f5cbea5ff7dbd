"""Networks that ONNX Runtime reads otherwise than the bounds do, that end the process, or that are malformed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from hostile_networks import TOO_MUCH, added_to_grey, ints, with_nodes
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from tiny_checkpoint import Z_DIM, network

PIXELS = {"pixels": np.ones((1, 1, 4, 4), np.float32)}


def field(number: int, content: bytes) -> bytes:
    """A field of bytes in a protobuf message."""
    assert number < 16
    length, size = len(content), b""
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def with_message(model: onnx.ModelProto, part: int, content: bytes) -> bytes:
    """The model with one more message in its graph, before the others."""
    graph = field(part, content) + model.graph.SerializeToString()
    model.ClearField("graph")
    return model.SerializeToString() + field(7, graph)


def one_node(operator: str, *inputs: str, used: bool = True, **given: Any) -> onnx.ModelProto:
    """The tiny network with one more node, its attributes and constants being ``given``; its output is ``used``."""
    constants = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
    attributes = {name: value for name, value in given.items() if name not in constants}
    model = with_nodes(helper.make_node(operator, inputs, ["big"], **attributes), constants=constants)
    return added_to_grey(model, "big") if used else model


def tensor_in_two_parts() -> bytes:
    """A constant of one number, and of two where its parts are merged, as protobuf does."""
    first = TensorProto(dims=[2], data_type=TensorProto.INT64).SerializeToString()
    second = TensorProto(data_type=TensorProto.INT64, int64_data=[750_000_000, 1]).SerializeToString()
    value = AttributeProto(name="value", type=AttributeProto.TENSOR).SerializeToString()
    node = helper.make_node("Constant", [], ["size"]).SerializeToString()
    return with_message(network(), 1, node + field(5, value + field(5, first) + field(5, second)))


def endless_shape() -> bytes:
    """A constant of five million dimensions, each a byte."""
    return with_message(network(), 5, field(1, bytes(5_000_000)) + b"\x10\x01" + field(8, b"unused"))


def endless_attribute() -> bytes:
    """An order of five million axes, each a byte."""
    order = field(1, b"perm") + field(8, bytes(5_000_000)) + b"\xa0\x01\x07"
    names = field(1, b"z") + field(2, b"turned") + field(4, b"Transpose")
    return with_message(network(), 1, names + field(5, order))


def constant_without_content() -> onnx.ModelProto:
    """A constant of 3 GB that has no bytes."""
    model = one_node("Identity", "large", large=np.ones(1, np.float32))
    for tensor in model.graph.initializer:
        if tensor.name == "large":
            tensor.dims[0], tensor.raw_data = 750_000_000, b""
    return model


def attribute_of_two_types() -> bytes:
    """A product that is transposed by a number of a type that ONNX Runtime does not read: 40 GB, not 4 bytes."""
    model = network()
    for name, shape in (("column", (100_000, 1)), ("row", (1, 100_000))):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    node = helper.make_node("Gemm", ["column", "row"], ["big"]).SerializeToString()
    for name in ("transA", "transB"):
        attribute = AttributeProto(name=name, type=AttributeProto.INT, i=0).SerializeToString()
        node += field(5, attribute + b"\x15" + np.float32(1).tobytes())
    return with_message(added_to_grey(model, "big"), 1, node)


def shape_of_another_type() -> bytes:
    """A constant that has no elements if a field of a type that it cannot have is read."""
    model = added_to_grey(with_nodes(helper.make_node("Add", ["b", "row"], ["big"])), "big")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 20_000), np.float32), "row"))
    tensor = numpy_helper.from_array(np.ones(20_000, np.float32), "b").SerializeToString()
    return with_message(model, 5, tensor + b"\x0d\0\0\0\0")  # the field 1 as 32 bits


def constant_twice() -> onnx.ModelProto:
    """A constant that is there twice."""
    model = network()
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "grey"))
    return model


def unknown_attribute() -> onnx.ModelProto:
    """3 GB, with an attribute that the operator does not have and that says 1."""
    return one_node("ConstantOfShape", "size", size=ints(750_000_000), shape=[1])


def attribute_of_a_later_opset() -> onnx.ModelProto:
    """The first two numbers of a shape as its whole: opset 14 cannot take a part of a shape."""
    model = with_nodes(
        helper.make_node("Shape", ["row"], ["none"], start=0, end=0),
        helper.make_node("Concat", ["none", "none"], ["size"], axis=0),
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        constants={"row": np.ones(30_000, np.float32)},
    )
    model.opset_import[0].version = 14
    return added_to_grey(model, "big")


def attribute_of_an_earlier_opset() -> onnx.ModelProto:
    """Parts of 1 and 29,999, by an attribute that is none since opset 13: they are halves."""
    model = with_nodes(
        helper.make_node("Split", ["row"], ["part", "rest"], split=[1, 29_999], axis=0),
        helper.make_node("Reshape", ["part", "as_column"], ["column"]),
        helper.make_node("Add", ["part", "column"], ["big"]),
        constants={"row": np.ones(30_000, np.float32), "as_column": ints(-1, 1)},
    )
    model.opset_import[0].version = 15
    return added_to_grey(model, "big")


def padding_that_is_ignored() -> onnx.ModelProto:
    """A transposed convolution to 60,001 x 60,001, and to one pixel if its padding counted."""
    return one_node(
        "ConvTranspose", "small", "kernel", small=np.ones((1, 1, 2, 2), np.float32),
        kernel=np.ones((1, 1, 1, 1), np.float32), strides=[60_000] * 2, pads=[30_000] * 4, auto_pad="VALID",
    )  # fmt: skip


def number_beyond_its_type() -> onnx.ModelProto:
    """A size by a cast that C++ leaves undefined."""
    model = with_nodes(
        helper.make_node("Cast", ["large"], ["byte"], to=TensorProto.UINT8),
        helper.make_node("Cast", ["byte"], ["number"], to=TensorProto.INT64),
        helper.make_node("Mul", ["number", "million"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        constants={"large": np.array([1024], np.float32), "million": ints(3_000_000)},
    )
    return added_to_grey(model, "big")


def range_that_overflows() -> onnx.ModelProto:
    """From 2^63 to -2^63: no number, or 750 million where the difference overflows."""
    ends = {"start": np.array(2**63 - 375_000_000, np.int64), "end": np.array(375_000_000 - 2**63, np.int64)}
    return one_node("Range", "start", "end", "one", used=False, one=np.array(1, np.int64), **ends)


def numbers_as_text() -> onnx.ModelProto:
    """A cast to text, which takes 32 bytes for each number and a minute for some million."""
    return one_node("Cast", "z", used=False, to=TensorProto.STRING)


def division_by_minus_one() -> onnx.ModelProto:
    """The smallest whole number by -1: ONNX Runtime ends by SIGFPE."""
    return one_node("Div", "least", "minus_one", used=False, least=ints(-(2**63)), minus_one=ints(-1))


def division_by_latents() -> onnx.ModelProto:
    """The same, for some latents only."""
    model = with_nodes(
        helper.make_node("Cast", ["z"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Mod", ["whole", "whole"], ["unused"]),
    )
    return model


def no_groups() -> onnx.ModelProto:
    """A convolution of 0 groups: ONNX Runtime ends by SIGFPE."""
    return one_node(
        "Conv", "pixels", "kernel", pixels=np.ones((1, 0, 4, 4), np.float32),
        kernel=np.ones((1, 1, 1, 1), np.float32), group=0,
    )  # fmt: skip


def no_groups_transposed() -> onnx.ModelProto:
    """The same, transposed."""
    return one_node("ConvTranspose", "pixels", "kernel", kernel=np.ones((1, 1, 1, 1), np.float32), group=0, **PIXELS)


def axis_twice() -> onnx.ModelProto:
    """An axis that is inserted twice."""
    return one_node("Unsqueeze", "z", "axes", axes=ints(0, 0))


def axis_of_a_resize_twice() -> onnx.ModelProto:
    """A height of 100 million, and then of 1."""
    return one_node("Resize", "pixels", "", "", "sizes", sizes=ints(100_000_000, 1), axes=[2, 2], **PIXELS)


def number_for_text() -> onnx.ModelProto:
    """A kind of padding that is a number."""
    return one_node("MaxPool", "pixels", kernel_shape=[1, 1], auto_pad=5, **PIXELS)


def number_for_tensor() -> onnx.ModelProto:
    """A fill that is a number."""
    return one_node("ConstantOfShape", "size", size=ints(3), value=5)


def no_size() -> onnx.ModelProto:
    """A normalisation without its size."""
    return one_node("LRN", "pixels", **PIXELS)


def product_of_a_scalar() -> onnx.ModelProto:
    """A matrix product with a single number."""
    return one_node("MatMul", "scalar", "row", scalar=np.array(1, np.float32), row=np.ones((1, 5), np.float32))


DISGUISED = {  # the error of each
    tensor_in_two_parts: "cannot be read", endless_shape: "cannot be read", endless_attribute: "cannot be read",
    constant_without_content: "cannot be read", attribute_of_two_types: "cannot be read",
    shape_of_another_type: "cannot be read", constant_twice: "cannot be read", unknown_attribute: TOO_MUCH,
    attribute_of_a_later_opset: TOO_MUCH, attribute_of_an_earlier_opset: TOO_MUCH, padding_that_is_ignored: TOO_MUCH,
    number_beyond_its_type: "depends on", range_that_overflows: "do not fit together",
    numbers_as_text: "Cast to the type 8", division_by_minus_one: "Div of whole numbers",
    division_by_latents: "Mod of whole numbers", no_groups: "do not fit together",
    no_groups_transposed: "do not fit together", axis_twice: "do not fit together",
    axis_of_a_resize_twice: "do not fit together", number_for_text: "do not fit together",
    number_for_tensor: "do not fit together", no_size: "do not fit together",
    product_of_a_scalar: "do not fit together",
}  # fmt: skip


def only_five_images() -> onnx.ModelProto:
    """3 GB for a batch of five images, and nothing for any other: the number of images is known to the network."""
    model = with_nodes(
        helper.make_node("Shape", ["z"], ["n"], start=0, end=1),
        helper.make_node("Equal", ["n", "five"], ["is_five"]),
        helper.make_node("Cast", ["is_five"], ["one_or_none"], to=TensorProto.INT64),
        helper.make_node("Mul", ["one_or_none", "huge"], ["most"]),
        helper.make_node("Add", ["most", "one"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["grey", "zero"], ["still_grey"]),
        constants={"five": ints(5), "huge": ints(750_000_000), "one": ints(1)},
    )
    model.graph.node[-4].input[1] = "still_grey"
    return model


def size_by_the_crossover() -> onnx.ModelProto:
    """Nothing for the default of an input, and 3 GB for another value of it."""
    model = with_nodes(
        helper.make_node("Sub", ["two", "crossover"], ["other"]),
        helper.make_node("Mul", ["other", "huge"], ["most"]),
        helper.make_node("ConstantOfShape", ["most"], ["unused"]),
        constants={
            "two": ints(2), "huge": ints(750_000_000), "crossover": ints(2), "z_mix": np.zeros((1, Z_DIM), np.float32),
        },
    )  # fmt: skip
    for name, kind, shape in (("z_mix", TensorProto.FLOAT, ["N", Z_DIM]), ("crossover", TensorProto.INT64, ["N"])):
        model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    return model
