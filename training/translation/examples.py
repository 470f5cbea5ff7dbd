"""Some inputs and targets of a run, kept in ``examples.npz``: an export is certified on them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gan_serve.atomic_files import write_atomically
from gan_serve.errors import RunError
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.evaluation.pixel_metrics import random_sample
from gan_serve.training.translation.pairs import PairedImages, load_pairs
from gan_serve.training.translation.settings import TranslationConfig

EXAMPLES = 128
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
    if not (run_dir / FILE).exists():
        return choose_examples(load_pairs(config))
    try:
        with np.load(run_dir / FILE, allow_pickle=False) as arrays:
            return Examples(arrays["inputs"], arrays["targets"])
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{run_dir / FILE} is damaged.", "Remove it, to choose examples from the data.") from error
