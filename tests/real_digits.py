"""scikit-learn's handwritten digits, read without scikit-learn, whose import takes longer than most tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np


def load_digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return 1,797 images, uint8 [N, 8, 8] of grey levels from 0 to 16, and their classes, int64 [N]."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    rows = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8).astype(np.uint8), rows[:, -1].astype(np.int64)
