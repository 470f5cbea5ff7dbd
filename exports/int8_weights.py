"""Store the weights of layers that are computed in fp32 as int8, which takes a quarter of the bytes."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx

from gan_serve.exports.graph import Array, Graph, attribute, attributes

SMALLEST = 4096  # weights; below it the two nodes and the scales are not worth the bytes
LARGEST = 127  # symmetric: the integers are -127 to 127


def store_weights_in_int8(model: onnx.ModelProto, nodes: Collection[str]) -> None:
    """Store the weights of Gemm and Conv nodes as int8, in place; the layers are still computed in fp32.

    Each output channel has a scale of its own, the largest magnitude of its weights divided by 127, and a rounding
    error of at most half of it. A Cast and a Mul multiply by the scales; ONNX Runtime computes them once, when it loads
    the file (DequantizeLinear would be computed for each batch).

    Args:
        model: its weights are constants.
        nodes: the names of the nodes. Those with few weights stay unchanged.
    """
    graph = Graph(model)
    for node in graph.find("Gemm", "Conv"):
        weight = graph.constants.get(node.input[1])
        if node.name not in nodes or weight is None or weight.size < SMALLEST:
            continue
        channels_last = node.op_type == "Gemm" and not attribute(node, "transB", 0)
        integers, scale = _rounded(weight, axis=-1 if channels_last else 0)
        with graph.replacing(node) as op:
            stored = op("Cast", op.constant(f"{node.input[1]}_int8", integers), to=onnx.TensorProto.FLOAT)
            restored = op("Mul", stored, op.constant(f"{node.input[1]}_scale", scale))
            op(node.op_type, node.input[0], restored, *node.input[2:], **attributes(node))
    graph.write(model)


def _rounded(weight: Array, axis: int) -> tuple[Array, Array]:
    """Return the integers and the scale of each slice along ``axis``, which broadcasts against them."""
    others = tuple(other for other in range(weight.ndim) if other != axis % weight.ndim)
    largest = np.abs(weight).max(others, keepdims=True)
    scale = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(LARGEST)
    return np.round(weight / scale).astype(np.int8), scale
