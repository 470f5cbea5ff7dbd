"""Read the nodes and the constants of an ONNX file, without the values of large tensors."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.protobuf import read_fields, read_ints

MAX_VALUES = 1024  # elements of a tensor whose values are kept, such as a shape
MAX_RANK = 12
MAX_NODES = 10_000  # the int8 network of StyleGAN has some hundred

DTYPES: dict[int, str] = {
    1: "<f4", 2: "<u1", 3: "<i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8",
    12: "<u4", 13: "<u8",
}  # fmt: skip

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """The shape of a tensor, the bytes of an element, and its values where they are few and known."""

    shape: Shape
    item_size: int = 4
    values: npt.NDArray[Any] | None = None
    constant: bool = False  # it depends on no input: ONNX Runtime computes it when the network is loaded

    @property
    def elements(self) -> int:
        """The number of elements."""
        elements = 1
        for side in self.shape:
            elements *= side
        return elements

    @property
    def bytes(self) -> int:
        """The size in memory."""
        return self.elements * self.item_size


@dataclass
class Node:
    """A node: its operator, the names of its tensors, and its attributes."""

    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Graph:
    """The main graph of a network."""

    nodes: list[Node]
    constants: dict[str, Tensor]


def read_graph(model: bytes) -> Graph:
    """Return the graph of an ONNX file that ``check_self_contained`` accepts.

    Raises:
        ValueError, IndexError: it is damaged. NotImplementedError: it has a kind of tensor that is not read.
    """
    graph = Graph([], {})
    for number, value in read_fields(memoryview(model)):
        if number == 7 and not isinstance(value, int):  # protobuf merges a field that is there twice
            for part, content in read_fields(value):
                if isinstance(content, int):
                    continue
                if part == 1:
                    graph.nodes.append(_node(content))
                    if len(graph.nodes) > MAX_NODES:
                        raise ValueError("too many nodes")
                elif part == 5:
                    name, tensor = _tensor(content)
                    graph.constants[name] = tensor
                elif part == 15:
                    raise NotImplementedError("sparse tensors")
    return graph


def _text(value: int | memoryview) -> str:
    if isinstance(value, int):
        raise ValueError("a number where text is expected")
    return bytes(value).decode()


def _node(message: memoryview) -> Node:
    node = Node()
    for number, value in read_fields(message):
        if number == 1:
            node.inputs.append(_text(value))
        elif number == 2:
            node.outputs.append(_text(value))
        elif number == 4:
            node.operator = _text(value)
        elif number == 5 and not isinstance(value, int):
            name, content = _attribute(value)
            if name in node.attributes:
                raise ValueError(f"the attribute {name} is there twice")
            node.attributes[name] = content
    return node


def _attribute(message: memoryview) -> tuple[str, Any]:
    name, content, ints, floats = "", None, [], []
    for number, value in read_fields(message):
        if number == 1:
            name = _text(value)
        elif number == 2 and not isinstance(value, int):
            content = struct.unpack("<f", value)[0]
        elif number == 3:
            content = read_ints(value)[0]
        elif number == 4:
            content = _text(value)
        elif number == 5 and not isinstance(value, int):
            content = _tensor(value)[1]
        elif number == 7 and not isinstance(value, int):
            floats += np.frombuffer(value, "<f4").tolist()
        elif number == 8:
            ints += read_ints(value)
        elif number in (6, 10, 11, 22, 23):
            raise NotImplementedError(f"the attribute {name}")
    if sum(kind not in (None, []) for kind in (ints, floats, content)) > 1:
        raise ValueError(f"the attribute {name} has two types")
    return name, ints or floats or content


def _tensor(message: memoryview) -> tuple[str, Tensor]:
    name, shape, kind, raw = "", [], 0, None
    typed: list[tuple[int, int | memoryview]] = []
    for number, value in read_fields(message):
        if number == 1:
            shape += read_ints(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 8:
            name = _text(value)
        elif number == 9 and not isinstance(value, int):
            raw = value
        elif number in (4, 5, 7, 10, 11):
            typed.append((number, value))
    if len(shape) > MAX_RANK or any(side < 0 for side in shape):
        raise ValueError("a constant has an invalid shape")
    item = np.dtype(DTYPES[kind]).itemsize if kind in DTYPES else 4
    tensor = Tensor(tuple(shape), item, constant=True)
    if kind in DTYPES and tensor.elements <= MAX_VALUES:
        values = np.frombuffer(raw, DTYPES[kind]) if raw is not None else _typed_values(typed, DTYPES[kind])
        tensor = Tensor(tensor.shape, item, values.reshape(shape), constant=True)
    return name, tensor


def _typed_values(fields: list[tuple[int, int | memoryview]], dtype: str) -> npt.NDArray[Any]:
    """Return values that lie in the fields of their type and not as raw bytes."""
    values: list[Any] = []
    for number, value in fields:
        if number in (4, 10) and not isinstance(value, int):
            values += np.frombuffer(value, "<f4" if number == 4 else "<f8").tolist()
        else:
            values += read_ints(value)
    if dtype == "<f2":
        return np.array(values, np.uint16).view(np.float16)
    return np.array(values).astype(dtype)
