"""Some inputs and targets of a run, kept in ``examples.npz``: an export is certified on them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gan_serve.atomic_files import write_atomically
from gan_serve.errors import RunError
from gan_serve.images.pixels import UInt8Array
from gan_serve.npy_header import read_npz
from gan_serve.regular_files import read_regular
from gan_serve.training.data.arrays import ARRAY_ERRORS
from gan_serve.training.evaluation.pixel_metrics import random_sample
from gan_serve.training.translation.pairs import PairedImages, load_pairs
from gan_serve.training.translation.settings import TranslationConfig

EXAMPLES = 128
MAX_BYTES = 2**29  # of the file and of either array: 128 images of 1024x1024 are 400 MB
FILE = "examples.npz"


class Examples(NamedTuple):
    """Training inputs uint8 [N, h, w, C] and targets uint8 [N, H, W, C]; they belong together where there are pairs."""

    inputs: UInt8Array
    targets: UInt8Array


def choose_examples(data: PairedImages) -> Examples:
    """Return at most ``EXAMPLES`` inputs and targets, the same at each call."""
    rows = random_sample(len(data.inputs), EXAMPLES)
    others = rows if data.paired else random_sample(len(data.targets), EXAMPLES)
    count = min(len(rows), len(others))
    return Examples(data.inputs.images[rows[:count]], data.targets.images[others[:count]])


def write_examples(run_dir: Path, examples: Examples) -> None:
    """Write ``examples.npz``."""
    content = io.BytesIO()
    np.savez_compressed(content, inputs=examples.inputs, targets=examples.targets)
    write_atomically(run_dir / FILE, content.getvalue())


def read_examples(run_dir: Path, config: TranslationConfig) -> Examples:
    """Read ``examples.npz``; where it is missing, choose the examples from the run's data.

    Raises:
        RunError: the file is damaged. DataError: the data cannot be read.
    """
    if not os.path.lexists(run_dir / FILE):
        return choose_examples(load_pairs(config))
    try:
        arrays = read_npz(read_regular(run_dir / FILE, MAX_BYTES), Examples._fields, MAX_BYTES)
        examples = Examples(*(arrays[name] for name in Examples._fields))
        for images, side in zip(examples, (config.in_resolution, config.resolution), strict=True):
            if images.dtype != np.uint8 or images.ndim != 4 or not len(images) or images.shape[1:3] != (side, side):
                raise ValueError(f"{images.dtype} {images.shape}")
        return examples
    except (*ARRAY_ERRORS, KeyError) as error:
        raise RunError(f"{run_dir / FILE} is damaged.", "Remove it, to choose examples from the data.") from error
