"""Rewrite an ONNX graph: find nodes and their neighbours, read constants, replace nodes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

Array = npt.NDArray[Any]


class Graph:
    """The graph of an ONNX model. A value keeps its name when the nodes that compute it are replaced.

    Attributes:
        nodes: the nodes in the order of execution.
        constants: the constants (initializers) by name.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants: dict[str, Array] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self._inputs = {value.name for value in model.graph.input}
        self._outputs = {value.name for value in model.graph.output}
        self._shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
        }

    def write(self, model: onnx.ModelProto) -> None:
        """Replace the nodes and constants of ``model`` by the nodes of this graph and the constants that they use."""
        used = {name for node in self.nodes for name in node.input} | self._outputs
        tensors = [numpy_helper.from_array(array, name) for name, array in self.constants.items() if name in used]
        nodes = [NodeProto.FromString(node.SerializeToString()) for node in self.nodes]
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(tensors)
        model.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True))

    def find(self, *op_types: str) -> list[NodeProto]:
        """Return the nodes of these types."""
        return [node for node in self.nodes if node.op_type in op_types]

    def before(self, node: NodeProto, *op_types: str) -> NodeProto | None:
        """Return the node that computes the first input of ``node``, if it has one of these types and no other user."""
        for other in self.find(*op_types):
            if node.input[0] in other.output and self._uses(other) == 1:
                return other
        return None

    def after(self, node: NodeProto, *op_types: str) -> NodeProto | None:
        """Return the node that uses the output of ``node``, if it has one of these types and is the only user."""
        for other in self.find(*op_types):
            if node.output[0] in other.input and self._uses(node) == 1:
                return other
        return None

    def shape(self, name: str) -> list[int]:
        """Return the shape of a value, with 0 for each dynamic dimension; an empty list if the shape is unknown."""
        return self._shapes.get(name, [])

    @contextlib.contextmanager
    def replacing(self, *nodes: NodeProto) -> Iterator[Builder]:
        """Replace ``nodes`` by the nodes that the block adds to the yielded builder; the name of the output stays."""
        op = Builder(self, prefix=nodes[-1].output[0])
        yield op
        op.nodes[-1].output[0] = nodes[-1].output[0]
        replaced = [id(node) for node in nodes]
        place = next(position for position, node in enumerate(self.nodes) if id(node) == replaced[-1])
        self.nodes[place:place] = op.nodes
        self.nodes = [node for node in self.nodes if id(node) not in replaced]

    def computed(self, name: str) -> bool:
        """Return True if an input or the output of a node has this name."""
        return name in self._inputs or any(name in node.output for node in self.nodes)

    def _uses(self, node: NodeProto) -> int:
        inputs = sum(name in node.output for other in self.nodes for name in other.input)
        return inputs + sum(name in self._outputs for name in node.output)


class Builder:
    """Collects new nodes: ``op("Gemm", x, weight, transB=1)`` adds one and returns the name of its output.

    Nodes are named ``<value>/<number>`` after the value that they compute together.
    """

    def __init__(self, graph: Graph, prefix: str) -> None:
        self.nodes: list[NodeProto] = []
        self._graph = graph
        self._prefix = prefix

    def __call__(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node."""
        output = f"{self._prefix}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=output, **attributes))
        return output

    def again(self, node: NodeProto | None, x: str) -> str:
        """Add a copy of ``node`` with ``x`` as its first input; without a node, return ``x``."""
        if node is None:
            return x
        return self(node.op_type, x, *node.input[1:], **attributes(node))

    def constant(self, name: str, array: Array) -> str:
        """Add a constant and return its name; a constant of the same name and content is reused."""
        constants = self._graph.constants
        while self._graph.computed(name) or (name in constants and not _same(constants[name], array)):
            name += "_"
        constants[name] = np.asarray(array, order="C")
        return name

    def shape(self, *sizes: int) -> str:
        """Add an int64 constant, such as the shape for a Reshape."""
        return self.constant("x".join(map(str, sizes)), np.array(sizes, np.int64))


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return the value of an attribute of a node; ``default`` if it has none of this name."""
    return attributes(node).get(name, default)


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name."""
    return {held.name: helper.get_attribute_value(held) for held in node.attribute}


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _same(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)
