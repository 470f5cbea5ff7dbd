"""The exchanges of a client with its server, for ``Client`` and ``AsyncClient`` alike. Nothing here uses the network.

An ``Exchange`` is a Python generator: it yields a ``Call``, is sent what was read from the response (or has its error
thrown in), and returns the result. The client that drives it sends the requests.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from gan_serve.client.requests import (
    Call,
    Fields,
    ImageRequest,
    condition_images,
    describe,
    mix_images,
    no_such_model,
    sample_images,
    walk_frames,
)
from gan_serve.client.responses import (
    NDJSON,
    DamagedResponse,
    FoundLatents,
    Frame,
    ReceivedImages,
    check_same_checkpoint,
    check_type,
    read_bytes,
    read_frame,
    read_object,
)
from gan_serve.errors import (
    BodyTooLarge,
    InvalidOption,
    ServerError,
    TooManyImages,
)
from gan_serve.images.pixels import UInt8Array
from gan_serve.keywords import check_keywords
from gan_serve.progress import Meter, Progress
from gan_serve.sampling.receipt import RECEIPT_KEY, GeneratedImage
from gan_serve.sampling.result import Output, check_output
from gan_serve.sampling.seeds import parse_seeds

Kind = Literal["sample", "condition", "interpolate", "mix"]
Result = TypeVar("Result")

Exchange = Generator[Call, Any, Result]


_REQUESTS: dict[str, Callable[..., ImageRequest]] = {
    "sample": sample_images,
    "condition": condition_images,
    "interpolate": walk_frames,
    "mix": mix_images,
}
_FILE_OPTIONS = ("format", "columns", "fps")


Limits = dict[str | None, int]
"""The number of images that the server accepts in one request, by model; known once it has refused more."""


def fetch_images(
    limits: Limits, request: ImageRequest, output: Output, progress: Progress = False
) -> Exchange[list[GeneratedImage] | UInt8Array]:
    """Fetch the images of ``sample_images`` or ``walk_frames``."""
    check_output(output)
    with Meter(progress, request.count) as meter:
        return (yield from _fetch_in_parts(limits, request, output, meter)).images


def fetch_by_label(
    limits: Limits, request: ImageRequest, output: Output, progress: Progress = False
) -> Exchange[dict[str, list[GeneratedImage]] | dict[str, UInt8Array]]:
    """Fetch the images of ``condition_images``: in one request or, if it is too large, in several for each label."""
    check_output(output)
    images = yield from _fetch_whole(request, output, progress)
    if images is None:
        labels = request.shared["labels"] or (yield from _fetch_field(request.shared["model"], "class_names"))
        rows = [replace(request, shared=request.shared | {"labels": [label]}, rows=1) for label in labels]
        images = yield from _fetch_rows(limits, rows, output, progress)
    if images.labels is None:
        raise DamagedResponse("its images have no labels")
    return images.by_label()


def fetch_mix(
    limits: Limits, request: ImageRequest, output: Output, progress: Progress = False
) -> Exchange[list[GeneratedImage] | UInt8Array]:
    """Fetch the images of ``mix_images``: in one request or, if it is too large, in several for each coarse seed."""
    check_output(output)
    images = yield from _fetch_whole(request, output, progress)
    if images is None:
        seeds = parse_seeds(request.shared["coarse"])
        rows = [replace(request, shared=request.shared | {"coarse": seed}, rows=1) for seed in seeds]
        images = yield from _fetch_rows(limits, rows, output, progress)
    return images.images


def fetch_latents(calls: Sequence[Call], progress: Progress = False) -> Exchange[FoundLatents]:
    """Fetch the latents of ``project_pictures``, one picture after the other."""
    parts: list[FoundLatents] = []
    with Meter(progress, len(calls)) as meter:
        for call in calls:
            try:
                parts.append((yield call))
            except ServerError as error:
                if error.code == "not_found":
                    hint = "Its operator allows it with GAN_SERVE_PROJECT, the seconds of a search."
                    raise ServerError("The server does not project pictures.", hint) from None
                raise
            meter.add(1)
    return FoundLatents.joined(parts)


def fetch_file(kind: Kind, model: str | None, path: str | Path | None, options: Fields) -> Exchange[bytes]:
    """Fetch the file of ``Client.download``."""
    if kind not in _REQUESTS:
        raise InvalidOption.unknown("kind of download", kind, _REQUESTS)
    make_request = _REQUESTS[kind]
    _, *keywords = inspect.signature(make_request).parameters  # the first is the model
    check_keywords("download", options, [*keywords, *_FILE_OPTIONS])
    encoding = {name: options[name] for name in _FILE_OPTIONS if name in options}
    if path is not None:
        encoding.setdefault("format", Path(path).suffix.removeprefix(".").lower() or None)
    if encoding.get("format") == "ndjson":
        raise InvalidOption("ndjson is a stream, not a file.", "Use iter_frames.")
    request = make_request(model, **{name: options[name] for name in keywords if name in options})
    content: bytes = yield Call("POST", request.path, read_bytes, request.fields(request.whole, **encoding))
    return content


def fetch_models() -> Exchange[list[Fields]]:
    """Fetch the list of ``Client.models``."""
    content = yield Call("GET", "/models", functools.partial(read_object, ["models"]))
    models: list[Fields] = content["models"]
    return models


def fetch_model(name: str) -> Exchange[Fields]:
    """Fetch the description of ``Client.model``."""
    try:
        description: Fields = yield describe(name, "name")
    except ServerError as error:
        if error.code == "not_found":  # a name with a slash is another path
            raise no_such_model(name) from None
        raise
    return description


class FrameStream:
    """The state of a streamed walk. After a disconnect, ``call`` returns the request for the remaining frames."""

    def __init__(self, request: ImageRequest) -> None:
        self._request = request
        self._received = 0
        self._batch = request.count  # frames to ask for in one request
        self._digest = ""

    @property
    def done(self) -> bool:
        """True once every frame was read."""
        return self._received == self._request.count

    def call(self) -> Call:
        """Return the request for the next frames."""
        part = slice(self._received, min(self._received + self._batch, self._request.count))
        fields = self._request.fields(part, format="ndjson")
        return Call("POST", self._request.path, functools.partial(check_type, NDJSON), fields)

    def read(self, line: bytes) -> Frame:
        """Return the next frame, given the next line of a response; an empty line stands for the end of the response.

        Raises:
            DamagedResponse: the line is not the next frame. GanServeError: the error in the line, or the digest of the
            checkpoint changed.
        """
        if not line:
            raise DamagedResponse("it ends before its last frame")
        frame = read_frame(line)
        if frame.number != self._request.first + self._received:
            raise DamagedResponse(f"it has frame {frame.number} in place of {self._request.first + self._received}")
        digest = frame.image.info[RECEIPT_KEY]["digest"]
        check_same_checkpoint(self._digest or digest, digest)
        self._digest = digest
        self._received += 1
        return frame

    def halve(self) -> bool:
        """Ask for half as many frames in the next requests; return False if the last one asked for a single frame."""
        asked = min(self._batch, self._request.count - self._received)
        self._batch = max(1, asked // 2)
        return asked > 1


def _fetch_whole(request: ImageRequest, output: Output, progress: Progress) -> Exchange[ReceivedImages | None]:
    """Fetch all images in one request; return None if it is too large for the server."""
    try:
        images: ReceivedImages = yield request.call(output, request.whole)
    except (TooManyImages, BodyTooLarge):
        return None
    with Meter(progress, len(images.images)) as meter:
        meter.add(len(images.images))
    return images


def _fetch_rows(
    limits: Limits, rows: Sequence[ImageRequest], output: Output, progress: Progress
) -> Exchange[ReceivedImages]:
    """Fetch the images of several requests."""
    with Meter(progress, sum(row.count for row in rows)) as meter:
        parts = []
        for row in rows:
            parts.append((yield from _fetch_in_parts(limits, row, output, meter)))
    return ReceivedImages.joined(parts)


def _fetch_in_parts(limits: Limits, request: ImageRequest, output: Output, meter: Meter) -> Exchange[ReceivedImages]:
    """Fetch all images, in as many requests as the limits of the server require."""
    model, count = request.shared["model"], request.count
    size = min(count, limits.get(model, count))
    parts: list[ReceivedImages] = []
    start = 0
    while start < count:
        if request.numbers is not None and size < count:
            request = yield from _with_labels(request)
        stop = min(start + size, count)
        try:
            parts.append((yield request.call(output, slice(start, stop))))
            meter.add(stop - start)
            start = stop
        except TooManyImages:
            if size == 1:
                raise
            size = limits[model] = yield from _smaller_size(size)
        except BodyTooLarge:  # many latents, or seeds that are not consecutive
            if size == 1:
                raise
            size //= 2
    return ReceivedImages.joined(parts)


def _fetch_field(model: str | None, field: str) -> Exchange[Any]:
    """Fetch a field of the description of a model; None is the only one of the server."""
    if model is None:
        models = yield from fetch_models()
        if not models or field not in models[0]:
            raise DamagedResponse(f"it has no model with {field}")
        return models[0][field]
    return (yield describe(model, field))[field]


def _smaller_size(images: int) -> Exchange[int]:
    """Return the number of images for the next request: the limit that the server states, or half of ``images``."""
    content = yield Call("GET", "/models", functools.partial(read_object, []))
    limits = content.get("limits")
    most = limits.get("max_images") if isinstance(limits, dict) else None
    return most if isinstance(most, int) and 1 <= most < images else images // 2


def _with_labels(request: ImageRequest) -> Exchange[ImageRequest]:
    """Return a request for latents with the labels that they have by their place in the whole request."""
    c_dim = yield from _fetch_field(request.shared["model"], "c_dim")
    if not c_dim:
        return replace(request, numbers=None)
    own, numbers = request.own, request.numbers or ()

    def with_labels(part: slice) -> Fields:
        return own(part) | {"label": [number % c_dim for number in numbers[part]]}

    return replace(request, own=with_labels, numbers=None)
