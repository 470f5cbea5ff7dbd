"""Networks that ask for more than a generator needs: each a checkpoint of a few kilobytes, its digests being right."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_checkpoint import SIDE, Z_DIM, network, seal

Array = np.ndarray[Any, Any]
BIG = 750_000_000


def ints(*values: int) -> Array:
    """An int64 tensor, such as a shape."""
    return np.array(values, np.int64)


def with_nodes(
    *nodes: onnx.NodeProto, constants: dict[str, Array] | None = None, replace: dict[str, Array] | None = None
) -> onnx.ModelProto:
    """The tiny network with nodes before its own, and with other constants."""
    model = network()
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in (constants or {}).items())
    for name, value in (replace or {}).items():
        for tensor in model.graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(value, name))
    return model


def added_to_grey(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Let the sum of the tensor ``name`` be added to the image, so that it is computed."""
    model.graph.node.insert(len(model.graph.node) - 5, helper.make_node("ReduceMax", [name], ["used"], keepdims=0))
    model.graph.node[-4].input[1] = "used"
    return model


def endless_loop() -> onnx.ModelProto:
    """A Loop of 2^62 rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, [])],
    )
    rounds, go = {"rounds": np.array(2**62, np.int64)}, {"yes": np.array(True)}
    return with_nodes(helper.make_node("Loop", ["rounds", "yes"], [], body=body), constants=rounds | go)


def branch() -> onnx.ModelProto:
    """An If on a latent."""
    inner = helper.make_graph([], "inner", [], [])
    return with_nodes(helper.make_node("If", ["z"], ["unused"], then_branch=inner, else_branch=inner))


def scan() -> onnx.ModelProto:
    """A Scan over the latents."""
    inner = helper.make_graph([], "inner", [], [])
    return with_nodes(helper.make_node("Scan", ["z"], ["unused"], body=inner, num_scan_inputs=1))


def function_named_add() -> onnx.ModelProto:
    """A local function that has the name of an allowed operator."""
    model = network()
    inner = helper.make_node("Identity", ["a"], ["out"])
    model.functions.append(helper.make_function("", "Add", ["a"], ["out"], [inner], [helper.make_opsetid("", 20)]))
    return model


def random_numbers() -> onnx.ModelProto:
    """An image that is another one each time."""
    return with_nodes(helper.make_node("RandomNormalLike", ["z"], ["unused"]))


def constant_of_shape() -> onnx.ModelProto:
    """3 GB of zeros."""
    node = helper.make_node("ConstantOfShape", ["size"], ["big"])
    return added_to_grey(with_nodes(node, constants={"size": ints(BIG)}), "big")


def tiles() -> onnx.ModelProto:
    """Five Tile in a row, each fifty times as large."""
    names = ["grey_row", "t1", "t2", "t3", "t4", "big"]
    nodes = [helper.make_node("Tile", [a, "times"], [b]) for a, b in itertools.pairwise(names)]
    constants = {"times": ints(59), "grey_row": np.ones(1, np.float32)}
    return added_to_grey(with_nodes(*nodes, constants=constants), "big")


def expand() -> onnx.ModelProto:
    """An Expand to 100 GB."""
    node = helper.make_node("Expand", ["grey", "size"], ["big"])
    return added_to_grey(with_nodes(node, constants={"size": ints(25, 1000, 1000, 1000)}), "big")


def resize() -> onnx.ModelProto:
    """A pixel that is scaled up 50,000 times in both directions."""
    node = helper.make_node("Resize", ["pixel", "", "scales"], ["big"], mode="nearest")
    constants = {"pixel": np.ones((1, 1, 1, 1), np.float32), "scales": np.array([1, 1, 50_000, 50_000], np.float32)}
    return added_to_grey(with_nodes(node, constants=constants), "big")


def pad() -> onnx.ModelProto:
    """Two billion columns of padding."""
    node = helper.make_node("Pad", ["z", "pads"], ["big"])
    return added_to_grey(with_nodes(node, constants={"pads": ints(0, 0, 0, 2_000_000_000)}), "big")


def doubling() -> onnx.ModelProto:
    """A Concat of a tensor with itself, forty times."""
    names = ["z", *(f"d{i}" for i in range(40)), "big"]
    nodes = [helper.make_node("Concat", [a, a], [b], axis=1) for a, b in itertools.pairwise(names)]
    return added_to_grey(with_nodes(*nodes), "big")


def outer_product() -> onnx.ModelProto:
    """A column of 100,000 times a row of 100,000."""
    node = helper.make_node("MatMul", ["column", "row"], ["big"])
    constants = {"column": np.ones((100_000, 1), np.float32), "row": np.ones((1, 100_000), np.float32)}
    return added_to_grey(with_nodes(node, constants=constants), "big")


def broadcast() -> onnx.ModelProto:
    """A column of 100,000 plus a row of 100,000."""
    node = helper.make_node("Add", ["column", "row"], ["big"])
    constants = {"column": np.ones((100_000, 1), np.float32), "row": np.ones((1, 100_000), np.float32)}
    return added_to_grey(with_nodes(node, constants=constants), "big")


def gather() -> onnx.ModelProto:
    """A column of 100,000 zeros, taken 100,000 times."""
    node = helper.make_node("Gather", ["column", "places"], ["big"], axis=1)
    constants = {"column": np.ones((100_000, 1), np.float32), "places": np.zeros(100_000, np.int64)}
    return added_to_grey(with_nodes(node, constants=constants), "big")


def long_range() -> onnx.ModelProto:
    """All numbers up to a billion."""
    node = helper.make_node("Range", ["zero", "end", "one"], ["big"])
    constants = {"zero": np.array(0.0), "end": np.array(1e9), "one": np.array(1.0)}
    return with_nodes(node, constants=constants)


def transposed_convolution() -> onnx.ModelProto:
    """A transposed convolution with a stride of 30,000."""
    node = helper.make_node("ConvTranspose", ["pixels", "kernel"], ["big"], strides=[30_000, 30_000])
    constants = {"pixels": np.ones((1, 1, 2, 2), np.float32), "kernel": np.ones((1, 1, 1, 1), np.float32)}
    return added_to_grey(with_nodes(node, constants=constants), "big")


def padded_convolution() -> onnx.ModelProto:
    """A convolution with 50,000 pixels of padding."""
    node = helper.make_node("Conv", ["pixels", "kernel"], ["big"], pads=[50_000] * 4)
    constants = {"pixels": np.ones((1, 1, 2, 2), np.float32), "kernel": np.ones((1, 1, 1, 1), np.float32)}
    return added_to_grey(with_nodes(node, constants=constants), "big")


def images_times_images() -> onnx.ModelProto:
    """Memory that grows with the square of the number of images: harmless for the golden sample alone."""
    model = with_nodes(
        helper.make_node("Tile", ["z", "twenty"], ["wide"]),
        helper.make_node("Reshape", ["wide", "column"], ["tall"]),
        helper.make_node("Transpose", ["tall"], ["flat"], perm=[1, 0]),
        helper.make_node("MatMul", ["tall", "flat"], ["big"]),
        constants={"twenty": ints(1, 60), "column": ints(-1, 1)},
    )
    return added_to_grey(model, "big")


def sleeper() -> onnx.ModelProto:
    """A size that is computed from a latent: right for the golden seed, 100 GB for another."""
    model = with_nodes(
        helper.make_node("Cast", ["z"], ["sizes"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["sizes"], ["size"], keepdims=0),
        helper.make_node("Reshape", ["size", "one"], ["shape_of_big"]),
        helper.make_node("ConstantOfShape", ["shape_of_big"], ["big"]),
        constants={"one": ints(1)},
    )
    return added_to_grey(model, "big")


def long_work() -> onnx.ModelProto:
    """Two hundred products of 3000 x 3000: little memory, minutes of work."""
    names = ["square", *(f"p{i}" for i in range(200)), "big"]
    nodes = [helper.make_node("MatMul", [a, a], [b]) for a, b in itertools.pairwise(names)]
    start = helper.make_node("Expand", ["first", "size"], ["square"])
    constants = {"size": ints(3000, 3000), "zero": ints(0)}
    first = helper.make_node("ReduceMax", ["z"], ["first"], keepdims=1)
    return added_to_grey(with_nodes(first, start, *nodes, constants=constants), "big")


def slow(products: int = 4) -> onnx.ModelProto:
    """The tiny network after so many products of 1500 x 1500 for each image, which add nothing to it: it is honest."""
    names = ["square", *(f"p{i}" for i in range(1, products)), "big"]
    model = with_nodes(
        helper.make_node("ReduceMax", ["z", "columns"], ["most"], keepdims=1),
        helper.make_node("Mul", ["most", "nothing"], ["zeros"]),
        helper.make_node("Reshape", ["zeros", "cube"], ["points"]),
        helper.make_node("Expand", ["points", "size"], ["square"]),
        *(helper.make_node("MatMul", [a, a], [b]) for a, b in itertools.pairwise(names)),
        helper.make_node("ReduceMax", ["big", "sides"], ["sums"], keepdims=0),
        helper.make_node("Reshape", ["sums", "row"], ["row_of_sums"]),
        helper.make_node("Add", ["row_of_sums", "grey"], ["sum_and_grey"]),
        constants={
            "columns": ints(1), "nothing": np.array(0, np.float32), "cube": ints(-1, 1, 1), "sides": ints(1, 2),
            "size": ints(1, 1500, 1500), "row": ints(-1, 1),
        },
    )  # fmt: skip
    model.graph.node[-4].input[1] = "sum_and_grey"
    return model


def failing_reshape() -> onnx.ModelProto:
    """A Reshape to a size that does not fit."""
    return with_nodes(replace={"shape": ints(-1, SIDE, SIDE + 1, 1)})


def other_size() -> onnx.ModelProto:
    """Images of twice the size that the config states, with a signature that claims the right one."""
    model = with_nodes(replace={"weight": np.zeros((Z_DIM, 4 * SIDE * SIDE), np.float32)})
    return _reshaped(model, ints(-1, 2 * SIDE, 2 * SIDE, 1))


def one_pixel() -> onnx.ModelProto:
    """Images of one pixel, which NumPy would compare with any golden sample."""
    return _reshaped(with_nodes(replace={"weight": np.zeros((Z_DIM, 1), np.float32)}), ints(-1, 1, 1, 1))


def no_rows() -> onnx.ModelProto:
    """No images, however many are asked for."""
    model = with_nodes(helper.make_node("Slice", ["z", "start", "stop"], ["rows"]), constants={
        "start": ints(0), "stop": ints(0)
    })  # fmt: skip
    model.graph.node[1].input[0] = "rows"
    return model


def twice_the_rows() -> onnx.ModelProto:
    """Two images for each that is asked for."""
    model = with_nodes(helper.make_node("Concat", ["z", "z"], ["rows"], axis=0))
    model.graph.node[1].input[0] = "rows"
    return model


def unsorted() -> onnx.ModelProto:
    """Nodes before those that they depend on."""
    model = network()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])
    return model


def negative_window() -> onnx.ModelProto:
    """A pooling window of a negative size."""
    node = helper.make_node("MaxPool", ["pixels"], ["big"], kernel_shape=[-3, 0])
    return with_nodes(node, constants={"pixels": np.ones((1, 1, 2, 2), np.float32)})


def two_truths() -> onnx.ModelProto:
    """An attribute that is there twice: a parser may take the first, another the last."""
    model = network()
    model.graph.node[-1].attribute.append(helper.make_attribute("to", TensorProto.INT8))
    return model


def many_nodes() -> onnx.ModelProto:
    """A chain of 20,000 nodes."""
    names = ["z", *(f"n{i}" for i in range(20_000))]
    return with_nodes(*(helper.make_node("Neg", [a], [b]) for a, b in itertools.pairwise(names)))


def computed_size() -> onnx.ModelProto:
    """A size of 3 GB that is computed as exporters compute shapes: by Shape, Mul, Div, Cast and Concat."""
    model = with_nodes(
        helper.make_node("Shape", ["z"], ["n"], start=0, end=1),
        helper.make_node("Mul", ["n", "huge"], ["times"]),
        helper.make_node("Div", ["times", "three"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        constants={"huge": ints(2_250_000_001), "three": ints(3)},
    )
    return added_to_grey(model, "big")


def escape_in_an_operator() -> onnx.ModelProto:
    """An operator whose name would recolour a terminal."""
    return with_nodes(helper.make_node("\x1b[31mEvil\x07", ["z"], ["unused"]))


def escape_in_a_node() -> onnx.ModelProto:
    """A node that fails and whose name would recolour a terminal."""
    model = network()
    model.graph.node[0].name = "\x1b[31m\x1b]0;owned\x07"
    model.graph.node[0].output[0] = "\x1b[31mproduct"
    return model


def _reshaped(model: onnx.ModelProto, shape: Array) -> onnx.ModelProto:
    for tensor in model.graph.initializer:
        if tensor.name == "shape":
            tensor.CopyFrom(numpy_helper.from_array(shape, "shape"))
    return model


def product_of_constants() -> onnx.ModelProto:
    """64 billion multiplications of whole numbers while the network is loaded, when nothing can stop them."""
    one = numpy_helper.from_array(ints(1))
    node = helper.make_node
    model = with_nodes(
        node("ConstantOfShape", ["a_size"], ["a"], value=one),
        node("ConstantOfShape", ["b_size"], ["b"], value=one),
        node("MatMul", ["a", "b"], ["product_of_ints"]),
        node("Cast", ["product_of_ints"], ["big"], to=TensorProto.FLOAT),
        constants={"a_size": ints(2000, 4000), "b_size": ints(4000, 2000)},
    )
    return added_to_grey(model, "big")


def random_dropout() -> onnx.ModelProto:
    """Dropout that is switched on: other pixels each time."""
    constants = {"ratio": np.array(0.5, np.float32), "training": np.array(True)}
    return added_to_grey(with_nodes(helper.make_node("Dropout", ["z", "ratio", "training"], ["dropped"]),
                                    constants=constants), "dropped")  # fmt: skip


def dropout_by_a_latent() -> onnx.ModelProto:
    """Dropout that is off for the golden sample, and that other latents switch on."""
    model = with_nodes(
        helper.make_node("ReduceMax", ["z"], ["highest"], keepdims=0),
        helper.make_node("Greater", ["highest", "three"], ["training"]),
        helper.make_node("Dropout", ["z", "ratio", "training"], ["dropped"]),
        constants={"ratio": np.array(0.5, np.float32), "three": np.array(3, np.float32)},
    )
    return added_to_grey(model, "dropped")


OPERATOR = "uses the operator"
TOO_MUCH = "computes constants of more than|takes .* for one image"
NETWORKS = {  # the error of each
    two_truths: "cannot be read",
    many_nodes: "too many nodes",
    computed_size: TOO_MUCH,
    endless_loop: OPERATOR, branch: OPERATOR, scan: OPERATOR, random_numbers: OPERATOR,
    escape_in_an_operator: OPERATOR, function_named_add: "uses functions",
    constant_of_shape: TOO_MUCH, tiles: TOO_MUCH, expand: TOO_MUCH, resize: TOO_MUCH, pad: TOO_MUCH, doubling: TOO_MUCH,
    outer_product: TOO_MUCH, broadcast: TOO_MUCH, gather: TOO_MUCH, long_range: TOO_MUCH,
    transposed_convolution: TOO_MUCH, padded_convolution: TOO_MUCH, long_work: TOO_MUCH,
    images_times_images: "grows faster", sleeper: "depends on latents",
    failing_reshape: "do not fit together", negative_window: "do not fit together",
    other_size: "requires", one_pixel: "requires", no_rows: "requires", twice_the_rows: "requires",
    product_of_constants: "operations when it is loaded", random_dropout: "Dropout in training mode",
    dropout_by_a_latent: "Dropout in training mode",
    unsorted: "order of nodes", escape_in_a_node: "not expected",
}  # fmt: skip


def write(directory: Path, model: onnx.ModelProto | bytes) -> Path:
    """Replace the network of a tiny checkpoint, and write the digests that fit."""
    (directory / "generator.onnx").write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return seal(directory)
