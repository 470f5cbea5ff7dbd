"""Read the nodes and the constants of an ONNX file, without the values of large tensors.

ONNX Runtime reads the same file with protobuf, which ignores a field of another type, and merges one that is there
twice. Such fields are refused: the bounds of ``network_cost`` would be those of another network than the one that runs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.protobuf import BYTES, FIXED32, FIXED64, VARINT, read_ints, read_typed_fields

MAX_VALUES = 1024  # elements of a tensor whose values are kept, such as a shape
MAX_RANK = 12
MAX_NODES = 10_000  # the int8 network of StyleGAN has some hundred

DTYPES: dict[int, str] = {
    1: "<f4", 2: "<u1", 3: "<i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8",
    12: "<u4", 13: "<u8",
}  # fmt: skip
FLOAT, UINT8, INT64, BOOL = 1, 2, 7, 9  # of ``DTYPES``

# The fields of onnx.proto3 that are read: the wire types of each, and those that are there at most once.
_WIRE_TYPES: dict[str, dict[int, tuple[int, ...]]] = {
    "model": {7: (BYTES,), 8: (BYTES,)},
    "opset": {1: (BYTES,), 2: (VARINT,)},
    "graph": {1: (BYTES,), 5: (BYTES,), 11: (BYTES,), 15: (BYTES,)},
    "value": {1: (BYTES,), 2: (BYTES,)}, "type": {1: (BYTES,)}, "tensor type": {1: (VARINT,)},
    "node": {1: (BYTES,), 2: (BYTES,), 4: (BYTES,), 5: (BYTES,)},
    "attribute": {
        1: (BYTES,), 2: (FIXED32,), 3: (VARINT,), 4: (BYTES,), 5: (BYTES,), 7: (BYTES, FIXED32), 8: (BYTES, VARINT),
        9: (BYTES,), 20: (VARINT,),
    },
    "tensor": {
        1: (BYTES, VARINT), 2: (VARINT,), 4: (BYTES, FIXED32), 5: (BYTES, VARINT), 7: (BYTES, VARINT), 8: (BYTES,),
        9: (BYTES,), 10: (BYTES, FIXED64), 11: (BYTES, VARINT),
    },
}  # fmt: skip
_SINGULAR = {
    "model": {7}, "opset": {1, 2}, "graph": set(), "value": {1, 2}, "type": {1}, "tensor type": {1}, "node": {4},
    "attribute": {1, 2, 3, 4, 5, 20}, "tensor": {2, 8, 9},
}  # fmt: skip
# The types of attributes: the field of the value, and the value where the field is left out.
_ATTRIBUTE_TYPES: dict[int, tuple[int, Any]] = {
    1: (2, 0.0),
    2: (3, 0),
    3: (4, ""),
    4: (5, None),
    6: (7, []),
    7: (8, []),
}

Shape = tuple[int, ...]
EMPTY = memoryview(b"")


class Unsupported(Exception):
    """A network has something whose cost is not known, such as another operator; the text names it."""


@dataclass(frozen=True)
class Tensor:
    """The shape of a tensor, the bytes of an element, and its values if they are few and known."""

    shape: Shape
    item_size: int = 4
    values: npt.NDArray[Any] | None = None
    constant: bool = False  # it depends on no input: ONNX Runtime computes it when the network is loaded
    kind: int = FLOAT  # of ``DTYPES``

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

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
    """The main graph of a network.

    Attributes:
        constants: the initializers by name.
        inputs: the type of each input, of ``DTYPES``; those with a default are among the constants too.
        opset: the version of the standard operators.
    """

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)
    opset: int = 0


def read_graph(model: bytes) -> Graph:
    """Return the graph of an ONNX file that ``check_self_contained`` accepts.

    Raises:
        ValueError, IndexError: it is damaged. Unsupported: it has a kind of tensor that is not read.
    """
    graph = Graph()
    for number, value in _fields("model", memoryview(model)):
        if number == 8:
            found = dict(_fields("opset", value))
            if _text(found.get(1, EMPTY)) in ("", "ai.onnx"):
                if graph.opset:
                    raise ValueError("two opsets")
                graph.opset = found.get(2, 0)
            continue
        for part, content in _fields("graph", value):
            if part == 1:
                graph.nodes.append(_node(content))
                if len(graph.nodes) > MAX_NODES:
                    raise ValueError("too many nodes")
            elif part == 5:
                name, tensor = _tensor(content)
                if name in graph.constants:
                    raise ValueError(f"the constant {name} is there twice")
                graph.constants[name] = tensor
            elif part == 11:
                given = dict(_fields("value", content))
                kind = dict(_fields("type", given.get(2, EMPTY))).get(1, EMPTY)
                graph.inputs[_text(given.get(1, EMPTY))] = dict(_fields("tensor type", kind)).get(1, 0)
            elif part == 15:
                raise Unsupported("sparse tensors")
    return graph


def _fields(kind: str, message: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a message that are read.

    Raises:
        ValueError: one has another wire type than in onnx.proto3, or is there twice.
    """
    seen: set[int] = set()
    for number, wire_type, value in read_typed_fields(message):
        expected = _WIRE_TYPES[kind].get(number)
        if expected is None:
            if wire_type in (FIXED32, FIXED64):
                raise ValueError("a field has an unexpected type")
            continue
        if wire_type not in expected or number in seen:
            raise ValueError(f"the field {number} of a {kind} has an unexpected type, or is there twice")
        if number in _SINGULAR[kind]:
            seen.add(number)
        yield number, value


def _text(value: memoryview) -> str:
    return bytes(value).decode()


def _node(message: memoryview) -> Node:
    node = Node()
    for number, value in _fields("node", message):
        if number == 1:
            node.inputs.append(_text(value))
        elif number == 2:
            node.outputs.append(_text(value))
        elif number == 4:
            node.operator = _text(value)
        else:
            name, content = _attribute(value)
            if name in node.attributes:
                raise ValueError(f"the attribute {name} is there twice")
            node.attributes[name] = content
    return node


def _attribute(message: memoryview) -> tuple[str, Any]:
    name, kind, values = "", 0, dict[int, Any]()
    for number, value in _fields("attribute", message):
        match number:
            case 1:
                name = _text(value)
            case 2:
                values[2] = struct.unpack("<f", value)[0]
            case 3:
                values[3] = read_ints(value)[0]
            case 4:
                values[4] = _text(value)
            case 5:
                values[5] = _tensor(value)[1]
            case 7:
                values.setdefault(7, []).extend(np.frombuffer(value[: 4 * MAX_VALUES + 4], "<f4").tolist())
            case 8:
                values.setdefault(8, []).extend(_few_ints(value, MAX_VALUES))
            case 9:
                values[9] = None
            case 20:
                kind = value
    if kind not in _ATTRIBUTE_TYPES:
        raise Unsupported(f"the attribute {name}")
    place, default = _ATTRIBUTE_TYPES[kind]
    if values.keys() - {place}:
        raise ValueError(f"the attribute {name} has two types")
    if len(values.get(7, ())) > MAX_VALUES:
        raise ValueError("a list of numbers is too long")
    return name, values.get(place, default)


def _tensor(message: memoryview) -> tuple[str, Tensor]:
    name, shape, kind, raw = "", list[int](), 0, None
    typed: list[tuple[int, int | memoryview]] = []
    for number, value in _fields("tensor", message):
        match number:
            case 1:
                shape += _few_ints(value, MAX_RANK)
            case 2:
                kind = value
            case 8:
                name = _text(value)
            case 9:
                raw = value
            case _:
                typed.append((number, value))
    if len(shape) > MAX_RANK or any(side < 0 for side in shape):
        raise ValueError("a constant has an invalid shape")
    if kind not in DTYPES:
        raise Unsupported(f"constants of the type {kind}")
    if raw is not None and typed:
        raise ValueError(f"the constant {name} has its values twice")
    tensor = Tensor(tuple(shape), np.dtype(DTYPES[kind]).itemsize, constant=True, kind=kind)
    _check_content(tensor, raw, [value for _, value in typed])
    if tensor.elements <= MAX_VALUES:
        values = np.frombuffer(raw, DTYPES[kind]) if raw is not None else _typed_values(typed, DTYPES[kind])
        tensor = Tensor(tensor.shape, tensor.item_size, values.reshape(shape), constant=True, kind=kind)
    return name, tensor


def _check_content(tensor: Tensor, raw: memoryview | None, typed: Sequence[int | memoryview]) -> None:
    """Raise ``ValueError`` if a tensor does not have the bytes that its elements need: a varint has 1 to 10."""
    held = sum(1 if isinstance(value, int) else len(value) for value in typed)
    if not (len(raw) == tensor.bytes if raw is not None else tensor.elements <= held <= 10 * tensor.elements):
        raise ValueError(f"a constant of {tensor.elements} elements has more or fewer bytes")


def _few_ints(value: int | memoryview, most: int) -> list[int]:
    """Return the values of a repeated field, which may have at most so many; see ``read_ints``."""
    if not isinstance(value, int) and len(value) > 10 * most:
        raise ValueError("a list of numbers is too long")
    return read_ints(value)


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
