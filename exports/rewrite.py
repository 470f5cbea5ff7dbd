"""Rewrite an exported generator into the form that ONNX Runtime computes fastest on CPUs, equal except for rounding.

``optimize`` runs these passes in order (benchmarks/inference.md has their effect):

fold_constants              weights that are products of constants, such as those with an equalised learning rate
norm_into_dense             folds BatchNorm into the dense layer before it
upsampling_to_transposed    nearest-neighbour upsampling and a 3x3 convolution become a 4x4 transposed one (4/9 of the
                            work)
dense_to_nhwc               orders the columns of the first layer as [H, W, C]
stride_one_to_convolution   a transposed convolution of stride 1 becomes a convolution with the flipped kernel
transposed_to_subpixel      one of stride 2 becomes a convolution for each of the four output phases and a pixel shuffle

ONNX Runtime has fast kernels for convolutions in fp32 and int8; those for transposed ones are slow or missing. The
shuffle is written as Transpose to NHWC, Reshape and Transpose, because the runtime cancels these against its own layout
changes.
A pass leaves the layers that it does not apply to unchanged. ``training/weights_from_onnx.py`` reads the weights of a
rewritten file, so a new pass needs its inverse there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import onnx
from onnx import NodeProto
from onnxscript.optimizer import fold_constants as fold_onnx_constants

from gan_serve.exports.graph import Array, Builder, Graph, attribute
from gan_serve.training.networks.subpixel import NEAREST_TAPS, PHASES, phase_taps

Pads = tuple[int, int, int, int]  # top, left, bottom, right
Kernels = Literal["fp32", "int8"]

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
ACTIVATIONS = ("Relu", "LeakyRelu")
SMALL = 8  # a layer with an input up to this width and height becomes a convolution for each phase
# Up to so many output channels, as images have, a convolution leaves most of a vector unused.
FEW = {"fp32": 4, "int8": 2}
NO_LIMIT = 2**31


def optimize(model: onnx.ModelProto, kernels: Kernels = "fp32") -> None:
    """Rewrite an exported generator, in place, for ONNX Runtime's CPU kernels.

    Args:
        model: as torch exports it.
        kernels: the kernels that it will run on, ``fp32`` or ``int8``. There are no int8 kernels for transposed
            convolutions, so for int8 more of them are rewritten.
    """
    fold_constants(model)
    graph = Graph(model)
    norm_into_dense(graph)
    upsampling_to_transposed(graph)
    dense_to_nhwc(graph)
    stride_one_to_convolution(graph)
    transposed_to_subpixel(graph, kernels)
    graph.write(model)


def fold_constants(model: onnx.ModelProto) -> None:
    """Compute every value that does not depend on an input, whatever its size."""
    fold_onnx_constants(model, input_size_limit=NO_LIMIT, output_size_limit=NO_LIMIT)


def norm_into_dense(graph: Graph) -> None:
    """Fold the scale and shift of a BatchNormalization into the Gemm before it, through a Reshape to [N, C, H, W]."""
    for norm in graph.find("BatchNormalization"):
        reshape = graph.before(norm, "Reshape")
        dense = reshape and graph.before(reshape, "Gemm")
        layer = dense and _Dense.of(graph, dense)
        known = all(name in graph.constants for name in norm.input[1:])
        if not (reshape and dense and layer and known) or not _is_of_each_image(graph, reshape, layer):
            continue
        gamma, beta, mean, variance = (graph.constants[name] for name in norm.input[1:])
        scale = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
        columns = len(layer.bias) // len(scale)  # columns of each channel
        scale, shift = np.repeat(scale, columns), np.repeat(beta - mean * scale, columns)
        with graph.replacing(dense, reshape, norm) as op:
            x = _dense(op, dense.input[0], layer, layer.weight * scale[:, None], layer.bias * scale + shift)
            op("Reshape", x, reshape.input[1])


def upsampling_to_transposed(graph: Graph) -> None:
    """Replace nearest-neighbour upsampling by 2 and a 3x3 convolution by a 4x4 transposed convolution of stride 2.

    In each of the four output phases the nine taps read only 2x2 input pixels, so that taps can be added up
    (``NEAREST_TAPS``).
    """
    for convolution in graph.find("Conv"):
        resize = graph.before(convolution, "Resize")
        if resize is None or not _repeats_pixels(graph, resize) or not _keeps_size(convolution):
            continue
        weight, bias = _constants(graph, convolution)
        if weight is None or weight.shape[2:] != (3, 3) or (bias is None and len(convolution.input) > 2):
            continue
        kernel = np.einsum("ka,lb,oiab->iokl", NEAREST_TAPS, NEAREST_TAPS, weight)
        with graph.replacing(resize, convolution) as op:
            inputs = [resize.input[0], op.constant(convolution.input[1], kernel)]
            if bias is not None:
                inputs.append(convolution.input[2])
            op("ConvTranspose", *inputs, kernel_shape=(4, 4), strides=(2, 2), pads=(1, 1, 1, 1))


def dense_to_nhwc(graph: Graph) -> None:
    """Reorder the columns of a Gemm before a Reshape to [N, C, H, W] to give [N, H, W, C], and add a Transpose."""
    for reshape in graph.find("Reshape"):
        activation = graph.before(reshape, *ACTIVATIONS)
        dense = graph.before(activation or reshape, "Gemm")
        layer = dense and _Dense.of(graph, dense)
        shape = graph.shape(reshape.output[0])
        if not (dense and layer) or not _is_of_each_image(graph, reshape, layer) or len(shape) != 4 or shape[1] == 1:
            continue
        _, channels, height, width = shape
        order = np.arange(len(layer.bias)).reshape(channels, height, width).transpose(1, 2, 0).ravel()
        with graph.replacing(*filter(None, (dense, activation, reshape))) as op:
            x = _dense(op, dense.input[0], layer, layer.weight[order], layer.bias[order])
            x = op("Reshape", op.again(activation, x), op.shape(-1, height, width, channels))
            op("Transpose", x, perm=TO_NCHW)


def stride_one_to_convolution(graph: Graph) -> None:
    """Replace a transposed convolution of stride 1 by a convolution with the flipped kernel and padding k-1-p."""
    for node in graph.find("ConvTranspose"):
        layer = _Transposed.of(graph, node)
        if layer is None or layer.stride != 1:
            continue
        weight = layer.weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
        pad = layer.size - 1 - layer.padding
        with graph.replacing(node) as op:
            _convolution(op, node.input[0], layer, weight, (pad, pad, pad, pad))


def transposed_to_subpixel(graph: Graph, kernels: Kernels = "fp32") -> None:
    """Replace transposed convolutions that double the image by convolutions and a pixel shuffle.

    See Shi et al. 2016 (arXiv:1609.05158). An activation moves before the shuffle, where ONNX Runtime fuses it.
    """
    forms = {"phases": _phases, "cropped": _cropped}
    for node in graph.find("ConvTranspose"):
        layer, shape = _Transposed.of(graph, node), graph.shape(node.input[0])
        if layer is None or layer.stride != 2 or layer.size == 1 or len(shape) != 4 or 0 in shape[2:]:
            continue
        _, _, height, width = shape
        form = _form(layer, max(height, width), kernels)
        if form == "plain":
            continue
        activation = graph.after(node, *ACTIVATIONS)
        with graph.replacing(*filter(None, (node, activation))) as op:
            pixels = forms[form](op, node.input[0], layer, activation, (height, width))
            op("Transpose", pixels, perm=TO_NCHW)


def _form(layer: _Transposed, size: int, kernels: Kernels) -> Literal["plain", "phases", "cropped"]:
    """Return the form that was measured as the fastest for maps of ``size`` x ``size`` (benchmarks/inference.md).

    ``phases``: a convolution for each output phase. ``cropped``: one convolution for all phases; its 2x2 windows extend
    beyond the edge, so that a border of one pixel is cropped. ``plain``: unchanged.
    """
    if layer.channels < FEW[kernels]:
        return "plain"
    return "cropped" if layer.size == 4 and size > SMALL else "phases"


def _phases(op: Builder, x: str, layer: _Transposed, activation: NodeProto | None, size: tuple[int, int]) -> str:
    outputs = []
    for row, column in PHASES:
        kernel, pads = layer.phase(row, column)
        outputs.append(op.again(activation, _convolution(op, x, layer, kernel, pads, f"_{row}{column}")))
    return _shuffle(op, op("Concat", *outputs, axis=1), layer.channels, *size)


def _cropped(op: Builder, x: str, layer: _Transposed, activation: NodeProto | None, size: tuple[int, int]) -> str:
    # Window i covers the pixels i-1 and i: it gives the output rows 2i-1, which is odd, and 2i.
    kernel = np.concatenate([layer.phase(row, column)[0] for row, column in reversed(PHASES)])
    x = op.again(activation, _convolution(op, x, layer, kernel, (1, 1, 1, 1)))
    height, width = size
    pixels = _shuffle(op, x, layer.channels, height + 1, width + 1)
    return op("Slice", pixels, op.shape(1, 1), op.shape(2 * height + 1, 2 * width + 1), op.shape(1, 2))


def _shuffle(op: Builder, x: str, channels: int, height: int, width: int) -> str:
    """Shuffle [N, 4C, H, W], which has a block of C channels for each phase, to [N, 2H, 2W, C]."""
    x = op("Reshape", op("Transpose", x, perm=TO_NHWC), op.shape(-1, height, width, 2, 2, channels))
    return op("Reshape", op("Transpose", x, perm=(0, 1, 3, 2, 4, 5)), op.shape(-1, 2 * height, 2 * width, channels))


def _convolution(op: Builder, x: str, layer: _Transposed, weight: Array, pads: Pads, suffix: str = "") -> str:
    """Add a convolution with ``weight`` [k·C, in, h, w] and the layer's bias for each block of C channels."""
    bias = np.tile(layer.bias, len(weight) // layer.channels)
    inputs = x, op.constant(layer.name + suffix, weight), op.constant(f"{layer.name}_bias", bias)
    return op("Conv", *inputs, kernel_shape=weight.shape[2:], pads=pads)


def _dense(op: Builder, x: str, layer: _Dense, weight: Array, bias: Array) -> str:
    return op("Gemm", x, op.constant(layer.name, weight), op.constant(f"{layer.name}_bias", bias), transB=1)


def _is_of_each_image(graph: Graph, reshape: NodeProto, layer: _Dense) -> bool:
    """Return True if a Reshape after a dense layer splits its columns and keeps the batch dimension."""
    return int(np.prod(graph.shape(reshape.output[0])[1:])) == len(layer.bias)


def _keeps_size(convolution: NodeProto) -> bool:
    """Return True if a 3x3 convolution has stride 1, no groups, and an output of the size of its input."""
    rest = attribute(convolution, "strides", [1, 1]), attribute(convolution, "dilations", [1, 1])
    plain = rest == ([1, 1], [1, 1]) and attribute(convolution, "group", 1) == 1
    return plain and attribute(convolution, "pads") == [1, 1, 1, 1]


def _repeats_pixels(graph: Graph, resize: NodeProto) -> bool:
    """Return True if a Resize repeats each pixel as 2x2."""
    scales = graph.constants.get(resize.input[2]) if len(resize.input) == 3 else None
    kind = [attribute(resize, name) for name in ("mode", "coordinate_transformation_mode", "nearest_mode")]
    return kind == [b"nearest", b"asymmetric", b"floor"] and scales is not None and scales.tolist() == [1, 1, 2, 2]


def _constants(graph: Graph, node: NodeProto) -> tuple[Array | None, Array | None]:
    """Return the weight and the bias of a layer; None for one that is missing or not constant."""
    weight, bias = (graph.constants.get(name) for name in (*node.input[1:], "")[:2])
    return weight, bias


@dataclass(frozen=True)
class _Dense:
    """A Gemm x W^T + b: weight [outputs, inputs], bias [outputs]."""

    name: str
    weight: Array
    bias: Array

    @classmethod
    def of(cls, graph: Graph, node: NodeProto) -> Self | None:
        """Return the constants of a Gemm; None if they are not constant or it has another form."""
        weight, bias = _constants(graph, node)
        names = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
        plain = [attribute(node, name, default) for name, default in names.items()] == [1, 1, 0, 1]
        if weight is None or not plain or (bias is None and len(node.input) > 2):
            return None
        if bias is None:
            bias = np.zeros(len(weight), np.float32)
        return cls(node.input[1], weight, bias) if bias.shape == weight.shape[:1] else None


@dataclass(frozen=True)
class _Transposed:
    """A square transposed convolution whose output is ``stride`` times as large as its input.

    weight [in, channels, size, size], bias [channels].
    """

    name: str
    weight: Array
    bias: Array
    stride: int
    padding: int

    @property
    def channels(self) -> int:
        """Channels of the output."""
        return int(self.weight.shape[1])

    @property
    def size(self) -> int:
        """Width and height of the kernel."""
        return int(self.weight.shape[2])

    @classmethod
    def of(cls, graph: Graph, node: NodeProto) -> Self | None:
        """Return the constants of a ConvTranspose; None if they are not constant or it has another form."""
        weight, bias = _constants(graph, node)
        if weight is None or weight.ndim != 4 or (bias is None and len(node.input) > 2):
            return None
        stride, padding = attribute(node, "strides", [1, 1]), attribute(node, "pads", [0, 0, 0, 0])
        extra = attribute(node, "output_padding", [0, 0])
        square = len({*stride}) == len({*padding}) == len({*extra}) == 1 and weight.shape[2] == weight.shape[3]
        plain = attribute(node, "group", 1) == 1 and attribute(node, "dilations", [1, 1]) == [1, 1]
        plain = plain and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET" and not attribute(node, "output_shape")
        scales = weight.shape[2] + extra[0] - 2 * padding[0] == stride[0] > extra[0]
        if not (square and plain and scales):
            return None
        zeros = np.zeros(weight.shape[1], np.float32)
        return cls(node.input[1], weight, zeros if bias is None else bias, stride[0], padding[0])

    def phase(self, row: int, column: int) -> tuple[Array, Pads]:
        """Return kernel and padding of the convolution for the output pixels (2i + row, 2j + column)."""
        (rows, top, bottom), (columns, left, right) = self._taps(row), self._taps(column)
        kernel = self.weight[:, :, rows][:, :, :, columns].transpose(1, 0, 2, 3)
        return kernel, (top, left, bottom, right)

    def _taps(self, phase: int) -> tuple[list[int], int, int]:
        """Return the kernel rows of an output phase, in the order of their input pixels, and the padding."""
        rows = phase_taps(self.size, self.stride, self.padding, phase)
        first, last = ((phase + self.padding - row) // self.stride for row in (rows[0], rows[-1]))
        return rows, -first, last
