"""scikit-learn's digits and photographs, read without scikit-learn, whose import takes longer than most tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def load_digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return 1,797 images, uint8 [N, 8, 8] of grey levels from 0 to 16, and their classes, int64 [N]."""
    rows = np.loadtxt(_datasets() / "data" / "digits.csv.gz", delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8).astype(np.uint8), rows[:, -1].astype(np.int64)


def sample_photo(name: str) -> Image.Image:
    """Return a photograph of 640x427 pixels: ``china`` or ``flower``."""
    with Image.open(_datasets() / "images" / f"{name}.jpg") as photo:
        return photo.copy()


def _datasets() -> Path:
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "datasets"
