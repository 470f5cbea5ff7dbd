"""Round the weights of a network, so that its file compresses better."""

from __future__ import annotations

import numpy as np
import onnx

from gan_serve.errors import InvalidOption
from gan_serve.exports.graph import Array, Graph

MANTISSA = 23  # bits of the mantissa of float32
FEWEST = 7  # as many as bfloat16 has


def check_mantissa_bits(bits: int | None) -> None:
    """Refuse a number of bits that no weight can be rounded to.

    Raises:
        InvalidOption: it is neither None nor a number from 7 to 23.
    """
    if bits is not None and not FEWEST <= bits <= MANTISSA:
        raise InvalidOption(
            f"Weights cannot be rounded to {bits} bits of their mantissa.",
            f"Give a number from {FEWEST}, as many as bfloat16 has, to {MANTISSA}, as many as float32 has; "
            "10, as many as float16 has, is a good choice.",
        )


def round_weights(model: onnx.ModelProto, bits: int | None) -> dict[str, str]:
    """Round every float32 constant of a model to ``bits`` bits of its mantissa, in place; None: leave it as it is.

    The file keeps its size, but compresses better, since the other bits are zero: to about 60 % with 10 bits and 50 %
    with 8, in place of 93 %. That makes wheels, zip files and git repositories smaller.

    Returns:
        ``metadata_props`` that say so, for the file.
    """
    if bits is None:
        return {}
    graph = Graph(model)
    for name, values in graph.constants.items():
        if values.dtype == np.float32:
            graph.constants[name] = rounded(values, bits)
    graph.write(model)
    return {"mantissa_bits": str(bits)}


def rounded(values: Array, bits: int) -> Array:
    """Return float32 values rounded to the nearest with ``bits`` bits of mantissa, ties to even."""
    dropped = np.uint32(MANTISSA - bits)
    if not dropped:
        return values
    integers = np.ascontiguousarray(values).view(np.uint32)
    odd = (integers >> dropped) & np.uint32(1)
    up = (np.uint32(1) << (dropped - np.uint32(1))) - np.uint32(1) + odd
    found = (integers + up) >> dropped << dropped
    return np.where(np.isfinite(values), found.view(np.float32), values).astype(np.float32)
