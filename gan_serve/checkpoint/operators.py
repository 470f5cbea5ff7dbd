"""The ONNX operators that a network may use, each with the rule for the shapes of its outputs.

They are those that exporters and imports produce for generators and feature extractors. There is no control flow (If,
Loop, Scan), nothing random, and nothing whose output size depends on pixels or latents: the cost of a network is
known before it is loaded. Definitions: https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.onnx_graph import BOOL, DTYPES, FLOAT, INT64, UINT8, Node, Shape, Tensor, Unsupported

Inputs = list[Tensor]
ShapeRule = Callable[[Node, Inputs], Sequence[Shape]]
Values = npt.NDArray[Any]
FLOATS = (1, 10, 11)  # of ``DTYPES``
LARGEST = 2**53  # of the numbers of a Range: differences of larger ones overflow, or are rounded


class SizeUnknown(Exception):
    """The size of an output depends on values that are known only when images are sampled."""


def known(inputs: Inputs, index: int) -> Values | None:
    """Return the values of an optional input, or None if it is left out."""
    if index >= len(inputs) or inputs[index].shape == (-1,):
        return None
    values = inputs[index].values
    if values is None:
        raise SizeUnknown
    return values


def ints(values: Values | Sequence[int]) -> list[int]:
    """Return values as Python's ints, which do not overflow."""
    return [int(value) for value in np.asarray(values).reshape(-1)]


def argument(node: Node, inputs: Inputs, name: str, index: int) -> list[int] | None:
    """Return a list of ints that is an attribute in old opsets and an input in later ones."""
    if name in node.attributes:
        return ints(np.atleast_1d(node.attributes[name]))
    values = known(inputs, index)
    return None if values is None else ints(values)


def _same(node: Node, inputs: Inputs) -> list[Shape]:
    return [inputs[0].shape] * len(node.outputs)


def _dropout(node: Node, inputs: Inputs) -> list[Shape]:
    """Refuse what is random: a dropout that is switched on, or that an input of the network can switch on."""
    training = inputs[2] if len(inputs) > 2 else None
    if training is not None and training.shape != (-1,) and (training.values is None or training.values.any()):
        raise Unsupported("Dropout in training mode")
    return _same(node, inputs)


def _broadcast(node: Node, inputs: Inputs) -> list[Shape]:
    return [np.broadcast_shapes(*(tensor.shape for tensor in inputs))]


def _divide(node: Node, inputs: Inputs) -> list[Shape]:
    """Refuse what ends the process: a division of whole numbers by 0, or of the smallest one by -1."""
    if inputs[0].kind not in FLOATS:
        divisor = inputs[1].values
        if divisor is None or bool((divisor < 1).any()):
            raise Unsupported(f"{node.operator} of whole numbers by others than positive constants")
    return _broadcast(node, inputs)


def _cast(node: Node, inputs: Inputs) -> list[Shape]:
    kind = node.attributes["to"] if node.operator == "Cast" else inputs[1].kind
    if kind not in DTYPES:
        raise Unsupported(f"{node.operator} to the type {kind}")
    return [inputs[0].shape]


def _matmul(node: Node, inputs: Inputs) -> list[Shape]:
    a, b = inputs[0].shape, inputs[1].shape
    left, right = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    if left[-1] != right[-2]:
        raise ValueError(f"a product of {a} and {b}")
    rows, columns = (left[-2:-1] if len(a) > 1 else ()), (right[-1:] if len(b) > 1 else ())
    return [(*np.broadcast_shapes(left[:-2], right[:-2]), *rows, *columns)]


def _gemm(node: Node, inputs: Inputs) -> list[Shape]:
    a, b = inputs[0].shape, inputs[1].shape
    a = a[::-1] if node.attributes.get("transA") else a
    b = b[::-1] if node.attributes.get("transB") else b
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise ValueError(f"a product of {a} and {b}")
    return [(a[0], b[1])]


def _windows(node: Node, space: Shape, kernel: Sequence[int]) -> list[int]:
    """Return the sides of the output of a convolution or pooling."""
    rank = len(space)
    stride, dilation = (node.attributes.get(name) or [1] * rank for name in ("strides", "dilations"))
    pads = node.attributes.get("pads") or [0] * (2 * rank)
    if len(kernel) != rank or min(*stride, *dilation, *kernel) < 1 or min(pads) < 0:
        raise ValueError("an invalid window")
    auto = node.attributes.get("auto_pad") or "NOTSET"
    if auto.startswith("SAME"):
        return [-(-side // step) for side, step in zip(space, stride, strict=True)]
    if auto == "VALID":
        pads = [0] * (2 * rank)
    sides = []
    for i in range(rank):
        room = space[i] + pads[i] + pads[rank + i] - dilation[i] * (kernel[i] - 1) - 1
        sides.append((-(-room // stride[i]) if node.attributes.get("ceil_mode") else room // stride[i]) + 1)
    return sides


def _conv(node: Node, inputs: Inputs) -> list[Shape]:
    x, weight = inputs[0].shape, inputs[1].shape
    group = node.attributes.get("group", 1)
    if len(x) != len(weight) or group < 1 or x[1] != weight[1] * group or weight[0] % group:
        raise ValueError(f"a convolution of {x} with {weight}")
    return [(x[0], weight[0], *_windows(node, x[2:], weight[2:]))]


def _conv_transpose(node: Node, inputs: Inputs) -> list[Shape]:
    x, weight = inputs[0].shape, inputs[1].shape
    kernel, rank, get = weight[2:], len(x) - 2, node.attributes.get
    group = get("group", 1)
    if len(x) != len(weight) or group < 1 or x[1] != weight[0] or weight[0] % group:
        raise ValueError(f"a transposed convolution of {x} with {weight}")
    stride, dilation, extra = get("strides") or [1] * rank, get("dilations") or [1] * rank, get("output_padding")
    pads, extra = get("pads") or [0] * (2 * rank), extra or [0] * rank
    if min(*stride, *dilation) < 1 or min(*pads, *extra) < 0:
        raise ValueError("an invalid window")
    if "output_shape" in node.attributes:
        space = ints(node.attributes["output_shape"])[-rank:]
    elif (get("auto_pad") or "NOTSET").startswith("SAME"):
        space = [x[2 + i] * stride[i] for i in range(rank)]
    else:
        pads = [0] * (2 * rank) if get("auto_pad") == "VALID" else pads
        space = [
            stride[i] * (x[2 + i] - 1) + extra[i] + (kernel[i] - 1) * dilation[i] + 1 - pads[i] - pads[rank + i]
            for i in range(rank)
        ]
    return [(x[0], weight[1] * group, *space)]


def _pool(node: Node, inputs: Inputs) -> list[Shape]:
    x = inputs[0].shape
    return [(*x[:2], *_windows(node, x[2:], node.attributes["kernel_shape"]))] * len(node.outputs)


def _global_pool(node: Node, inputs: Inputs) -> list[Shape]:
    x = inputs[0].shape
    return [(*x[:2], *(1 for _ in x[2:]))]


def _reduce(node: Node, inputs: Inputs) -> list[Shape]:
    x, rank = inputs[0].shape, len(inputs[0].shape)
    axes = argument(node, inputs, "axes", 1)
    if not axes:
        axes = [] if node.attributes.get("noop_with_empty_axes") else list(range(rank))
    return [_without(x, axes, bool(node.attributes.get("keepdims", 1)))]


def _arg(node: Node, inputs: Inputs) -> list[Shape]:
    return [_without(inputs[0].shape, [node.attributes.get("axis") or 0], bool(node.attributes.get("keepdims", 1)))]


def _without(shape: Shape, axes: Sequence[int], keep: bool) -> Shape:
    dropped = {_axis(axis, len(shape)) for axis in axes}
    sides = [1 if i in dropped else side for i, side in enumerate(shape) if keep or i not in dropped]
    return tuple(sides)


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < max(rank, 1):
        raise ValueError(f"the axis {axis} of {rank}")
    return axis % max(rank, 1)


def _reshape(node: Node, inputs: Inputs) -> list[Shape]:
    x, wanted = inputs[0].shape, argument(node, inputs, "shape", 1) or []
    if not node.attributes.get("allowzero"):
        wanted = [x[i] if side == 0 else side for i, side in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = math.prod(side for side in wanted if side != -1)
        wanted = [inputs[0].elements // max(rest, 1) if side == -1 else side for side in wanted]
    if math.prod(wanted) != inputs[0].elements:
        raise ValueError(f"a tensor of shape {x} as {tuple(wanted)}")
    return [tuple(wanted)]


def _flatten(node: Node, inputs: Inputs) -> list[Shape]:
    x, axis = inputs[0].shape, node.attributes.get("axis", 1)
    return [(math.prod(x[:axis]), math.prod(x[axis:]))]


def _squeeze(node: Node, inputs: Inputs) -> list[Shape]:
    x, axes = inputs[0].shape, argument(node, inputs, "axes", 1)
    axes = [i for i, side in enumerate(x) if side == 1] if axes is None else axes
    if any(x[_axis(axis, len(x))] != 1 for axis in axes):
        raise ValueError(f"the axes {axes} of {x} are not 1")
    return [_without(x, axes, keep=False)]


def _unsqueeze(node: Node, inputs: Inputs) -> list[Shape]:
    axes = argument(node, inputs, "axes", 1) or []
    rank = len(inputs[0].shape) + len(axes)
    places, sides = {_axis(axis, rank) for axis in axes}, iter(inputs[0].shape)
    if len(places) != len(axes):
        raise ValueError(f"the axes {axes}")
    return [tuple(1 if i in places else next(sides) for i in range(rank))]


def _transpose(node: Node, inputs: Inputs) -> list[Shape]:
    x = inputs[0].shape
    order = node.attributes.get("perm") or list(range(len(x)))[::-1]
    if sorted(order) != list(range(len(x))):
        raise ValueError(f"the order {order} of {len(x)} axes")
    return [tuple(x[axis] for axis in order)]


def _concat(node: Node, inputs: Inputs) -> list[Shape]:
    x = inputs[0].shape
    axis = _axis(node.attributes["axis"], len(x))
    if any(_without(t.shape, [axis], keep=True) != _without(x, [axis], keep=True) for t in inputs):
        raise ValueError("a concatenation of other shapes")
    return [(*x[:axis], sum(tensor.shape[axis] for tensor in inputs), *x[axis + 1 :])]


def _split(node: Node, inputs: Inputs) -> list[Shape]:
    x, count = inputs[0].shape, len(node.outputs)
    axis = _axis(node.attributes.get("axis") or 0, len(x))
    part = -(-x[axis] // count)
    sizes = argument(node, inputs, "split", 1) or [min(part, x[axis] - i * part) for i in range(count)]
    if sum(sizes) != x[axis] or len(sizes) != count:
        raise ValueError(f"a split of {x[axis]} into {sizes}")
    return [(*x[:axis], size, *x[axis + 1 :]) for size in sizes]


def _slice(node: Node, inputs: Inputs) -> list[Shape]:
    sides = list(inputs[0].shape)
    starts, ends = argument(node, inputs, "starts", 1) or [], argument(node, inputs, "ends", 2) or []
    axes, steps = argument(node, inputs, "axes", 3) or range(len(starts)), argument(node, inputs, "steps", 4)
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(starts), strict=True):
        at = _axis(axis, len(sides))
        sides[at] = len(range(*slice(start, max(end, -(2**62)), step).indices(sides[at])))
    return [tuple(sides)]


def _gather(node: Node, inputs: Inputs) -> list[Shape]:
    x = inputs[0].shape
    axis = _axis(node.attributes.get("axis") or 0, len(x))
    return [(*x[:axis], *inputs[1].shape, *x[axis + 1 :])]


def _expand(node: Node, inputs: Inputs) -> list[Shape]:
    return [np.broadcast_shapes(inputs[0].shape, tuple(argument(node, inputs, "shape", 1) or ()))]


def _tile(node: Node, inputs: Inputs) -> list[Shape]:
    repeats = argument(node, inputs, "repeats", 1) or []
    return [tuple(side * times for side, times in zip(inputs[0].shape, repeats, strict=True))]


def _pad(node: Node, inputs: Inputs) -> list[Shape]:
    sides = list(inputs[0].shape)
    pads = argument(node, inputs, "pads", 1) or []
    axes = argument(node, inputs, "axes", 3) or range(len(sides))
    for i, axis in enumerate(axes):
        sides[_axis(axis, len(sides))] += pads[i] + pads[len(axes) + i]
    return [tuple(sides)]


def _resize(node: Node, inputs: Inputs) -> list[Shape]:
    sides, get = list(inputs[0].shape), node.attributes.get
    if (get("keep_aspect_ratio_policy") or "stretch") != "stretch":
        raise Unsupported("Resize with an aspect ratio that is kept")
    scales, sizes = known(inputs, 2), known(inputs, 3)
    axes = [_axis(axis, len(sides)) for axis in get("axes") or range(len(sides))]
    if len(set(axes)) != len(axes):
        raise ValueError(f"the axes {axes}")
    if sizes is not None and sizes.size:
        wanted = ints(sizes)
    elif scales is not None:
        wanted = [math.floor(sides[axis] * float(scale)) for axis, scale in zip(axes, scales, strict=True)]
    else:
        raise ValueError("Resize without a size")
    for axis, side in zip(axes, wanted, strict=True):
        sides[axis] = side
    return [tuple(sides)]


def _depth_to_space(node: Node, inputs: Inputs) -> list[Shape]:
    n, c, h, w = inputs[0].shape
    block = node.attributes["blocksize"]
    return [(n, c // block**2, h * block, w * block)]


def _space_to_depth(node: Node, inputs: Inputs) -> list[Shape]:
    n, c, h, w = inputs[0].shape
    block = node.attributes["blocksize"]
    return [(n, c * block**2, h // block, w // block)]


def _shape(node: Node, inputs: Inputs) -> list[Shape]:
    return [(len(inputs[0].shape[node.attributes.get("start") or 0 : node.attributes.get("end")]),)]


def _constant_of_shape(node: Node, inputs: Inputs) -> list[Shape]:
    return [tuple(argument(node, inputs, "shape", 0) or ())]


def _constant(node: Node, inputs: Inputs) -> list[Shape]:
    [value] = node.attributes.values()
    if value is None or isinstance(value, str):
        raise Unsupported("constants that are text")
    return [value.shape if isinstance(value, Tensor) else np.shape(value)]


def _range(node: Node, inputs: Inputs) -> list[Shape]:
    start, limit, step = (known(inputs, i)[()] for i in range(3))  # type: ignore[index]
    if not max(abs(float(start)), abs(float(limit))) < LARGEST:
        raise ValueError("a range of numbers that are not exact")
    return [(max(0, math.ceil((float(limit) - float(start)) / float(step))),)]


def _named(rule: ShapeRule, names: str) -> dict[str, ShapeRule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, ShapeRule] = {
    **_named(
        _same,
        "Abs Acos Asin Atan BatchNormalization Ceil Celu Clip Cos Cosh CumSum DequantizeLinear "
        "Elu Erf Exp Floor Gelu GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LeakyRelu Log "
        "LogSoftmax LpNormalization LRN Mish Neg Not QuantizeLinear Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh "
        "Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Trilu",
    ),
    **_named(
        _broadcast,
        "Add And BitShift Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mul Or PRelu Pow Sub Sum "
        "Where Xor",
    ),
    **_named(_pool, "AveragePool LpPool MaxPool"),
    **_named(_global_pool, "GlobalAveragePool GlobalLpPool GlobalMaxPool"),
    **_named(
        _reduce,
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
        "ReduceSumSquare",
    ),
    **_named(_arg, "ArgMax ArgMin"),
    **_named(_divide, "Div Mod"),
    **_named(_cast, "Cast CastLike"),
    "Concat": _concat, "Constant": _constant, "ConstantOfShape": _constant_of_shape, "Conv": _conv,
    "ConvTranspose": _conv_transpose, "DepthToSpace": _depth_to_space, "Dropout": _dropout, "Expand": _expand,
    "Flatten": _flatten, "Gather": _gather, "GatherElements": lambda node, inputs: [inputs[1].shape], "Gemm": _gemm,
    "MatMul": _matmul, "Pad": _pad, "Range": _range, "Reshape": _reshape, "Resize": _resize, "Shape": _shape,
    "Size": lambda node, inputs: [()], "Slice": _slice, "SpaceToDepth": _space_to_depth, "Split": _split,
    "Squeeze": _squeeze, "Tile": _tile, "Transpose": _transpose, "Unsqueeze": _unsqueeze,
}  # fmt: skip
OPERATORS = frozenset(RULES)


def cast_size(node: Node, inputs: Inputs) -> int:
    """Return the bytes of an element of the outputs of a node; at least those of float32, a bound from above."""
    if node.operator == "Cast":
        return max(4, np.dtype(DTYPES.get(node.attributes.get("to", 1), "<f8")).itemsize)
    if node.operator in ("Shape", "Size", "ArgMax", "ArgMin", "Constant", "ConstantOfShape", "Range", "CastLike"):
        return 8
    return max([4, *(tensor.item_size for tensor in inputs[:3])])


def output_kind(node: Node, inputs: Inputs) -> int:
    """Return the type of the first output of a node, of ``DTYPES``."""
    match node.operator:
        case "Cast":
            return int(node.attributes["to"])
        case "CastLike" | "Where" | "DequantizeLinear":
            return inputs[1].kind
        case "QuantizeLinear":
            return inputs[2].kind if len(inputs) > 2 and inputs[2].shape != (-1,) else UINT8
        case "Shape" | "Size" | "ArgMax" | "ArgMin":
            return INT64
        case "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" | "Not":
            return BOOL
        case "Constant":
            [(name, value)] = node.attributes.items()
            return value.kind if isinstance(value, Tensor) else INT64 if "int" in name else FLOAT
        case "ConstantOfShape":
            value = node.attributes.get("value")
            return FLOAT if value is None else int(value.kind)
    return inputs[0].kind
