"""What a server's answers mean: images, arrays, descriptions, or one of our errors. No network in here."""

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
from gan_serve.images.receipt import RECEIPT_KEY, GeneratedImage

if TYPE_CHECKING:
    import httpx

JSON, NDJSON, NPZ = "application/json", "application/x-ndjson", "application/x-npz"

# What a proxy before the server means, which has no envelope.
_BY_STATUS: dict[int, type[ServerError]] = {
    401: Unauthorized,
    413: BodyTooLarge,
    429: TooManyRequests,
    502: ServerNotReady,
    503: ServerNotReady,
    504: RequestTimeout,
}
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    SyntaxError,  # Pillow, of a PNG whose chunks make no sense
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class Damaged(Exception):
    """An answer that is cut short, or not what was asked for. The same request may be answered well a moment later."""


class Drawn(NamedTuple):
    """Images of one answer or of several: a list of Pillow images or uint8 [N, H, W, C]; the label of each, if any."""

    images: list[GeneratedImage] | UInt8Array
    labels: list[str] | None
    digest: str

    @classmethod
    def joined(cls, parts: Iterable[Drawn]) -> Drawn:
        """The images of several answers, one after the other.

        Raises:
            ServerError: they are not of one checkpoint.
        """
        first, *rest = parts = list(parts)
        if not rest:
            return first
        for part in rest:
            same_checkpoint(first.digest, part.digest)
        labels = None if first.labels is None else [label for part in parts for label in part.labels or ()]
        if isinstance(first.images, list):
            return cls([image for part in parts for image in part.images], labels, first.digest)
        return cls(np.concatenate([part.images for part in parts]), labels, first.digest)

    def by_label(self) -> dict[str, list[GeneratedImage]] | dict[str, UInt8Array]:
        """The images of each label, in the order of the labels."""
        labels = self.labels or []
        names = dict.fromkeys(labels)
        if isinstance(self.images, list):
            pairs = list(zip(labels, self.images, strict=True))
            return {name: [image for label, image in pairs if label == name] for name in names}
        return {name: self.images[np.array(labels) == name] for name in names}


class Frame(NamedTuple):
    """A frame of a walk: which of how many, counted in the whole walk from 0, and its image with its receipt."""

    number: int
    total: int
    image: GeneratedImage


def check(response: httpx.Response) -> None:
    """Raise the error that an answer holds, if it is one; its body must have been read."""
    if response.status_code != 200:
        raise _envelope(response) or _foreign(response)


def check_type(media_type: str, response: httpx.Response) -> None:
    """Raise ``ServerUnreachable`` where a 200 is of another media type than a gan-serve server's answer would be."""
    if _media_type(response) != media_type:
        raise _foreign(response)


def read_object(needed: Collection[str], response: httpx.Response) -> dict[str, Any]:
    """A JSON object that has at least the fields that are ``needed``."""
    check_type(JSON, response)
    with _reading():
        content = response.json()
        if not isinstance(content, dict) or not content.keys() >= set(needed):
            raise ValueError(f"no JSON object with {', '.join(needed)}")
        return content


def read_images(count: int | None, response: httpx.Response) -> Drawn:
    """The answer to ``format: json``: ``count`` Pillow images with their receipts, or any number if None."""
    items = read_object(["images"], response)["images"]
    with _reading():
        images = [_image(item) for item in _counted(items, count)]
        receipts = [image.info[RECEIPT_KEY] for image in images]
        labels = [receipt["label"] for receipt in receipts] if "label" in receipts[0] else None
        return Drawn(images, labels, receipts[0]["digest"])


def read_arrays(count: int | None, response: httpx.Response) -> Drawn:
    """The answer to ``format: npz``: ``count`` images as uint8 [N, H, W, C], or any number if None."""
    check_type(NPZ, response)
    with _reading(), np.load(io.BytesIO(response.content), allow_pickle=False) as arrays:
        images = _counted(arrays["images"], count)
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(f"{images.dtype} {images.shape}")
        labels = [str(label) for label in arrays["labels"]] if "labels" in arrays else None
        return Drawn(images, labels, response.headers["x-gan-serve-digest"])


def read_bytes(response: httpx.Response) -> bytes:
    """A file as it is; only what is no gan-serve server's is refused."""
    if "x-gan-serve-digest" not in response.headers:
        raise _foreign(response)
    return response.content


def read_frame(line: bytes) -> Frame:
    """A line of ``format: ndjson``.

    Raises:
        GanServeError: the line says what went wrong. Damaged: it is neither a frame nor an error.
    """
    with _reading():
        content = json.loads(line)
        if error := _error_in(content):
            raise error
        return Frame(int(content["frame"]), int(content["frames"]), _image(content))


def same_checkpoint(first: str, second: str) -> None:
    """Raise ``ServerError`` where images that belong together are of two checkpoints, by their digests."""
    if first != second:
        raise ServerError(
            "The server changed its checkpoint between the parts of an answer.", "Ask for all of it again."
        )


class Lines:
    """Cuts the bytes of a stream into lines; what follows the last line break is kept for the next bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, content: bytes) -> list[bytes]:
        """The lines that ``content`` completes."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        return lines


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except binascii.Error as error:
        raise Damaged("its base64 cannot be read") from error
    except _UNREADABLE as error:
        raise Damaged(f"it cannot be read ({type(error).__name__}: {error})"[:200]) from error


def _counted(items: Any, count: int | None) -> Any:
    if not len(items) or (count is not None and len(items) != count):
        raise ValueError(f"{len(items)} images")
    return items


def _image(item: Any) -> GeneratedImage:
    """An image of JSON, the same as ``Samples.images`` makes it."""
    with Image.open(io.BytesIO(base64.b64decode(item["png"], validate=True)), formats=["PNG"]) as file:
        image = file.copy()
    receipt = item["receipt"]
    # Not read as a Receipt: that of a later server may say more.
    if not isinstance(receipt, dict) or "digest" not in receipt:
        raise TypeError("no receipt")
    image.info = {RECEIPT_KEY: receipt}
    image.__class__ = GeneratedImage
    return image  # type: ignore[return-value]


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _envelope(response: httpx.Response) -> GanServeError | None:
    """The error of our envelope, or None where the answer has none."""
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


def _foreign(response: httpx.Response) -> ServerError:
    """The error of an answer that no gan-serve server gave."""
    url = str(response.url.copy_with(userinfo=b""))
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if "location" in response.headers and response.is_redirect:
        return ServerUnreachable(
            f"{url} answers {status}: go to {response.headers['location'][:200]!r}.",
            "Give the client the address that the server itself has.",
        )
    if kind := _BY_STATUS.get(response.status_code):
        error = kind(
            f"{url} answers {status}, and not in the way of gan-serve.", "Something stands between, such as a proxy."
        )
        error.retry_after = _retry_after(response)
        return error
    sent = _media_type(response) or "no type of content"
    return ServerUnreachable(
        f"{url} is not of a gan-serve server: it answers {status} with {sent}.",
        "Check the address; `gan-serve serve` prints it.",
    )


def _retry_after(response: httpx.Response) -> float | None:
    """The seconds of the header Retry-After, which is a number or a date."""
    value = str(response.headers.get("retry-after", ""))
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
