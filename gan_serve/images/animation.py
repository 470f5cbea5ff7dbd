"""Encode animations: GIF and WebP."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from gan_serve.images.cancellation import check_wanted
from gan_serve.images.pixels import UInt8Array, enlarge, to_pil


class _Frame(Image.Image):
    """A frame; Pillow seeks it when its turn to be encoded has come."""

    def seek(self, frame: int) -> None:
        check_wanted()
        super().seek(frame)


class _File(io.BytesIO):
    """A file in memory; Pillow compresses GIF while it writes."""

    def write(self, content: Any) -> int:
        check_wanted()
        return super().write(content)


def encode_animation(frames: UInt8Array, format: str, *, fps: float = 12.0, scale: int = 1) -> bytes:
    """Return uint8 [N, H, W, C] as an endless animation: ``gif`` (256 colours; exact for gray) or lossless ``webp``.

    Each pixel becomes a square of ``scale`` x ``scale``.
    """
    options: dict[str, Any] = {"lossless": True} if format == "webp" else {}
    images = [to_pil(enlarge(frame, scale)) for frame in frames]
    for image in images:
        image.__class__ = _Frame
    first, *rest = images
    out = _File()
    first.save(out, format, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, **options)
    return out.getvalue()
