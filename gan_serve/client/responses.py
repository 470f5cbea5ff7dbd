"""Read the responses of a server: images, arrays, descriptions and errors. Nothing here uses the network."""

from __future__ import annotations

import base64
import binascii
import contextlib
import email.utils
import io
import json
import time
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from gan_serve.errors import (
    BodyTooLarge,
    GanServeError,
    RequestTimeout,
    ServerError,
    ServerNotReady,
    ServerUnreachable,
    TooManyRequests,
    Unauthorized,
    error_class,
)
from gan_serve.images.pixels import UInt8Array
from gan_serve.npy_header import read_npz
from gan_serve.sampling.display import GeneratedImages, GeneratedRows
from gan_serve.sampling.latents import FloatArray
from gan_serve.sampling.receipt import RECEIPT_KEY, GeneratedImage

if TYPE_CHECKING:
    import httpx

MAX_ARRAY = 2**31  # bytes; a server of gan-serve sends far fewer
JSON, NDJSON, NPZ = "application/json", "application/x-ndjson", "application/x-npz"

# The errors of proxies, which do not send the error envelope of gan-serve.
_BY_STATUS: dict[int, type[ServerError]] = {
    401: Unauthorized,
    413: BodyTooLarge,
    429: TooManyRequests,
    502: ServerNotReady,
    503: ServerNotReady,
    504: RequestTimeout,
}
_DECODING_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    SyntaxError,  # raised by Pillow for a PNG with malformed chunks
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class DamagedResponse(Exception):
    """A response is truncated or does not fit its request. The same request may succeed later."""


class ReceivedImages(NamedTuple):
    """The images of one response or several: Pillow images or uint8 [N, H, W, C], and the label of each, if any."""

    images: list[GeneratedImage] | UInt8Array
    labels: list[str] | None
    digest: str

    @classmethod
    def joined(cls, parts: Iterable[ReceivedImages]) -> ReceivedImages:
        """Return the images of several responses as one.

        Raises:
            ServerError: they are from different checkpoints.
        """
        first, *rest = parts = list(parts)
        if not rest:
            return first
        for part in rest:
            check_same_checkpoint(first.digest, part.digest)
        labels = None if first.labels is None else [label for part in parts for label in part.labels or ()]
        if isinstance(first.images, list):
            return cls([image for part in parts for image in part.images], labels, first.digest)
        return cls(np.concatenate([part.images for part in parts]), labels, first.digest)

    def output(self, *, animated: bool = False) -> list[GeneratedImage] | UInt8Array:
        """Return the images; a notebook shows a list of them as a grid or, if ``animated``, as an animation."""
        return GeneratedImages(self.images, animated=animated) if isinstance(self.images, list) else self.images

    def by_label(self) -> dict[str, list[GeneratedImage]] | dict[str, UInt8Array]:
        """Return the images of each label, in the order of the labels."""
        labels = self.labels or []
        names = dict.fromkeys(labels)
        if isinstance(self.images, list):
            pairs = list(zip(labels, self.images, strict=True))
            return GeneratedRows(
                {name: GeneratedImages(image for label, image in pairs if label == name) for name in names}
            )
        return {name: self.images[np.array(labels) == name] for name in names}


class FoundLatents(NamedTuple):
    """The latents whose images are nearest to N pictures, of those that the server's searches found.

    Args:
        latents: float32 [N, z_dim], or [N, z_dim + w_dim] where the network has a w space.
        labels: the class name of each image; None for a model without classes.
        psnr: between each picture and its image, float64 [N] in decibels.
        digest: ``sha256:...`` of the model's ``generator.onnx``.
        own_psnr: the median PSNR that was measured for images of the model itself; None if it was not measured.
        real_psnr: the same for real images that training did not see.
    """

    latents: FloatArray
    labels: list[str] | None
    psnr: npt.NDArray[np.float64]
    digest: str
    own_psnr: float | None
    real_psnr: float | None

    @classmethod
    def joined(cls, parts: Iterable[FoundLatents]) -> FoundLatents:
        """Return what was found by several requests as one.

        Raises:
            ServerError: they are from different checkpoints.
        """
        first, *rest = parts = list(parts)
        for part in rest:
            check_same_checkpoint(first.digest, part.digest)
        return first._replace(
            latents=np.concatenate([part.latents for part in parts]),
            labels=None if first.labels is None else [label for part in parts for label in part.labels or ()],
            psnr=np.concatenate([part.psnr for part in parts]),
        )


class Frame(NamedTuple):
    """A frame of a walk: its number in the whole walk (from 0), the number of frames of the walk, and its image."""

    number: int
    total: int
    image: GeneratedImage


def raise_for_error(response: httpx.Response) -> None:
    """Raise the error that a response contains, if its status is not 200. Its body must have been read."""
    if response.status_code != 200:
        raise _own_error(response) or _other_error(response)


def check_type(media_type: str, response: httpx.Response) -> None:
    """Raise ``ServerUnreachable`` if a response with status 200 does not have the media type of a gan-serve server."""
    if _media_type(response) != media_type:
        raise _other_error(response)


def read_object(needed: Collection[str], response: httpx.Response) -> dict[str, Any]:
    """Return a JSON object that has at least the fields ``needed``."""
    check_type(JSON, response)
    with _damage_as_error():
        content = response.json()
        if not isinstance(content, dict) or not content.keys() >= set(needed):
            raise ValueError(f"no JSON object with {', '.join(needed)}")
        return content


def read_images(count: int | None, response: httpx.Response) -> ReceivedImages:
    """Return the images of ``format: json``: ``count`` Pillow images with their receipts, or any number if None."""
    items = read_object(["images"], response)["images"]
    with _damage_as_error():
        images = [_image(item) for item in _counted(items, count)]
        receipts = [image.info[RECEIPT_KEY] for image in images]
        labels = [receipt["label"] for receipt in receipts] if "label" in receipts[0] else None
        return ReceivedImages(images, labels, receipts[0]["digest"])


def read_arrays(count: int | None, response: httpx.Response) -> ReceivedImages:
    """Return the images of ``format: npz``: ``count`` images as uint8 [N, H, W, C], or any number if None."""
    check_type(NPZ, response)
    with _damage_as_error():
        arrays = read_npz(response.content, ("images", "labels"), MAX_ARRAY)
        images = _counted(arrays["images"], count)
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(f"{images.dtype} {images.shape}")
        labels = [str(label) for label in _counted(arrays["labels"], len(images))] if "labels" in arrays else None
        return ReceivedImages(images, labels, response.headers["x-gan-serve-digest"])


def read_latents(response: httpx.Response) -> FoundLatents:
    """Return the latents that were found for one picture."""
    found = read_object(["latents", "psnr", "digest"], response)
    with _damage_as_error():
        latents, psnr = np.array(found["latents"], np.float32), np.array([found["psnr"]], np.float64)
        if latents.ndim != 2 or len(latents) != 1:
            raise ValueError(f"latents of shape {latents.shape}")
        label = found.get("label")
        labels = None if label is None else [str(label)]
        return FoundLatents(latents, labels, psnr, found["digest"], found.get("own_psnr"), found.get("real_psnr"))


def read_bytes(response: httpx.Response) -> bytes:
    """Return the bytes of a file, if a gan-serve server sent it."""
    if "x-gan-serve-digest" not in response.headers:
        raise _other_error(response)
    return response.content


def read_frame(line: bytes) -> Frame:
    """Return the frame in a line of ``format: ndjson``.

    Raises:
        GanServeError: the line contains this error. DamagedResponse: it contains neither a frame nor an error.
    """
    with _damage_as_error():
        content = json.loads(line)
        if error := _error_in(content):
            raise error
        return Frame(int(content["frame"]), int(content["frames"]), _image(content))


def check_same_checkpoint(first: str, second: str) -> None:
    """Raise ``ServerError`` if two digests differ: parts of a result come from different checkpoints."""
    if first != second:
        raise ServerError("The server changed its checkpoint between two requests of this call.", "Repeat the call.")


class LineSplitter:
    """Split a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, content: bytes) -> list[bytes]:
        """Return the lines that ``content`` completes; what follows the last line break is kept."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        return lines


@contextlib.contextmanager
def _damage_as_error() -> Iterator[None]:
    try:
        yield
    except binascii.Error as error:
        raise DamagedResponse("its base64 cannot be read") from error
    except _DECODING_ERRORS as error:
        raise DamagedResponse(f"it cannot be read ({type(error).__name__}: {error})"[:200]) from error


def _counted(items: Any, count: int | None) -> Any:
    if not len(items) or (count is not None and len(items) != count):
        raise ValueError(f"{len(items)} images")
    return items


def _image(item: Any) -> GeneratedImage:
    """Return an image of JSON as ``Samples.images`` returns it."""
    with Image.open(io.BytesIO(base64.b64decode(item["png"], validate=True)), formats=["PNG"]) as file:
        image = file.copy()
    receipt = item["receipt"]
    # Not validated as a Receipt: a later server may send more fields.
    if not isinstance(receipt, dict) or "digest" not in receipt:
        raise TypeError("no receipt")
    image.info = {RECEIPT_KEY: receipt}
    image.__class__ = GeneratedImage
    return image  # type: ignore[return-value]


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _own_error(response: httpx.Response) -> GanServeError | None:
    """Return the error in the envelope of gan-serve; None if the response has no such envelope."""
    try:
        error = _error_in(response.json())
    except (ValueError, RecursionError):
        return None
    if isinstance(error, ServerError):
        error.retry_after = _retry_after(response)
        if error.code != type(error).code:
            error.status = response.status_code
    return error


def _error_in(content: Any) -> GanServeError | None:
    detail = content.get("error") if isinstance(content, dict) else None
    if not isinstance(detail, dict):
        return None
    code, message, hint = (detail.get(key) for key in ("code", "message", "hint"))
    if not (isinstance(code, str) and isinstance(message, str)):
        return None
    error = error_class(code)(message, hint if isinstance(hint, str) else "")
    error.code = code
    return error


def _other_error(response: httpx.Response) -> ServerError:
    """Return the error for a response that is not from a gan-serve server."""
    url = str(response.url.copy_with(userinfo=b""))
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if "location" in response.headers and response.is_redirect:
        return ServerUnreachable(
            f"{url} redirects ({status}) to {response.headers['location'][:200]!r}.",
            "Give the client the address of the server itself.",
        )
    if kind := _BY_STATUS.get(response.status_code):
        error = kind(
            f"{url} responded with {status}, but not as gan-serve does.", "Look for a proxy in front of the server."
        )
        error.retry_after = _retry_after(response)
        return error
    sent = _media_type(response) or "no content type"
    return ServerUnreachable(
        f"{url} is not a gan-serve server: it responded with {status} and {sent}.",
        "Check the address; `gan-serve serve` prints it.",
    )


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of the header Retry-After, which is a number or a date."""
    value = str(response.headers.get("retry-after", ""))
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
