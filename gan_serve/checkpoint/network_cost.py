"""Bound the memory and time of a network before ONNX Runtime loads it, from the shapes of all of its tensors.

A network of a few hundred bytes could otherwise take any memory and time, when it is loaded or for a single seed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gan_serve.checkpoint.onnx_graph import (
    DTYPES,
    FLOAT,
    INT64,
    MAX_RANK,
    MAX_VALUES,
    Graph,
    Node,
    Shape,
    Tensor,
    Unsupported,
    read_graph,
)
from gan_serve.checkpoint.operator_attributes import attributes_in
from gan_serve.checkpoint.operators import (
    FLOATS,
    RULES,
    Inputs,
    SizeUnknown,
    Values,
    cast_size,
    ints,
    known,
    output_kind,
)
from gan_serve.errors import InvalidCheckpoint, shorten

GIGABYTE = 2**30
MAX_IMAGE_BYTES = GIGABYTE  # tensors that are in memory at once, for one image; StyleGAN2 at 1024x1024 takes half
MAX_BATCH_BYTES = 2 * GIGABYTE  # the same for a batch, which is made smaller if needed
MAX_CONSTANT_BYTES = GIGABYTE // 4  # tensors that are computed once, from constants
MAX_CONSTANT_WORK = 1e10  # of tensors that are computed once, when nothing can stop ONNX Runtime: about a second
MAX_WORK = 5e11  # multiplications and additions for one image; StyleGAN2 at 1024x1024 needs a tenth
MAX_CHECKED = 1000  # shapes that are remembered; those of a generator are its batches
LOWEST_OPSET = 7  # that ONNX Runtime supports
INTEGER_WORK = 25  # a multiplication of whole numbers in a product of matrices takes as long as so many of fp32
ELEMENT_WORK = 8  # an element that is read or written takes as long as so many multiplications of a convolution


@dataclass(frozen=True)
class Cost:
    """The cost of a network for a batch.

    Args:
        outputs: the shapes of the requested outputs.
        peak: bytes of the tensors that are in memory at once, weights excepted.
        work: multiplications and additions, and elements read and written at ``ELEMENT_WORK`` each.
    """

    outputs: dict[str, Shape]
    peak: int
    work: float

    @property
    def output(self) -> Shape:
        """The shape of the only output."""
        [shape] = self.outputs.values()
        return shape


def network_cost(model: bytes, inputs: Mapping[str, Shape], *outputs: str) -> Cost:
    """Return the cost of a network for inputs of these shapes; its ``outputs`` are ``img`` if none are named.

    Raises:
        InvalidCheckpoint: shapes do not fit together or depend on values of the inputs, an operator is not allowed, or
            constants are too large.
    """
    return _Walk(_read(model), inputs).run(*(outputs or ("img",)))


def _read(model: bytes) -> Graph:
    try:
        graph = read_graph(model)
        if graph.opset < LOWEST_OPSET:
            raise ValueError(f"opset {graph.opset}")
    except (ValueError, IndexError, TypeError, Unsupported, OverflowError) as error:
        raise InvalidCheckpoint(
            "The constants of the network cannot be read, or it has too many nodes.",
            "Download or export the checkpoint again.",
        ) from error
    for node in graph.nodes:
        read = attributes_in(node.operator, graph.opset)
        node.attributes = {name: value for name, value in node.attributes.items() if name in read}
    return graph


class NetworkBounds:
    """The bounds of a network: call ``check`` before it is run with inputs of other shapes.

    A network can compute with the shapes of its inputs, so its cost for one batch does not follow from another.
    """

    def __init__(self, model: bytes, example: Mapping[str, Shape], output: str = "img") -> None:
        """Read the content of an ONNX file.

        Args:
            model: the content. example: the shape of each input for one image, [1, ...]; the largest where sizes
                differ. output: the name of the output that is wanted.

        Raises:
            InvalidCheckpoint: it takes more than the bounds of this module for one image, or see ``network_cost``.
        """
        self._graph, self._example, self._output = _read(model), example, output
        self._one = _Walk(self._graph, example).run(output)
        self._checked: set[tuple[tuple[tuple[str, Shape], ...], Shape]] = set()
        if self._one.peak > MAX_IMAGE_BYTES or self._one.work > MAX_WORK:
            takes = f"{self._one.peak / GIGABYTE:,.1f} GB and {self._one.work / 1e9:,.0f} billion operations"
            raise InvalidCheckpoint(
                f"The network takes {takes} for one image; at most {MAX_IMAGE_BYTES / GIGABYTE:.0f} GB and "
                f"{MAX_WORK / 1e9:,.0f} billion are allowed.",
                "Use a smaller network.",
            )

    @property
    def work(self) -> float:
        """The work for the example."""
        return self._one.work

    def largest_batch(self, expected: Shape, wanted: int) -> int:
        """Return the images of a batch, at most ``wanted``, that stay within ``MAX_BATCH_BYTES``.

        Args:
            expected: the shape of an image, [H, W, C]. wanted: the batch that is fastest on the device.

        Raises:
            InvalidCheckpoint: see ``check``.
        """
        batch = max(1, min(wanted, MAX_BATCH_BYTES // max(self._one.peak, 1)))
        for count in {1, 2, batch}:
            self.check({name: (count, *shape[1:]) for name, shape in self._example.items()}, (count, *expected))
        return batch

    def check(self, inputs: Mapping[str, Shape], expected: Shape) -> None:
        """Check a batch before it is run; shapes that were checked before cost nothing.

        Args:
            inputs: the shapes of the inputs. expected: the shape that the output must have, [N, ...].

        Raises:
            InvalidCheckpoint: the output has another shape, or the batch takes more than those images may.
        """
        key = (tuple(inputs.items()), expected)
        if key in self._checked:
            return
        count, found = expected[0], _Walk(self._graph, inputs).run(self._output)
        if found.output != expected:
            raise InvalidCheckpoint(
                f"The network computes images of shape {_shown(found.output)} for a batch of {count}; its config "
                f"requires {_shown(expected)}.",
                "Export the checkpoint again.",
            )
        if found.peak > 1.25 * MAX_BATCH_BYTES or found.work > 2 * count * max(self._one.work, 1e9):
            raise InvalidCheckpoint(
                "The memory or time of the network grows faster than the number of images.",
                "Export the checkpoint again.",
            )
        if len(self._checked) >= MAX_CHECKED:
            self._checked.clear()
        self._checked.add(key)


class _Walk:
    """The live tensors of a network, and its cost so far, while its nodes are visited in order."""

    def __init__(self, graph: Graph, inputs: Mapping[str, Shape]) -> None:
        self.graph = graph
        # A constant that is also an input is the default of that input: its values may be others.
        self.tensors = {
            name: Tensor(tensor.shape, tensor.item_size, kind=tensor.kind) if name in graph.inputs else tensor
            for name, tensor in graph.constants.items()
        } | {name: Tensor(shape, 8, kind=graph.inputs.get(name, FLOAT)) for name, shape in inputs.items()}
        self.last_use = {name: i for i, node in enumerate(graph.nodes) for name in (*node.outputs, *node.inputs)}
        self.live = self.peak = sum(self.tensors[name].bytes for name in inputs)
        self.folded, self.folding_work = 0, 0.0
        self.work = 0.0

    def run(self, *wanted: str) -> Cost:
        """Visit all nodes and return the cost; the wanted outputs stay in memory to the end."""
        for i, node in enumerate(self.graph.nodes):
            inputs = [self._tensor(name) for name in node.inputs]
            outputs, work, workspace = self._outputs(node, inputs)
            self.work += work
            self.folding_work += work if outputs[0].constant else 0.0
            self._keep(node, outputs, workspace)
            for name in {*node.inputs, *node.outputs}:
                if self.last_use[name] == i and name and not self.tensors[name].constant and name not in wanted:
                    self.live -= self.tensors.pop(name).bytes if name in self.tensors else 0
        if missing := [name for name in wanted if name not in self.tensors]:
            raise InvalidCheckpoint(f"The network has no output {shorten(missing[0])}.", "Export the checkpoint again.")
        return Cost({name: self.tensors[name].shape for name in wanted}, self.peak, self.work)

    def _tensor(self, name: str) -> Tensor:
        if not name:
            return Tensor((-1,), constant=True)  # an optional input that is left out
        if name not in self.tensors:
            raise InvalidCheckpoint(
                f"The network has an input or an order of nodes that is not expected: {shorten(name)}.",
                "Export the checkpoint again.",
            )
        return self.tensors[name]

    def _outputs(self, node: Node, inputs: Inputs) -> tuple[list[Tensor], float, int]:
        """Return the outputs of a node, its work, and the further bytes that it takes while it runs."""
        rule = RULES.get(node.operator)
        try:
            if rule is None:
                raise Unsupported(f"the operator {shorten(node.operator)}")
            shapes = [tuple(map(int, shape)) for shape in rule(node, inputs)]
            if any(len(shape) > MAX_RANK or min(shape, default=0) < 0 for shape in shapes):
                raise ValueError("a negative size")
            # Normalisations and pooling may have further outputs, which are no larger than the first.
            shapes += [shapes[0]] * (len(node.outputs) - len(shapes))
            constant = all(tensor.constant for tensor in inputs)
            kinds = [output_kind(node, inputs), *[INT64] * (len(shapes) - 1)]  # of MaxPool, the places
            if node.operator == "Split":
                kinds = kinds[:1] * len(shapes)
            size = cast_size(node, inputs)
            outputs = [Tensor(shape, size, None, constant, kind) for shape, kind in zip(shapes, kinds, strict=True)]
            with np.errstate(all="ignore"):
                values = _values(node, inputs) if outputs[0].elements <= MAX_VALUES else None
            if values is not None:
                outputs[0] = replace(outputs[0], values=values.reshape(shapes[0]))
            return outputs, _work(node, inputs, outputs), _workspace(node, inputs)
        except SizeUnknown as error:
            raise InvalidCheckpoint(
                f"The size of an output of the network's {node.operator} depends on latents or labels.",
                "Export it with sizes that are constant.",
            ) from error
        except Unsupported as error:
            raise InvalidCheckpoint(
                f"The network uses {error}, which gan-serve does not run.", "Export it with standard layers."
            ) from error
        except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
            raise InvalidCheckpoint(
                f"The shapes in the network do not fit together, in a node {shorten(node.operator)}.",
                "Export the checkpoint again.",
            ) from error

    def _keep(self, node: Node, outputs: list[Tensor], workspace: int) -> None:
        for name, tensor in zip(node.outputs, outputs, strict=False):
            if name in self.tensors:
                raise InvalidCheckpoint(f"The network computes {shorten(name)} twice.", "Export the checkpoint again.")
            self.tensors[name] = tensor
            if tensor.constant:
                self.folded += tensor.bytes
            else:
                self.live += tensor.bytes
        if self.folded > MAX_CONSTANT_BYTES:
            raise InvalidCheckpoint(
                f"The network computes constants of more than {MAX_CONSTANT_BYTES // 2**20} MB when it is loaded.",
                "Export it with smaller constants.",
            )
        if self.folding_work > MAX_CONSTANT_WORK:
            raise InvalidCheckpoint(
                f"The network computes constants with {self.folding_work / 1e9:,.0f} billion operations when it is "
                f"loaded; at most {MAX_CONSTANT_WORK / 1e9:,.0f} billion are allowed.",
                "Export it with the results as constants.",
            )
        self.peak = max(self.peak, self.live + workspace)


def _work(node: Node, inputs: Inputs, outputs: list[Tensor]) -> float:
    """Return the work of a node, in multiplications and additions."""
    moved = ELEMENT_WORK * sum(tensor.elements for tensor in (*inputs, *outputs) if tensor.shape != (-1,))
    match node.operator:
        case "Conv":
            per_element = math.prod(inputs[1].shape[1:])
        case "ConvTranspose":
            return float(moved + inputs[0].elements * math.prod(inputs[1].shape[1:]))
        case "MatMul":
            per_element = inputs[0].shape[-1] * (1 if inputs[0].kind in FLOATS else INTEGER_WORK)
        case "Gemm":
            per_element = inputs[0].shape[0 if node.attributes.get("transA") else 1]
        case "AveragePool" | "MaxPool" | "LpPool":
            per_element = math.prod(node.attributes["kernel_shape"])
        case "LRN":
            per_element = int(node.attributes["size"])
        case _:
            per_element = 0
    return float(moved + outputs[0].elements * per_element)


def _workspace(node: Node, inputs: Inputs) -> int:
    """Return the bytes that ONNX Runtime takes beside inputs and outputs: a transposed convolution unrolls its taps."""
    if node.operator != "ConvTranspose":
        return 0
    return 4 * math.prod(inputs[1].shape[1:]) * math.prod(inputs[0].shape[2:])


# Operators that exporters compute shapes with, for tensors of at most ``MAX_VALUES`` elements.
_EVALUATED: dict[str, Callable[..., Values]] = {
    "Add": np.add,
    "Ceil": np.ceil,
    "Equal": np.equal,
    "Expand": lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(ints(shape)))),
    "Floor": np.floor,
    "Greater": np.greater,
    "Identity": np.asarray,
    "Less": np.less,
    "Max": lambda *x: functools.reduce(np.maximum, x),
    "Min": lambda *x: functools.reduce(np.minimum, x),
    "Mod": np.mod,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Reshape": lambda x, _: x,
    "Squeeze": lambda x, *_: x,
    "Sub": np.subtract,
    "Unsqueeze": lambda x, *_: x,
    "Where": np.where,
}


def _values(node: Node, inputs: Inputs) -> Values | None:
    """Return the values of the first output of a node, or None if they are not known."""
    get = node.attributes.get
    if node.operator == "Shape":
        return np.array(inputs[0].shape[get("start") or 0 : get("end")], np.int64)
    if node.operator == "Size":
        return np.array(inputs[0].elements, np.int64)
    if node.operator == "Constant":
        [value] = node.attributes.values()
        return value.values if isinstance(value, Tensor) else _as_onnx(value)
    if any(tensor.values is None and tensor.shape != (-1,) for tensor in inputs):
        return None
    values: list[Any] = [known(inputs, i) for i in range(len(inputs))]
    match node.operator:
        case "ConstantOfShape":
            fill = get("value")
            return np.full(ints(values[0]), 0 if fill is None or fill.values is None else fill.values.reshape(-1)[0])
        case "Concat":
            return np.concatenate(values, axis=node.attributes["axis"])
        case "Gather":
            return np.asarray(np.take(values[0], values[1].astype(np.int64), axis=get("axis") or 0))
        case "Slice" if values[0].ndim == 1 and len(values) > 2:
            step = int(values[4].reshape(-1)[0]) if len(values) > 4 and values[4] is not None else 1
            return np.asarray(values[0][int(values[1].reshape(-1)[0]) : int(values[2].reshape(-1)[0]) : step])
        case "Cast":
            kind = np.dtype(DTYPES[node.attributes["to"]])
            if values[0].dtype.kind == "f" and kind.kind in "iu":
                # C++ leaves numbers that do not fit undefined.
                info = np.iinfo(kind)
                if not ((values[0] >= info.min) & (values[0] <= info.max / 2)).all():
                    return None
            return np.asarray(values[0].astype(kind))
        case "Div":
            if values[0].dtype.kind == "f":
                return np.asarray(np.divide(*values))
            below, rest = np.divmod(*values)  # the divisors are positive
            return np.asarray(below + ((rest != 0) & (values[0] < 0)), values[0].dtype)  # towards zero, as in C
        case "Mod" if get("fmod"):
            return None
        case "Range":
            return np.arange(*(value[()] for value in values))
    rule = _EVALUATED.get(node.operator)
    return None if rule is None else np.asarray(rule(*values))


def _as_onnx(value: int | float | list[int] | list[float]) -> Values:
    values = np.array(value)
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int64)


def _shown(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"
