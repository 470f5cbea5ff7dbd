"""The PSNR that a benchmark measured for a model: of its own images, and of real images that training did not see."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

KNOWN_FILE = Path(__file__).parent / "known_psnr.json"  # benchmarks/projection.py writes it
Decibels = Annotated[float, Field(ge=0, le=100)]


class KnownPsnr(BaseModel):
    """Medians in decibels over some images. ``digest`` is that of the checkpoint's ``generator.onnx``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    generated: Decibels
    real: Decibels | None = None
    data: str = ""
    images: int


def known_psnr(digest: str) -> KnownPsnr | None:
    """Return what was measured for the checkpoint with this digest of its ``generator.onnx``; None if nothing was.

    >>> known_psnr("sha256:0") is None
    True
    """
    return next((each for each in read_known().values() if each.digest == digest), None)


def read_known() -> dict[str, KnownPsnr]:
    """Return all measurements by the name of the model."""
    return TypeAdapter(dict[str, KnownPsnr]).validate_json(KNOWN_FILE.read_bytes())
