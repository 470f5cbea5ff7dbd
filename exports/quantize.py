"""An exported generator in int8 for CPUs and in fp16 for GPUs, shipped only where it draws nearly what fp32 draws.

int8: static quantisation, weights per channel, activations by ranges that are measured while it draws (``ranges``).
How near it is: PSNR against the images of the fp32 file, the mean over images, at least ``GATE`` decibels.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from onnx import NodeProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel
from pydantic import BaseModel

from gan_serve.exports.graph import Array, Graph, attribute, copy_of
from gan_serve.images.compare import psnr
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.session import open_session, run_in_batches

GATE = 40.0  # decibels, the mean over images
FLOOR = 20.0  # decibels, each image: a mean over many that are identical would hide one that is lost
HOPELESS = GATE - 10  # below this, no few layers make up for it
MOST_IN_FP32 = 0.5  # share of the multiplications beyond which int8 is not worth a file
BATCH = 16
VALUES = 100_000  # of an activation, to choose its range from
LOW = (0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3)  # shares of the values that a range may cut off
HIGH = (0.97, 0.99, 0.997, 0.999, 0.9997, 0.9999, 1)
EXPONENTS = (0.9, 1.1, 1.4, 2.0)

LAYERS = ("Conv", "Gemm")
ACTIVATIONS = ("Relu", "LeakyRelu")
MOVES = ("Reshape", "Transpose", "Slice", "Concat")

Bits = Literal[7, 8]
Inputs = Mapping[str, Any]
Ranges = dict[str, tuple[float, float]]
Function = Callable[[Array], Array]


class Fidelity(BaseModel):
    """How far the images of another precision are from those of fp32: PSNR in decibels, over seeds from 0 on."""

    psnr_mean: float
    psnr_min: float
    max_difference: int  # grey levels, in any pixel
    images: int
    gate: float = GATE
    weight_bits: int | None = None
    layers_in_fp32: tuple[str, ...] = ()

    @property
    def is_near(self) -> bool:
        """Whether the file may be shipped."""
        return self.psnr_mean >= self.gate and self.psnr_min >= FLOOR


class Reduced(NamedTuple):
    """A file of another precision, and how far it is from fp32."""

    model: bytes
    fidelity: Fidelity


def to_int8(model: onnx.ModelProto, calibration: Inputs, inputs: Inputs, reference: UInt8Array) -> Reduced | None:
    """Quantise an optimised model; None where the gate cannot be held.

    Weights of 7 bits are tried first: products of 8 and 8 bits saturate on x86 CPUs without VNNI, those of 8 and 7 bits
    nowhere. Then 8 bits. Then a layer is kept in fp32, the one with the least work of those that would do, or else the
    one that helps most, and another one beside it.

    Args:
        model: as ``optimize(model, "int8")`` leaves it.
        calibration: what the ranges are measured on, arrays [N, ...] by input; other latents than ``inputs``.
        inputs: what the gate is measured on.
        reference: the images of the fp32 file for ``inputs``, uint8 [N, H, W, C].
    """
    shares = multiplications(model)
    names = weight_names(model)
    candidates = [ranges(model, calibration, exponent) for exponent in EXPONENTS]

    def best(keep: Collection[str], bits: Bits) -> Reduced:
        attempts = (_quantise(model, calibration, candidate, keep, bits) for candidate in candidates)
        reduced = [Reduced(attempt, measure(attempt, inputs, reference)) for attempt in attempts]
        chosen = max(reduced, key=lambda one: one.fidelity.psnr_mean)
        facts = {"weight_bits": bits, "layers_in_fp32": tuple(sorted({names[layer] for layer in keep}))}
        return Reduced(chosen.model, chosen.fidelity.model_copy(update=facts))

    bit_choices: tuple[Bits, ...] = (7, 8)
    for bits in bit_choices:
        whole = best((), bits)
        if whole.fidelity.is_near:
            return whole
    if whole.fidelity.psnr_mean < HOPELESS:
        return None
    keep: list[str] = []
    while affordable := [
        layer
        for layer in shares
        if layer not in keep and shares[layer] + sum(map(shares.__getitem__, keep)) <= MOST_IN_FP32
    ]:
        tried = {layer: best([*keep, layer], 8) for layer in affordable}
        if holding := [layer for layer in affordable if tried[layer].fidelity.is_near]:
            return tried[min(holding, key=shares.__getitem__)]
        keep.append(max(affordable, key=lambda layer: tried[layer].fidelity.psnr_mean))
    return None


def to_fp16(model: onnx.ModelProto, inputs: Inputs, reference: UInt8Array) -> Reduced | None:
    """A model in half precision, with inputs and pixels as before; None where the gate is not held.

    Args:
        model: as torch exports it: the forms of ``optimize`` are for CPUs.
        inputs, reference: as for ``to_int8``.
    """
    converted = OnnxModel(convert_float_to_float16(_with_own_scales(model), keep_io_types=True))
    converted.topological_sort(is_deterministic=True)  # the casts of inputs were put last
    half = bytes(converted.model.SerializeToString(deterministic=True))
    fidelity = measure(half, inputs, reference)
    return Reduced(half, fidelity) if fidelity.is_near else None


def measure(model: bytes, inputs: Inputs, reference: UInt8Array) -> Fidelity:
    """Draw on the CPU and compare with ``reference``, uint8 [N, H, W, C]."""
    session, _ = open_session(model, "cpu")
    images = run_in_batches(session, inputs)
    decibels = psnr(images, reference)
    return Fidelity(
        psnr_mean=math.floor(decibels.mean() * 100) / 100,
        psnr_min=math.floor(decibels.min() * 100) / 100,
        max_difference=int(np.abs(images.astype(np.int16) - reference).max()),
        images=len(images),
    )


def ranges(model: onnx.ModelProto, calibration: Inputs, exponent: float) -> Ranges:
    """The range of each activation that 256 steps span best: least mean of |error|**exponent, as seen from behind.

    The largest values are rare and cost all others their precision, so some are cut off. An error counts as what
    LeakyReLU or tanh, where one comes behind, leaves of it. 2 is the mean square error; less cuts off more.
    """
    graph = Graph(model)
    seen: dict[str, Function] = {}  # by the value that is quantised
    for layer in graph.find(*LAYERS):
        activation = graph.after(layer, *ACTIVATIONS)
        if activation is None or activation.op_type == "LeakyRelu":
            seen[layer.output[0]] = _function(graph, layer)
        if activation is not None:
            seen[activation.output[0]] = _function(graph, activation)
    chosen = {
        name: _best_range(values, seen[name], exponent)
        for name, values in _values(model, list(seen), calibration).items()
    }
    for node in graph.find(*MOVES):
        parts = [name for name in node.input if name in chosen]
        if parts:
            joint = min(chosen[name][0] for name in parts), max(chosen[name][1] for name in parts)
            chosen |= dict.fromkeys([*parts, node.output[0]], joint)  # one range, or Concat would round once more
    return chosen


def _function(graph: Graph, node: NodeProto) -> Function:
    """What comes behind a node, past what only moves values: LeakyReLU, tanh, or nothing that matters."""
    behind = graph.after(node, *MOVES, "LeakyRelu", "Tanh")
    while behind is not None and behind.op_type in MOVES:
        behind = graph.after(behind, *MOVES, "LeakyRelu", "Tanh")
    if behind is None:
        return lambda x: x
    if behind.op_type == "Tanh":
        return np.tanh
    slope = attribute(behind, "alpha", 0.01)
    return lambda x: np.where(x < 0, slope * x, x)


def multiplications(model: onnx.ModelProto) -> dict[str, float]:
    """The share of each layer in the multiplications of an image, by ``layer_of``."""
    graph = Graph(model)
    counts: dict[str, int] = {}
    for node in graph.find(*LAYERS):
        weight = graph.constants.get(node.input[1])
        if weight is not None:
            pixels = int(np.prod(graph.shape(node.output[0])[2:]))
            counts[layer_of(node)] = counts.get(layer_of(node), 0) + weight.size * pixels
    return {layer: count / sum(counts.values()) for layer, count in counts.items()}


def weight_names(model: onnx.ModelProto) -> dict[str, str]:
    """What torch calls each layer, by ``layer_of``."""
    return {
        layer_of(node): str(node.input[1]).removeprefix("generator.").partition(".weight")[0]
        for node in Graph(model).find(*LAYERS)
    }


def layer_of(node: NodeProto) -> str:
    """The layer that a node belongs to: all nodes that replaced one share its name, up to the slash."""
    return node.name.partition("/")[0]


def _best_range(values: Array, seen: Function, exponent: float) -> tuple[float, float]:
    lows = {min(0.0, float(low)) for low in np.quantile(values, LOW)}
    highs = {max(0.0, float(high)) for high in np.quantile(values, HIGH)}
    expected = seen(values)

    def error(span: tuple[float, float]) -> float:
        step = (span[1] - span[0]) / 255 or 1.0
        zero = round(-span[0] / step)
        rounded = (np.clip(np.round(values / step) + zero, 0, 255) - zero) * step
        return float((np.abs(seen(rounded) - expected) ** exponent).mean())

    return min(itertools.product(sorted(lows), sorted(highs)), key=error)


def _values(model: onnx.ModelProto, names: list[str], calibration: Inputs) -> dict[str, Array]:
    """Some of the values that activations take, by name."""
    watched = copy_of(model)
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    session, _ = open_session(watched.SerializeToString(), "cpu")
    batches = list(_batches(calibration))
    seen: dict[str, list[Array]] = {name: [] for name in names}
    for batch in batches:
        for name, values in zip(names, session.run(names, batch), strict=True):
            step = values.size * len(batches) // VALUES | 1  # odd, so that it meets every column of a map
            seen[name].append(values.ravel()[::step])
    return {name: np.concatenate(parts) for name, parts in seen.items()}


def _quantise(
    model: onnx.ModelProto, calibration: Inputs, activations: Ranges, keep: Collection[str], bits: Bits
) -> bytes:
    overrides = {
        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in activations.items()
    }
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        path = Path(scratch) / "int8.onnx"
        quantize_static(
            copy_of(model),
            path,
            _Reader(_batches(calibration)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=bits == 7,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=[*LAYERS, *ACTIVATIONS, *MOVES],
            nodes_to_exclude=[node.name for node in model.graph.node if layer_of(node) in keep],
            extra_options={"TensorQuantOverrides": overrides},
        )
        return bytes(onnx.load(path).SerializeToString(deterministic=True))


def _batches(inputs: Inputs) -> Iterator[dict[str, Any]]:
    for start in range(0, len(inputs["z"]), BATCH):
        yield {name: values[start : start + BATCH] for name, values in inputs.items()}


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Batches, as the quantiser asks for them."""

    def __init__(self, batches: Iterable[dict[str, Any]]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, None after the last."""
        return next(self._batches, None)


def _with_own_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which no two Resize share their scales: the converter would name what it adds for both alike."""
    copy = copy_of(model)
    constants = {tensor.name: tensor for tensor in copy.graph.initializer}
    resizes = [node for node in copy.graph.node if node.op_type == "Resize" and node.input[2] in constants]
    for number, node in enumerate(resizes):
        scales = copy.graph.initializer.add()
        scales.CopyFrom(constants[node.input[2]])
        scales.name = node.input[2] = f"{node.input[2]}_{number}"
    return copy


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the quantiser tells its developers from the user's terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
