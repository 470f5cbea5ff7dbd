"""Export a generator in every precision that is close enough to fp32, and measure the difference from torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from torch import nn

from gan_serve.checkpoint.config import PRECISION_FILES, Precision
from gan_serve.errors import InvalidOption
from gan_serve.exports.graph import copy_of
from gan_serve.exports.parity import (
    BATCH_SIZES,
    Parity,
    compare_with,
    is_batch_invariant,
    largest_batch,
    varied_styles,
)
from gan_serve.exports.quantize import (
    LOW_PSNR,
    MEAN_PSNR,
    Inputs,
    LowPrecision,
    multiplications,
    to_fp16,
    to_int8,
    with_large_latents,
)
from gan_serve.exports.reference import Reference
from gan_serve.exports.rewrite import optimize
from gan_serve.exports.round_weights import explained_refusal, round_weights
from gan_serve.exports.to_onnx import PixelGenerator, serialize, torch_export
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.session import network_inputs, open_session, run_in_batches

GATE_SEEDS = range(5000)  # on which int8 is compared with fp32
# For fp16: fewer, because CPUs emulate it slowly, and it has no ranges that latents could exceed.
FP16_SEEDS = range(1000)
BATCH_SEEDS = range(256)  # sampled in batches of several sizes
CALIBRATION_SEEDS = range(2**31, 2**31 + 128)  # on which the ranges of int8 are measured; none of GATE_SEEDS
LARGE_SEEDS = range(2**31 + 128, 2**31 + 160)  # as CALIBRATION_SEEDS, with latents enlarged by with_large_latents


class Certified(NamedTuple):
    """The files of a generator by precision, and the difference of their images from those of torch."""

    files: dict[Precision, bytes]
    parity: Parity


def certify(
    generator: nn.Module,
    metadata: Mapping[str, str],
    precisions: Collection[Precision],
    mantissa_bits: int | None = None,
) -> Certified:
    """Export a torch generator; see ``certify_model``.

    Args:
        generator: in eval mode, on the CPU; see ``PixelGenerator``.
        metadata, precisions, mantissa_bits: as for ``certify_model``.
    """
    network = PixelGenerator(generator).eval()
    return certify_model(torch_export(generator), network, metadata, precisions, mantissa_bits)


def certify_model(
    plain: onnx.ModelProto,
    reference: Reference,
    metadata: Mapping[str, str],
    precisions: Collection[Precision],
    mantissa_bits: int | None = None,
) -> Certified:
    """Return a network in fp32, and in those of ``precisions`` whose images are close enough to those of fp32.

    Args:
        plain: the network with our inputs and output, before it is rewritten for ONNX Runtime's kernels.
        reference: the original that its images must be equal to.
        metadata: the ``metadata_props`` of the files.
        precisions: the files to make, see ``check_precisions``.
        mantissa_bits: what the weights of the file in fp32 are rounded to, see ``round_weights``.

    Raises:
        ExportRefused: ONNX differs from the original by more than the bound, or the network needs more than standard
        ONNX.
    """
    fused = copy_of(plain)
    optimize(fused)
    rounding = round_weights(fused, mantissa_bits)
    model = serialize(fused, {**metadata, **rounding}, reference.optional_inputs())
    with explained_refusal(mantissa_bits):
        parity = compare_with(model, reference)

    converted, refused = _convert(plain, reference, model, precisions)
    files: dict[Precision, bytes] = {"fp32": model}
    for precision, each in converted.items():
        low = onnx.load_from_string(each.model)
        files[precision] = serialize(low, {**metadata, "precision": precision}, reference.optional_inputs())
    fidelity: dict[str, Any] = {precision: each.fidelity for precision, each in converted.items()}
    return Certified(files, parity.model_copy(update=fidelity | {"refused": refused, "mantissa_bits": mantissa_bits}))


def check_precisions(precisions: Collection[Precision] | None) -> Collection[Precision]:
    """Return the precisions to export; all of them if None.

    Raises:
        InvalidOption: an unknown one, or fp32 is missing.
    """
    wanted = tuple(PRECISION_FILES if precisions is None else precisions)
    for precision in wanted:
        if precision not in PRECISION_FILES:
            raise InvalidOption.unknown("precision", precision, PRECISION_FILES)
    if "fp32" not in wanted:
        raise InvalidOption("Every checkpoint has fp32; the other precisions are compared with it.", "Add fp32.")
    return wanted


def sample(
    model: bytes, network: Reference, seeds: Iterable[int], labels: list[int] | None, truncation: float = 1.0
) -> UInt8Array:
    """Return the images that an exported file computes for seeds and their labels, uint8 [N, H, W, C]."""
    session, _ = open_session(model, "cpu")
    classes = None if labels is None else np.array(labels, np.int64)
    latents = latents_from_seeds(seeds, network.z_dim)
    return run_in_batches(session, network_inputs(latents, classes, truncation, network.truncation_space))


def default_labels(seeds: Iterable[int], c_dim: int) -> list[int] | None:
    """Return the default labels of seeds, as in ``Generator.generate``; None for a model without classes."""
    return [seed % c_dim for seed in seeds] if c_dim else None


def low_precisions(
    converters: Mapping[Precision, Callable[[], LowPrecision | None]], wanted: Collection[Precision], few: Inputs
) -> tuple[dict[Precision, LowPrecision], dict[Precision, str]]:
    """Convert to the other requested precisions; return those that are close enough, and why the rest was refused.

    Args:
        converters: each makes the file of a precision, or returns None if its images are not close enough to fp32.
        wanted: the requested precisions.
        few: inputs, arrays [N, ...] by name, whose images must not depend on their batch.
    """
    converted: dict[Precision, LowPrecision] = {}
    refused: dict[Precision, str] = {}
    for precision, convert in converters.items():
        if precision not in wanted:
            refused[precision] = "it was not requested"
        elif (each := convert()) is None:
            refused[precision] = (
                f"its images are not close enough to fp32 (PSNR of {MEAN_PSNR:.0f} dB in the mean, "
                f"{LOW_PSNR:.0f} dB at the first percentile)"
            )
        elif not _same_in_any_batch(each.model, few):
            refused[precision] = "an image depends on its batch"
        else:
            converted[precision] = each
    return converted, refused


def _convert(
    plain: onnx.ModelProto, network: Reference, fp32: bytes, wanted: Collection[Precision]
) -> tuple[dict[Precision, LowPrecision], dict[Precision, str]]:
    """Return ``low_precisions`` of a generator.

    Args:
        plain: the generator as torch exports it.
        fp32: the certified file that the images are compared with.
    """
    if set(wanted) == {"fp32"}:
        return {}, dict.fromkeys([other for other in PRECISION_FILES if other != "fp32"], "it was not requested")
    inputs = all_inputs(network, GATE_SEEDS)
    session, _ = open_session(fp32, "cpu")
    reference = run_in_batches(session, inputs)

    fused = copy_of(plain)
    optimize(fused, "int8")

    def int8() -> LowPrecision | None:
        usual, large = (all_inputs(network, seeds) for seeds in (CALIBRATION_SEEDS, LARGE_SEEDS))
        large["z"] = with_large_latents(large["z"])
        calibration = {name: np.concatenate([usual[name], large[name]]) for name in usual}
        return to_int8(fused, calibration, inputs, reference)

    def fp16() -> LowPrecision | None:
        some = {name: values[: len(FP16_SEEDS)] for name, values in inputs.items()}
        return to_fp16(plain, some, reference[: len(FP16_SEEDS)])

    few = {name: values[: len(BATCH_SEEDS)] for name, values in inputs.items()}
    converters: dict[Precision, Callable[[], LowPrecision | None]] = {"int8": int8, "fp16": fp16}
    impossible: dict[Precision, str] = {}
    if "int8" in wanted and not multiplications(fused):
        impossible["int8"] = "it has no layer that can be quantised"
        del converters["int8"]
    converted, refused = low_precisions(converters, wanted, few)
    return converted, impossible | refused


def _same_in_any_batch(model: bytes, inputs: Inputs) -> bool:
    session, _ = open_session(model, "cpu")
    sizes = [size for size in BATCH_SIZES if size <= largest_batch(model, inputs)]
    return is_batch_invariant(session, inputs, run_in_batches(session, inputs), sizes)


def all_inputs(network: Reference, seeds: Iterable[int]) -> dict[str, Any]:
    """Return the inputs for seeds under their default labels, the optional ones included: arrays [N, ...] by name."""
    seeds = list(seeds)
    labels = default_labels(seeds, network.c_dim)
    latents = latents_from_seeds(seeds, network.z_dim)
    classes = None if labels is None else np.array(labels, np.int64)
    inputs = network_inputs(latents, classes, 1.0, network.truncation_space)
    return inputs | varied_styles(network, seeds)
