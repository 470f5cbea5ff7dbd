"""Round the weights of a network, so that its file compresses better."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import onnx

from gan_serve.errors import ExportRefused, InvalidOption
from gan_serve.exports.graph import Array, Graph

MANTISSA = 23  # bits of the mantissa of float32
FEWEST = 7  # as many as bfloat16 has


def check_mantissa_bits(bits: object) -> None:
    """Refuse a number of bits that no weight can be rounded to.

    Raises:
        InvalidOption: it is neither None nor a whole number from 7 to 23.
    """
    if bits is None:
        return
    if isinstance(bits, bool) or not isinstance(bits, int) or not FEWEST <= bits <= MANTISSA:
        raise InvalidOption(
            f"Weights cannot be rounded to {bits!r} bits of mantissa.",
            f"Give a whole number from {FEWEST}, as many as bfloat16 has, to {MANTISSA}, as many as float32 has; "
            "10, as many as float16 has, is enough for most networks.",
        )


def round_weights(model: onnx.ModelProto, bits: int | None) -> dict[str, str]:
    """Round the float32 weights of a model to ``bits`` bits of mantissa, in place; None: leave them as they are.

    Weights are the constants with two axes or more: nearly all bytes of a file. The file keeps its size, but compresses
    better, since the other bits are zero: to about 60 % of its size with 10 bits, instead of 93 %. That makes wheels,
    zip files and git repositories smaller.

    Returns:
        ``metadata_props`` that say so, for the file.
    """
    if bits is None:
        return {}
    graph = Graph(model)
    for name, values in graph.constants.items():
        if values.dtype == np.float32 and values.ndim >= 2:
            graph.constants[name] = rounded(values, bits)
    graph.write(model)
    return {"mantissa_bits": str(bits)}


def weights_in_words(bits: int | None) -> str:
    """Return for a card which weights ``generator.safetensors`` has beside a ``generator.onnx`` of these bits."""
    if bits is None:
        return "the same weights"
    return f"the weights as they were trained; those of `generator.onnx` are rounded to {bits} bits of mantissa"


def rounded(values: Array, bits: int) -> Array:
    """Return finite float32 values rounded to the nearest with ``bits`` bits of mantissa, ties to even."""
    dropped = np.uint32(MANTISSA - bits)
    if not dropped:
        return values
    integers = np.array(values, order="C").view(np.uint32)
    odd = (integers >> dropped) & np.uint32(1)
    up = (np.uint32(1) << (dropped - np.uint32(1))) - np.uint32(1) + odd
    result: Array = ((integers + up) >> dropped << dropped).view(np.float32)
    return result


@contextlib.contextmanager
def explained_refusal(bits: int | None) -> Iterator[None]:
    """Within this context, the refusal of an export says that rounded weights may be the reason."""
    try:
        yield
    except ExportRefused as error:
        if bits is None:
            raise
        hint = (
            f"The weights were rounded to {bits} bits: give more --mantissa-bits, or do not round. {error.hint or ''}"
        )
        raise ExportRefused(error.message, hint.rstrip()) from error
