"""Kernels of convolutions that compute the same as a transposed convolution or nearest-neighbour upsampling.

``exports/rewrite.py`` exports layers in these forms; ``training/weights_from_onnx.py`` reads them back.
"""

from __future__ import annotations

import itertools

import numpy as np

PHASES = tuple(itertools.product((0, 1), (0, 1)))  # row and column of an output pixel, modulo the stride of 2

# Nearest-neighbour upsampling by 2 and a 3x3 convolution equal a 4x4 transposed convolution of stride 2 and padding 1,
# with the kernel T w T^T for each pair of channels. In the even phase tap 0 reads one input pixel and taps 1 and 2 the
# next one; in the odd phase taps 0 and 1, then tap 2. The transposed kernel has the rows 3 and 1 of the even phase, 2
# and 0 of the odd one.
NEAREST_TAPS = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)  # T: [row, tap]


def phase_taps(size: int, stride: int, padding: int, phase: int) -> list[int]:
    """Return the kernel rows that an output phase uses, in the order of their input pixels.

    Output o = stride·i + k - padding comes from input i and row k of the kernel.

    >>> phase_taps(4, stride=2, padding=1, phase=0)
    [3, 1]
    """
    return [row for row in range(size) if (row - phase - padding) % stride == 0][::-1]
