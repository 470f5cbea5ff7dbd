"""Encode videos: MP4 (H.264) and WebM (VP9). Needs PyAV, the extra ``[video]``."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from gan_serve.errors import InvalidOption
from gan_serve.images.cancellation import check_wanted
from gan_serve.images.pixels import UInt8Array, enlarge

LUMA = np.array([0.299, 0.587, 0.114])
# With more threads, or macroblock trees, x264 does not always give the same bytes.
REPEATABLE = "threads=1:lookahead-threads=1:sync-lookahead=0:mbtree=0"
STEADY = "+bitexact"  # neither the date nor the version in the file: the same frames give the same bytes


class Codec(NamedTuple):
    """A codec of PyAV and its options for a quality at which small images stay sharp."""

    name: str
    options: dict[str, str]


CODECS = {
    "mp4": Codec("libx264", {"crf": "12", "threads": "1", "x264-params": REPEATABLE}),
    "webm": Codec("libvpx-vp9", {"crf": "12", "b": "0", "row-mt": "0", "threads": "1"}),
}


def check_codec(format: str) -> None:
    """Raise ``InvalidOption`` if PyAV is not installed, or was built without the codec of a format."""
    try:
        import av
    except ModuleNotFoundError as error:
        hint = 'pip install "gan-serve[video]"'
        raise InvalidOption(f"{format} needs PyAV, which is not installed.", hint) from error
    if CODECS[format].name not in av.codecs_available:
        raise InvalidOption(
            f"The PyAV of this machine has no {CODECS[format].name}, which {format} needs.", "Choose webp or gif."
        )


def encode_video(frames: UInt8Array, format: str, *, fps: float, scale: int = 1) -> bytes:
    """Return uint8 [N, H, W, C] as a video, ``mp4`` (H.264) or ``webm`` (VP9), in 4:2:0 so that every browser shows it.

    Each pixel becomes a square of ``scale`` x ``scale``. An odd width or height is made even by repeating the border.

    Raises:
        InvalidOption: see ``check_codec``.
    """
    check_codec(format)
    import av  # an extra

    codec, rate = CODECS[format], Fraction(fps).limit_denominator(1000)
    file = io.BytesIO()
    with av.open(file, "w", format=format, options={"fflags": STEADY}) as container:
        stream: Any = container.add_stream(codec.name, rate=rate, options=codec.options)
        stream.pix_fmt = "yuv420p"
        for place, frame in enumerate(frames):
            check_wanted()
            picture = _even(enlarge(frame, scale))
            if not place:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(to_yuv420(picture), format="yuv420p")))
        container.mux(stream.encode(None))
    return file.getvalue()


def to_yuv420(picture: UInt8Array) -> UInt8Array:
    """Return a picture uint8 [H, W, C], H and W even, as planes Y, U and V below each other: uint8 [1.5·H, W].

    BT.601 with Y from 16 to 235, the default of players for small videos; a chroma value is the mean of 2x2 pixels.
    FFmpeg's own conversion does not give the same bytes each time.
    """
    height, width = picture.shape[:2]
    rgb = np.broadcast_to(picture, (height, width, 3)).astype(np.float64) / 255
    y = 16 + 219 * (rgb @ LUMA)
    halved = rgb.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    luma = halved @ LUMA
    u = 128 + 224 * (halved[..., 2] - luma) / (2 * (1 - LUMA[2]))
    v = 128 + 224 * (halved[..., 0] - luma) / (2 * (1 - LUMA[0]))
    planes = np.concatenate([y.ravel(), u.ravel(), v.ravel()]).reshape(-1, width)
    return planes.round().astype(np.uint8)


def _even(picture: UInt8Array) -> UInt8Array:
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return picture
