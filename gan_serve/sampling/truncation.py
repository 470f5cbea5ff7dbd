"""Truncation: its check, and truncation in z.

A network with a w space truncates w itself, by its input psi: ``gan_serve.training.networks.truncation``.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from gan_serve.errors import InvalidTruncation, shorten
from gan_serve.sampling.latents import FloatArray


def check_truncation(truncation: Any) -> float:
    """Return a truncation from 0 to 1 as a float.

    Raises:
        InvalidTruncation: NaN, out of range, or not a number.
    """
    is_number = isinstance(truncation, Real) and not isinstance(truncation, bool)
    try:
        value = float(truncation) if is_number else math.nan
    except OverflowError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise InvalidTruncation(
            f"truncation must be a number from 0 to 1, not {shorten(truncation)}.",
            "1 leaves the latents unchanged; smaller values move them towards their mean.",
        )
    return value


def truncate(latents: FloatArray, truncation: float) -> FloatArray:
    """Return latents moved towards their mean, 0: truncation · z. 1.0 is exactly the identity.

    The truncation trick of StyleGAN (Karras et al. 2019, appendix B: mean + ψ (w - mean)) in z, whose mean is 0.
    """
    return latents if truncation == 1.0 else latents * np.float32(truncation)
