"""Small ONNX networks from a list of steps, for the tests of the passes over exported generators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float32]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


class Step(NamedTuple):
    """An operator that takes the value before it, or those named, and constants behind."""

    op_type: str
    constants: Sequence[Array | None] = ()
    attributes: dict[str, Any] = {}  # noqa: RUF012
    takes: tuple[str, ...] | None = None


def network(size: Sequence[int], *steps: Step | None, outputs: Sequence[str] = ()) -> onnx.ModelProto:
    """x float32 [N, *size] -> y, by steps whose outputs are called v0, v1, ... y; equal arrays are one constant."""
    steps = tuple(step for step in steps if step)
    nodes, names, constants = [], {}, []
    value = "x"
    for number, step in enumerate(steps):
        inputs = list((value,) if step.takes is None else step.takes)
        for array in step.constants:
            if array is not None and id(array) not in names:
                names[id(array)] = f"weight{len(names)}"
                constants.append(numpy_helper.from_array(array, names[id(array)]))
            inputs.append("" if array is None else names[id(array)])
        value = "y" if number == len(steps) - 1 else f"v{number}"
        nodes.append(helper.make_node(step.op_type, inputs, [value], name=f"node{number}", **step.attributes))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *size])
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (*outputs, "y")]
    graph = helper.make_graph(nodes, "network", [x], results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)
