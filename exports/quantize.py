"""Convert an exported generator to int8 for CPUs and to fp16 for GPUs, where the images stay close to those of fp32.

int8: static quantisation, weights per channel, activations with ranges that are measured on calibration latents
(``ranges``). The images are compared with those of the fp32 file by PSNR: the mean over images must be at least
``MEAN_PSNR`` decibels and the first percentile at least ``LOW_PSNR``.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
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
from gan_serve.exports.int8_weights import store_weights_in_int8
from gan_serve.images.compare import psnr
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.latents import FloatArray
from gan_serve.sampling.session import open_session, run_in_batches

MEAN_PSNR = 40.0  # decibels, the mean over images
LOW_PSNR = 30.0  # decibels, the first percentile: a mean would hide a few bad images among many good ones
SEARCH_IMAGES = 256  # on which candidates are compared; the chosen one is then measured on all images
TOO_FAR = MEAN_PSNR - 10  # decibels; below it, keeping a few layers in fp32 does not help enough
MAX_IN_FP32 = 0.5  # share of the multiplications; with more of them in fp32, an int8 file is not worthwhile
LARGEST_LATENT = 5.0  # the largest number of a latent that int8 represents; one in two million is larger
BATCH = 16
VALUES = 100_000  # of an activation, from which its range is chosen
# Candidates for the share of values that a range clips.
LOW = (0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3)
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
    """PSNR in decibels of the images of another precision against those of fp32, over seeds from 0 on.

    ``psnr_p1`` is the first percentile over images; files of earlier versions do not have it.
    """

    psnr_mean: float
    psnr_p1: float | None = None
    psnr_min: float
    max_difference: int  # grey levels, of any pixel
    images: int
    gate: float = MEAN_PSNR
    gate_p1: float | None = None
    weight_bits: int | None = None
    layers_in_fp32: tuple[str, ...] = ()

    @property
    def margin(self) -> float:
        """Decibels by which the mean and the first percentile exceed their bounds; the smaller of the two."""
        low = -math.inf if self.psnr_p1 is None else self.psnr_p1
        return min(self.psnr_mean - MEAN_PSNR, low - LOW_PSNR)

    @property
    def is_near(self) -> bool:
        """True if the images are close enough to those of fp32."""
        return self.margin >= 0


class LowPrecision(NamedTuple):
    """A file of another precision, and its images compared with those of fp32."""

    model: bytes
    fidelity: Fidelity


def with_large_latents(latents: FloatArray) -> FloatArray:
    """Return calibration latents in which the largest number of each is set to ±``LARGEST_LATENT``.

    The range of ``z`` is that of the calibration latents. A few hundred latents do not exceed 3.8, so larger numbers in
    other latents would be clipped.

    Args:
        latents: float32 [N, z_dim].
    """
    enlarged = latents.copy()
    rows, columns = np.arange(len(latents)), np.abs(latents).argmax(1)
    enlarged[rows, columns] = np.copysign(LARGEST_LATENT, latents[rows, columns])
    return enlarged


def to_int8(model: onnx.ModelProto, calibration: Inputs, inputs: Inputs, reference: UInt8Array) -> LowPrecision | None:
    """Quantise an optimised model; return None if its images are not close enough to those of fp32.

    Weights of 7 bits are tried first, because products of 8 by 8 bits saturate on x86 CPUs without VNNI and products of
    8 by 7 bits do not. Weights of 8 bits come next. Then layers are computed in fp32 (``int8_weights.py``), one more at
    a time: the cheapest layer that suffices, or else the layer that helps most.

    Args:
        model: the result of ``optimize(model, "int8")``.
        calibration: inputs on which the ranges are measured, arrays [N, ...] by name; other latents than ``inputs``.
        inputs: inputs for which the images are compared.
        reference: the images of the fp32 file for ``inputs``, uint8 [N, H, W, C].
    """
    shares, names = multiplications(model), weight_names(model)
    search = _Search(model, calibration, inputs, reference)
    bit_choices: tuple[Bits, ...] = (7, 8)
    for bits in bit_choices:
        whole = search.best((), bits)
        if whole.fidelity.is_near:
            return whole
    if whole.fidelity.psnr_mean < TOO_FAR:
        return None
    keep: list[str] = []
    while affordable := [
        layer
        for layer in shares
        if layer not in keep and shares[layer] + sum(map(shares.__getitem__, keep)) <= MAX_IN_FP32
    ]:
        tried = {layer: search.best([*keep, layer], 8) for layer in affordable}
        if sufficient := [layer for layer in affordable if tried[layer].fidelity.is_near]:
            chosen = min(sufficient, key=shares.__getitem__)
            kept = {"layers_in_fp32": tuple(sorted({names[layer] for layer in [*keep, chosen]}))}
            return tried[chosen]._replace(fidelity=tried[chosen].fidelity.model_copy(update=kept))
        keep.append(max(affordable, key=lambda layer: tried[layer].fidelity.margin))
    return None


@dataclass
class _Search:
    """A search over quantised forms of a model, which are compared with fp32; for the arguments see ``to_int8``."""

    model: onnx.ModelProto
    calibration: Inputs
    inputs: Inputs
    reference: UInt8Array

    def __post_init__(self) -> None:
        self._candidates = [ranges(self.model, self.calibration, exponent) for exponent in EXPONENTS]
        self._few = {name: values[:SEARCH_IMAGES] for name, values in self.inputs.items()}

    def best(self, keep: Collection[str], bits: Bits) -> LowPrecision:
        """Quantise with each candidate for the ranges and return the file that is closest to fp32.

        All candidates are compared on ``SEARCH_IMAGES`` images, and the best one on all images if it can be close
        enough.

        Args:
            keep: layers that stay in fp32, named as by ``layer_of``.
            bits: bits of the weights.
        """
        models = [_quantise(self.model, self.calibration, ranges, keep, bits) for ranges in self._candidates]
        few = [measure(model, self._few, self.reference[:SEARCH_IMAGES]) for model in models]
        chosen = max(range(len(models)), key=lambda number: few[number].margin)
        fidelity = few[chosen]
        if fidelity.psnr_mean >= MEAN_PSNR - 1:
            fidelity = measure(models[chosen], self.inputs, self.reference)
        return LowPrecision(models[chosen], fidelity.model_copy(update={"weight_bits": bits}))


def to_fp16(model: onnx.ModelProto, inputs: Inputs, reference: UInt8Array) -> LowPrecision | None:
    """Convert a model to half precision, except its inputs and pixels; return None if it is not close enough to fp32.

    Args:
        model: the model as torch exports it; ``optimize`` rewrites for CPUs.
        inputs, reference: as for ``to_int8``.
    """
    converted = OnnxModel(convert_float_to_float16(_with_own_scales(model), keep_io_types=True))
    converted.topological_sort(is_deterministic=True)  # the converter appends the casts of inputs at the end
    half = bytes(converted.model.SerializeToString(deterministic=True))
    fidelity = measure(half, inputs, reference)
    return LowPrecision(half, fidelity) if fidelity.is_near else None


def measure(model: bytes, inputs: Inputs, reference: UInt8Array) -> Fidelity:
    """Compare the images that a model computes on the CPU with ``reference``, uint8 [N, H, W, C]."""
    session, _ = open_session(model, "cpu")
    images = run_in_batches(session, inputs)
    decibels = psnr(images, reference)
    return Fidelity(
        psnr_mean=_rounded_down(decibels.mean()),
        psnr_p1=_rounded_down(np.percentile(decibels, 1)),
        psnr_min=_rounded_down(decibels.min()),
        max_difference=int(np.abs(images.astype(np.int16) - reference).max()),
        images=len(images),
        gate_p1=LOW_PSNR,
    )


def _rounded_down(decibels: float) -> float:
    return math.floor(decibels * 100) / 100


def ranges(model: onnx.ModelProto, calibration: Inputs, exponent: float) -> Ranges:
    """Return the range of each activation that minimises the mean of |error|**exponent with 256 steps.

    The largest values are rare, and representing them makes all steps larger, so some are clipped. If LeakyReLU or tanh
    follows, the error is measured after it. An exponent of 2 is the mean squared error; a smaller one clips more.
    """
    graph = Graph(model)
    outputs: dict[str, Function] = {}  # the function that follows each quantised value
    for layer in graph.find(*LAYERS):
        activation = graph.after(layer, *ACTIVATIONS)
        if activation is None or activation.op_type == "LeakyRelu":
            outputs[layer.output[0]] = _function(graph, layer)
        if activation is not None:
            outputs[activation.output[0]] = _function(graph, activation)
    chosen = {
        name: _best_range(values, outputs[name], exponent)
        for name, values in _values(model, list(outputs), calibration).items()
    }
    for node in graph.find(*MOVES):
        parts = [name for name in node.input if name in chosen]
        if parts:
            joint = min(chosen[name][0] for name in parts), max(chosen[name][1] for name in parts)
            # One range for all inputs, or Concat would round again.
            chosen |= dict.fromkeys([*parts, node.output[0]], joint)
    return chosen


def _function(graph: Graph, node: NodeProto) -> Function:
    """Return the LeakyReLU or tanh that follows a node, skipping nodes that only move values; else the identity."""
    following = graph.after(node, *MOVES, "LeakyRelu", "Tanh")
    while following is not None and following.op_type in MOVES:
        following = graph.after(following, *MOVES, "LeakyRelu", "Tanh")
    if following is None:
        return lambda x: x
    if following.op_type == "Tanh":
        return np.tanh
    slope = attribute(following, "alpha", 0.01)
    return lambda x: np.where(x < 0, slope * x, x)


def multiplications(model: onnx.ModelProto) -> dict[str, float]:
    """Return each layer's share of the multiplications for an image, by the name from ``layer_of``."""
    graph = Graph(model)
    counts: dict[str, int] = {}
    for node in graph.find(*LAYERS):
        weight = graph.constants.get(node.input[1])
        if weight is not None:
            pixels = max(1, int(np.prod(graph.shape(node.output[0])[2:])))  # open sizes count as one pixel
            counts[layer_of(node)] = counts.get(layer_of(node), 0) + weight.size * pixels
    return {layer: count / sum(counts.values()) for layer, count in counts.items()}


def weight_names(model: onnx.ModelProto) -> dict[str, str]:
    """Return torch's name for each layer, by the name from ``layer_of``."""
    return {
        layer_of(node): str(node.input[1]).removeprefix("generator.").partition(".weight")[0]
        for node in Graph(model).find(*LAYERS)
    }


def layer_of(node: NodeProto) -> str:
    """Return the layer of a node: the nodes that replaced one node share its name up to the slash."""
    return node.name.partition("/")[0]


def _best_range(values: Array, function: Function, exponent: float) -> tuple[float, float]:
    lows = {min(0.0, float(low)) for low in np.quantile(values, LOW)}
    highs = {max(0.0, float(high)) for high in np.quantile(values, HIGH)}
    expected = function(values)

    def error(span: tuple[float, float]) -> float:
        step = (span[1] - span[0]) / 255 or 1.0
        zero = round(-span[0] / step)
        rounded = (np.clip(np.round(values / step) + zero, 0, 255) - zero) * step
        return float((np.abs(function(rounded) - expected) ** exponent).mean())

    return min(itertools.product(sorted(lows), sorted(highs)), key=error)


def _values(model: onnx.ModelProto, names: list[str], calibration: Inputs) -> dict[str, Array]:
    """Return some of the values of each activation, by name."""
    watched = copy_of(model)
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    session, _ = open_session(watched.SerializeToString(), "cpu")
    batches = list(_batches(calibration))
    seen: dict[str, list[Array]] = {name: [] for name in names}
    for batch in batches:
        for name, values in zip(names, session.run(names, batch), strict=True):
            step = values.size * len(batches) // VALUES | 1  # odd, so that every column of a map is sampled
            seen[name].append(values.ravel()[::step])
    return {name: np.concatenate(parts) for name, parts in seen.items()}


def _quantise(
    model: onnx.ModelProto, calibration: Inputs, activations: Ranges, keep: Collection[str], bits: Bits
) -> bytes:
    overrides = {
        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in activations.items()
    }
    in_fp32 = [node.name for node in model.graph.node if layer_of(node) in keep]
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        source, path = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
        onnx.save_model(model, source)  # a file: ONNX Runtime 1.20 damaged a model in memory
        quantize_static(
            source,
            path,
            _Reader(_batches(calibration)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=bits == 7,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=[*LAYERS, *ACTIVATIONS, *MOVES],
            nodes_to_exclude=in_fp32,
            extra_options={"TensorQuantOverrides": overrides},
        )
        quantised = onnx.load(path)
    store_weights_in_int8(quantised, in_fp32)
    return bytes(quantised.SerializeToString(deterministic=True))


def _batches(inputs: Inputs) -> Iterator[dict[str, Any]]:
    for start in range(0, len(next(iter(inputs.values()))), BATCH):
        yield {name: values[start : start + BATCH] for name, values in inputs.items()}


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Batches in the form that the quantiser of ONNX Runtime reads."""

    def __init__(self, batches: Iterable[dict[str, Any]]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch; None after the last one."""
        return next(self._batches, None)


def _with_own_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which each Resize has its own scales; the converter gives nodes with shared scales one name."""
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
    """Suppress the debugging messages of the quantiser."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
