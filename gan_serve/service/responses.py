"""From a plan to an answer: limits, ETag, the queue, the bytes and their headers; walks also frame by frame."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from gan_serve._version import __version__
from gan_serve.errors import GanServeError, RequestTimeout, ServerError, TooManyImages
from gan_serve.generator import Generator
from gan_serve.sampling.formats import FORMATS, check_encoding, encode
from gan_serve.sampling.request import SamplingRequest
from gan_serve.sampling.result import Samples
from gan_serve.sampling.seeds import format_seeds
from gan_serve.sampling.session import BATCH_SIZE
from gan_serve.service.batching import Engine
from gan_serve.service.error_responses import ErrorDetail
from gan_serve.service.json_body import CLIENT_GONE
from gan_serve.service.middleware import ABOUT
from gan_serve.service.openapi import STREAM_TYPE
from gan_serve.service.schemas import STREAM, DrawingRequest, InterpolateRequest
from gan_serve.service.settings import Settings

ANIMATIONS = ("gif", "webp")
MAX_HEADER = 4000  # characters; servers and proxies refuse long headers


class Encoded(NamedTuple):
    """What a drawing thread hands back: a body and what belongs into its headers."""

    body: bytes
    headers: dict[str, str]


class Answers:
    """Draws plans through the engine and answers with them."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings

    async def give(
        self, request: Request, body: DrawingRequest, generator: Generator, plan: SamplingRequest
    ) -> Response:
        """All images in the format asked for; 304 where the client has that very answer.

        Raises:
            InvalidOption, TooManyImages: it cannot be drawn so. TooManyRequests: the queue is full.
        """
        fps = body.fps if isinstance(body, InterpolateRequest) else 12.0
        _tell(request, body, len(plan))
        check_encoding(len(plan), body.format, columns=body.columns, fps=fps)
        self._check_size(plan, self.settings.max_images)
        headers = {}
        if body.names_latents:
            headers["ETag"] = tag = _etag(request, body, generator)
            if not_modified(request, tag):
                return Response(status_code=304, headers=headers)
        encoding = functools.partial(_encoded, format=body.format, columns=body.columns, fps=fps)
        drawing = self.engine.submit(generator, plan, encoding, format=body.format)
        # One that is soon done is not worth the watch.
        encoded = await (drawing if len(plan) <= BATCH_SIZE[generator.device] else _while_connected(request, drawing))
        if encoded is None:
            return Response(status_code=CLIENT_GONE)
        return Response(encoded.body, media_type=FORMATS[body.format].media_type, headers=encoded.headers | headers)

    async def stream(
        self, request: Request, body: InterpolateRequest, generator: Generator, plan: SamplingRequest
    ) -> Response:
        """The frames of a walk, a line of JSON each, as they are drawn; see ``give`` for the errors."""
        _tell(request, body, len(plan))
        self._check_size(plan, self.settings.max_frames)
        first, *rest = plan.parts(BATCH_SIZE[generator.device])
        drawing = self.engine.submit(generator, first, _frames, format=STREAM)
        return StreamingResponse(
            self._lines(generator, drawing, rest),
            media_type=STREAM_TYPE,
            headers={"X-Gan-Serve-Digest": plan.digest, "X-Accel-Buffering": "no", "Cache-Control": "no-store"},
        )

    async def _lines(
        self, generator: Generator, drawing: asyncio.Future[bytes], rest: list[SamplingRequest]
    ) -> AsyncIterator[bytes]:
        try:
            for part in [*rest, None]:
                async with asyncio.timeout(self.settings.timeout):
                    lines = await drawing
                if part is not None:  # while one part is sent, the next is drawn
                    drawing = self.engine.submit(generator, part, _frames, format=STREAM, admitted=True)
                yield lines
        except TimeoutError:
            yield _error_line(RequestTimeout("Frames took longer than this server allows.", "Go on later, with start."))
        except Exception:  # it is in the log: the engine put it there
            yield _error_line(ServerError("The server made a mistake.", "Its log says more."))
        finally:
            drawing.cancel()

    def _check_size(self, plan: SamplingRequest, most: int) -> None:
        pixels = len(plan) * plan.config.img_resolution**2
        if len(plan) > most:
            raise TooManyImages(
                f"{len(plan)} images are more than the {most} that this server draws for one request.",
                "Split them over several requests.",
            )
        if pixels > self.settings.max_pixels and len(plan) > 1:
            raise TooManyImages(
                f"{len(plan)} images are {pixels:,} pixels; this server draws up to {self.settings.max_pixels:,}.",
                "Split them over several requests.",
            )


def _tell(request: Request, body: DrawingRequest, images: int) -> None:
    request.scope[ABOUT] = {"model": body.model, "format": body.format, "images": images}


def _etag(request: Request, body: DrawingRequest, generator: Generator) -> str:
    """A name for the bytes of an answer: they follow from the request, the network, where it runs, and the version."""
    asked = f"{request.scope['path']}\n{body.model_dump_json()}\n{generator.digest}\n{generator.device}\n{__version__}"
    return f'"{hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()}"'


def not_modified(request: Request, tag: str) -> bool:
    """Whether ``If-None-Match`` names this answer."""
    given = request.headers.get("if-none-match", "")
    return given.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in given.split(","))


def _encoded(samples: Samples, *, format: str, columns: int | None, fps: float) -> Encoded:
    return Encoded(encode(samples, format, columns=columns, fps=fps), _headers(samples, format))


def _headers(samples: Samples, format: str) -> dict[str, str]:
    """What a client that only keeps the picture needs to make it again; left out where it is too long for a header."""
    headers = {"X-Gan-Serve-Digest": samples.digest}
    seeds = samples.walk.seeds if samples.walk else samples.seeds
    if seeds is not None:
        headers["X-Gan-Serve-Seeds"] = format_seeds(seeds)
    if len(samples) == 1 or samples.walk or format in ANIMATIONS:  # where it is not an image, that of the strip
        receipt = samples.receipt(0) if len(samples) == 1 else samples.sheet()[1]
        as_json = receipt.as_json()
        # ASCII, as headers must be: a label may be in any script.
        headers["X-Gan-Serve-Receipt"] = as_json if as_json.isascii() else json.dumps(receipt.as_dict())
    return {name: value for name, value in headers.items() if len(value) <= MAX_HEADER}


def _frames(samples: Samples) -> bytes:
    """The lines of a stream."""
    walk = samples.walk
    assert walk is not None
    total = walk.total
    lines = []
    for index in range(len(samples)):
        receipt = samples.receipt(index)
        frame = {
            "frame": receipt.walk.frame if receipt.walk else None,
            "frames": total,
            "png": base64.b64encode(samples.png(index)).decode(),
            "receipt": receipt.as_dict(),
        }
        lines.append(json.dumps(frame) + "\n")
    return "".join(lines).encode()


def _error_line(error: GanServeError) -> bytes:
    return (json.dumps({"error": ErrorDetail.of(error).model_dump()}) + "\n").encode()


async def _while_connected(request: Request, drawing: asyncio.Future[Encoded]) -> Encoded | None:
    """Draw for as long as somebody waits for it; None where nobody does any more."""
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        waited_for: set[asyncio.Future[Any]] = {drawing, gone}
        await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        return await drawing if drawing.done() else None
    finally:
        gone.cancel()
        drawing.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
