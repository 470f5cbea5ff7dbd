"""Compare an ONNX file with its original, such as torch, and check that an image does not depend on its batch.

The comparison covers seeds x labels x truncations x batch sizes. The number of images for each truncation is limited:
with many classes there are fewer seeds for each label, and at most 16 labels. A network with a w space is compared once
more with mixed styles and offsets in w.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from pydantic import BaseModel

from gan_serve.checkpoint.config import Precision
from gan_serve.checkpoint.network_cost import MAX_BATCH_BYTES, network_cost
from gan_serve.errors import ExportRefused
from gan_serve.exports.quantize import Fidelity
from gan_serve.exports.reference import Reference
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.session import network_inputs, open_session, run_in_batches

IMAGES = 256  # at each truncation
MAX_LABELS = 16
TRUNCATIONS = (1.0, 0.7, 0.5)
BATCH_SIZES = (1, 2, 3, 7, 16, 64)
BOUND = 1  # grey levels
OFFSET = 0.1  # standard deviation of the offsets in w


class Parity(BaseModel):
    """``parity.json``: the largest difference of any pixel, in grey levels, and how it was measured.

    ``seeds`` counts the seeds from 0 on for each of ``labels`` classes (0 for a model without classes) at each
    truncation. ``int8`` and ``fp16`` compare these files with fp32; ``refused`` has the reason for each file that was
    not written. ``reference`` is what fp32 was compared with. ``mantissa_bits``: what the weights of the fp32 file are
    rounded to, see ``round_weights``; None: they are not.
    """

    reference: str = "torch"
    max_difference: int
    differing_pixels: float
    bound: int
    batch_invariant: bool
    seeds: int
    labels: int = 0
    truncations: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    torch_version: str
    onnxruntime_version: str
    int8: Fidelity | None = None
    fp16: Fidelity | None = None
    refused: dict[Precision, str] = {}
    mantissa_bits: int | None = None


def is_batch_invariant(
    session: onnxruntime.InferenceSession,
    inputs: Mapping[str, Any],
    whole: UInt8Array,
    sizes: Sequence[int] = BATCH_SIZES,
) -> bool:
    """Return True if images sampled in batches of other sizes are bit-equal to ``whole``, uint8 [N, H, W, C]."""
    return all(np.array_equal(run_in_batches(session, inputs, batch=size), whole) for size in sizes)


def largest_batch(model: bytes, inputs: Mapping[str, Any]) -> int:
    """Return the number of images that a network computes at once in ``MAX_BATCH_BYTES``, at least 1."""
    one = {name: (1, *values.shape[1:]) for name, values in inputs.items()}
    return max(1, MAX_BATCH_BYTES // network_cost(model, one).peak)


def varied_styles(network: Reference, seeds: Sequence[int]) -> dict[str, Any]:
    """Return optional inputs for seeds, arrays [N, ...] by name: defaults for even seeds, other values for odd ones.

    The result is empty if the network has no optional inputs.
    """
    if not (defaults := network.optional_inputs()):
        return {}
    inputs = {name: np.repeat(value, len(seeds), 0) for name, value in defaults.items()}
    odd = [place for place, seed in enumerate(seeds) if seed % 2]
    inputs["z_mix"][odd] = latents_from_seeds([seeds[place] ^ 2**30 for place in odd], network.z_dim)
    inputs["crossover"][odd] = [seeds[place] // 2 % defaults["crossover"][0] for place in odd]
    offsets = latents_from_seeds([seeds[place] ^ 2**29 for place in odd], defaults["w_offset"].shape[1])
    inputs["w_offset"][odd] = OFFSET * offsets
    return inputs


def spread(count: int, limit: int = MAX_LABELS) -> list[int]:
    """Return the integers below ``count``; if there are more than ``limit``, evenly spaced ones with both ends.

    >>> spread(3), spread(1000, limit=4)
    ([0, 1, 2], [0, 333, 666, 999])
    """
    return [round(number) for number in np.linspace(0, count - 1, min(count, limit)).tolist()]


def compare_with(model: bytes, reference: Reference) -> Parity:
    """Compare an ONNX file with its original, both in fp32.

    Raises:
        ExportRefused: a pixel differs by more than one grey level, or an image depends on its batch.
    """
    session, _ = open_session(model, "cpu")
    labels = spread(reference.c_dim)
    seeds = IMAGES // max(len(labels), 1)
    latents = latents_from_seeds(range(seeds), reference.z_dim)
    classes = None
    if labels:
        latents, classes = np.tile(latents, (len(labels), 1)), np.repeat(np.array(labels, np.int64), seeds)

    cases = [network_inputs(latents, classes, truncation, reference.truncation_space) for truncation in TRUNCATIONS]
    if styles := varied_styles(reference, range(len(latents))):
        cases.append(cases[0] | styles)
    differences, invariant, largest = [], True, largest_batch(model, cases[0])
    sizes = tuple(size for size in BATCH_SIZES if size <= largest)
    for inputs in cases:
        expected = reference.images(inputs)
        whole = run_in_batches(session, inputs, batch=min(len(latents), largest))
        differences.append(np.abs(whole.astype(np.int16) - expected))
        invariant = invariant and is_batch_invariant(session, inputs, whole, sizes)
    difference = np.stack(differences)
    parity = Parity(
        reference=reference.origin,
        max_difference=int(difference.max()),
        differing_pixels=float((difference > 0).mean()),
        bound=BOUND,
        batch_invariant=invariant,
        seeds=seeds,
        labels=len(labels),
        truncations=TRUNCATIONS,
        batch_sizes=sizes,
        torch_version=torch.__version__,
        onnxruntime_version=onnxruntime.__version__,
    )
    check_parity(parity.max_difference, invariant, reference.origin)
    return parity


def check_parity(max_difference: int, batch_invariant: bool, origin: str) -> None:
    """Raise ``ExportRefused`` if images depend on their batch, or differ from those of ``origin`` by over ``BOUND``."""
    if not batch_invariant:
        raise ExportRefused("The pixels of an image depend on its batch.", "Nothing was written.")
    if max_difference > BOUND:
        raise ExportRefused(
            f"The ONNX file differs from {origin} by {max_difference} grey levels; at most {BOUND} is allowed.",
            "Nothing was written. Try the versions of torch and ONNX Runtime that constraints.txt pins.",
        )
