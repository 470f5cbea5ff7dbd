"""From a checked request to a response: limits, ETag, queue, bytes and headers; walks also as a stream of frames."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import json
import math
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gan_serve._version import __version__
from gan_serve.errors import GanServeError, RequestTimeout, ServerError, TooManyImages
from gan_serve.generator import Generator
from gan_serve.images.grid import GRID_GAP, grid_columns
from gan_serve.images.png import gzip_pixels
from gan_serve.sampling.formats import FORMATS, Layout, check_encoding
from gan_serve.sampling.request import SamplingRequest
from gan_serve.sampling.result import Samples
from gan_serve.sampling.seeds import format_seeds
from gan_serve.sampling.session import BATCH_SIZE
from gan_serve.service.batching import Batcher
from gan_serve.service.headers import header
from gan_serve.service.middleware import LOG_FIELDS
from gan_serve.service.openapi import STREAM_TYPE
from gan_serve.service.request_error import ErrorDetail
from gan_serve.service.schemas import STREAM, ImageRequest, InterpolateRequest
from gan_serve.service.settings import Settings
from gan_serve.service.tracing import STAGES

MAX_HEADER = 4000  # characters; servers and proxies refuse long headers
SENT_AT_ONCE = 2**18  # bytes of a body; the next are sent when the client has read enough
RECEIPT_SIZE = 700  # bytes of a receipt without its parts of any length: names, seeds, latents
SEED_SIZE = 12  # bytes of a seed in a list


class Encoded(NamedTuple):
    """The result of a sampling thread: a body and its headers."""

    body: bytes
    media_type: str
    headers: dict[str, str]


class BodyResponse(Response):
    """A response that sends a large body in parts, so that for a slow client not all of it is buffered."""

    release: Callable[[], None]  # called once the response is sent or has failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, then release its room in the queue."""
        body, size = bytes(self.body), len(self.body)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for start in range(0, max(1, size), SENT_AT_ONCE):
                stop = start + SENT_AT_ONCE
                await send({"type": "http.response.body", "body": body[start:stop], "more_body": stop < size})
        finally:
            self.release()


class FramesResponse(StreamingResponse):
    """A streamed response that releases its room in the queue at the end, even if no part was ever requested."""

    release: Callable[[], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, then release its room in the queue."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.release()


class Responses:
    """Samples requests through the batcher, and makes their responses."""

    def __init__(self, batcher: Batcher, settings: Settings) -> None:
        self.batcher = batcher
        self.settings = settings

    async def whole(
        self, request: Request, body: ImageRequest, generator: Generator, wanted: SamplingRequest
    ) -> Response:
        """Return all images in the requested format; 304 if the client already has this response.

        Raises:
            InvalidOption: the options do not fit the images. TooManyImages: a limit is exceeded. TooManyRequests: the
            queue is full.
        """
        fps = body.fps if isinstance(body, InterpolateRequest) else 12.0
        _log(request, body, wanted)
        images = len(wanted)
        check_encoding(images, body.format, columns=body.columns, fps=fps, scale=body.scale, served=True)
        self._check_images(wanted, self.settings.max_images)
        size = self._check_size(estimated_size(wanted, body.format, body.columns, body.scale))
        tag = _etag(request, body, generator) if body.names_latents else ""
        if tag and not_modified(request, tag):
            return Response(status_code=304, headers={"ETag": tag})
        encoding = functools.partial(
            _encoded,
            format=body.format,
            layout=Layout(body.columns, fps, body.scale),
            compressed=b"gzip" in header(request.scope, b"accept-encoding"),
        )
        release = self.batcher.reserve(images, size)
        stages = request.scope.get(STAGES)
        sampling = self.batcher.submit(generator, wanted, encoding, format=body.format, stages=stages)
        # For a small request, watching the connection does not pay.
        response = await respond(request, sampling, release, watched=images > BATCH_SIZE[generator.device])
        if tag:
            response.raw_headers.append((b"etag", tag.encode()))
        return response

    async def stream(
        self, request: Request, body: InterpolateRequest, generator: Generator, wanted: SamplingRequest
    ) -> Response:
        """Return the frames of a walk, a line of JSON each, as they are sampled; see ``whole`` for the errors."""
        _log(request, body, wanted)
        self._check_images(wanted, self.settings.max_frames)
        first, *rest = wanted.parts(BATCH_SIZE[generator.device])
        release = self.batcher.reserve(len(first), 2 * self._check_size(estimated_size(first, STREAM)))
        sampling = self.batcher.submit(generator, first, _frames, format=STREAM)
        response = FramesResponse(
            self._lines(generator, sampling, rest),
            media_type=STREAM_TYPE,
            headers={"X-Gan-Serve-Digest": wanted.digest, "X-Accel-Buffering": "no", "Cache-Control": "no-store"},
        )
        response.release = release
        return response

    async def _lines(
        self, generator: Generator, sampling: asyncio.Future[bytes], rest: list[SamplingRequest]
    ) -> AsyncIterator[bytes]:
        try:
            for part in [*rest, None]:
                async with asyncio.timeout(self.settings.timeout):
                    lines = await sampling
                if part is not None:  # while one part is sent, the next is sampled
                    sampling = self.batcher.submit(generator, part, _frames, format=STREAM)
                yield lines
        except TimeoutError:
            yield _error_line(
                RequestTimeout("Frames took longer than this server allows.", "Continue later, with the field start.")
            )
        except Exception:  # the batcher has logged it
            yield _error_line(ServerError("An error occurred in the server.", "See the server's log."))
        finally:
            sampling.cancel()

    def _check_images(self, wanted: SamplingRequest, most: int) -> None:
        images = len(wanted)
        pixels = images * wanted.config.img_resolution**2
        if images > most:
            raise TooManyImages(
                f"{images} images are more than the {most} that this server samples for one request.",
                "Split them over several requests.",
            )
        if pixels > self.settings.max_pixels and images > 1:
            raise TooManyImages(
                f"{images} images are {pixels:,} pixels; this server samples up to {self.settings.max_pixels:,}.",
                "Split them over several requests.",
            )

    def _check_size(self, size: int) -> int:
        if size > self.settings.max_response:
            raise TooManyImages(
                f"The response would have up to {size:,} bytes; this server sends up to "
                f"{self.settings.max_response:,}.",
                "Split the images over several requests.",
            )
        return size


async def respond(
    request: Request, sampling: asyncio.Future[Encoded], release: Callable[[], None], *, watched: bool
) -> Response:
    """Return the response to a request that is in the queue.

    Args:
        sampling: the future of its result.
        release: releases its room in the queue; called once the response is sent or has failed.
        watched: stop sampling if the client disconnects.
    """
    try:
        encoded = await (_while_connected(request, sampling) if watched else sampling)
        if encoded is None:
            raise ClientDisconnect
        response = BodyResponse(encoded.body, media_type=encoded.media_type, headers=encoded.headers)
    except BaseException:
        release()
        raise
    response.release = release
    return response


def estimated_size(wanted: SamplingRequest, format: str, columns: int | None = None, scale: int = 1) -> int:
    """Return the most bytes that a response may have, before it is sampled.

    Pixels are counted uncompressed.
    """
    n, config = len(wanted), wanted.config
    longest = max(map(len, config.class_names), default=0)
    latent = 0
    if wanted.latents is not None or wanted.offsets is not None:
        latent = (config.z_dim if wanted.latents is None else wanted.latents.shape[1]) * 6  # base64 of four bytes
    keys = _size_of_keys(wanted)
    label = 6 * longest  # its characters may be escaped in JSON
    receipt = RECEIPT_SIZE + len(config.name) + label + latent + keys.two_largest
    image = (config.img_resolution * scale) ** 2 * config.img_channels + config.img_resolution * scale + 100
    if format == "raw":
        return n * image
    if format in ("json", STREAM):
        return n * ((image + receipt) * 4 // 3 + receipt)
    if format == "zip":
        return n * (image + receipt + 300)
    if format == "npz":
        return n * (image + max(config.z_dim * 4, latent) + 4 * longest + 8)
    if FORMATS[format].is_animation:
        return n * (image + 1000)
    per_row = grid_columns(n, wanted.columns if columns is None else columns)
    cells = per_row * math.ceil(n / per_row) if n > 1 else 1
    sheet = cells * ((config.img_resolution + GRID_GAP) * scale) ** 2 * config.img_channels
    return sheet + RECEIPT_SIZE + keys.all + n * (SEED_SIZE + 6 * longest + latent)


class _KeySizes(NamedTuple):
    """Bytes of the keys of a walk or a mix in a receipt: all of them, and the two that a frame lies between."""

    all: int = 0
    two_largest: int = 0


def _size_of_keys(wanted: SamplingRequest) -> _KeySizes:
    if wanted.walk is not None:
        sizes = [SEED_SIZE if isinstance(key, int) else len(key) + 4 for key in wanted.walk.seeds]
        return _KeySizes(sum(sizes), 2 * (max(sizes) - SEED_SIZE))
    return _KeySizes(0 if wanted.mix is None else len(wanted.mix.seeds) * SEED_SIZE)


def _log(request: Request, body: ImageRequest, wanted: SamplingRequest) -> None:
    model = body.model or wanted.config.name
    request.scope[LOG_FIELDS] = {"model": model, "format": body.format, "images": len(wanted)}


def _etag(request: Request, body: ImageRequest, generator: Generator) -> str:
    """Return the ETag of a response; request, network, device and version determine its bytes."""
    asked = f"{request.scope['path']}\n{body.model_dump_json()}\n{generator.digest}\n{generator.device}\n{__version__}"
    return f'"{hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()}"'


def not_modified(request: Request, tag: str) -> bool:
    """Return True if ``If-None-Match`` names this response."""
    given = header(request.scope, b"if-none-match").decode("latin-1")
    if not given:
        return False
    return given.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in given.split(","))


def _encoded(samples: Samples, *, format: str, layout: Layout, compressed: bool) -> Encoded:
    content = FORMATS[format].encode(samples, layout)  # which ``check_encoding`` has allowed
    headers = _headers(samples, format)
    if format == "raw":
        headers |= {"X-Gan-Serve-Shape": ",".join(map(str, samples.pixels.shape)), "Vary": "Accept-Encoding"}
        if compressed:  # the other formats are compressed already
            content, headers["Content-Encoding"] = gzip_pixels(content), "gzip"
    return Encoded(content, FORMATS[format].media_type, headers)


def _headers(samples: Samples, format: str) -> dict[str, str]:
    """Return the headers with which a client can make a picture again; values too long for a header are left out."""
    headers = {"X-Gan-Serve-Digest": samples.digest}
    keys: Sequence[int | str] | None = samples.walk.seeds if samples.walk else samples.seeds
    seeds = [key for key in keys or () if isinstance(key, int)]
    if keys is not None and len(seeds) == len(keys):  # not those with latents among them
        headers["X-Gan-Serve-Seeds"] = format_seeds(seeds)
    if len(samples) == 1 or samples.walk or FORMATS[format].is_animation:  # an animation has the receipt of its strip
        receipt = samples.receipt(0) if len(samples) == 1 else samples.sheet()[1]
        as_json = receipt.as_json()
        # ASCII, as headers must be: a label may be in any script.
        headers["X-Gan-Serve-Receipt"] = as_json if as_json.isascii() else json.dumps(receipt.as_dict())
    return {name: value for name, value in headers.items() if len(value) <= MAX_HEADER}


def _frames(samples: Samples) -> bytes:
    """Return the lines of a stream."""
    walk = samples.walk
    assert walk is not None
    total = walk.total
    lines = []
    for index in range(len(samples)):
        frame: dict[str, Any] = {
            "frame": (walk.start or 0) + index,
            "frames": total,
            "png": base64.b64encode(samples.png(index)).decode(),
            "receipt": samples.receipt(index).as_dict(),
        }
        lines.append(json.dumps(frame) + "\n")
    return "".join(lines).encode()


def _error_line(error: GanServeError) -> bytes:
    return (json.dumps({"error": ErrorDetail.of(error).model_dump()}) + "\n").encode()


async def _while_connected(request: Request, sampling: asyncio.Future[Encoded]) -> Encoded | None:
    """Return the result of ``sampling``; cancel it and return None if the client disconnects first."""
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        waited_for: set[asyncio.Future[Any]] = {sampling, gone}
        await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        return await sampling if sampling.done() else None
    finally:
        gone.cancel()
        sampling.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
