"""Small files for the tests of data sets."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def png(value: int = 0, size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, value).save(file, "png")
    return file.getvalue()


def write(root: Path, *names: str, content: bytes | None = None) -> Path:
    """Write small images (of other values each) or ``content`` under these names."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(100 + number % 100) if content is None else content)
    return root


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def labels_of(data) -> list[str]:
    return [data.class_names[label] for label in data.labels]
