"""Encode animations: GIF and WebP."""

from __future__ import annotations

import io
from typing import Any

from gan_serve.images.pixels import UInt8Array, enlarge, to_pil


def encode_animation(frames: UInt8Array, format: str, *, fps: float = 12.0, scale: int = 1) -> bytes:
    """Return uint8 [N, H, W, C] as an endless animation: ``gif`` (256 colours; exact for gray) or lossless ``webp``.

    Each pixel becomes a square of ``scale`` x ``scale``.
    """
    options: dict[str, Any] = {"lossless": True} if format == "webp" else {}
    first, *rest = (to_pil(enlarge(frame, scale)) for frame in frames)
    out = io.BytesIO()
    first.save(out, format, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, **options)
    return out.getvalue()
