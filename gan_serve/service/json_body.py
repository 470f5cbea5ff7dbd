"""Endpoints with a JSON body: its size, media type and syntax are checked before its fields.

FastAPI documents these routes from their signatures, but does not read the bodies: it has no limit on their size, and
takes 1.7 times as long with a seed in the body and 2.7 times with 1,000 latents (benchmarks/json_body.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import typing
from typing import TypeVar

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gan_serve.errors import BodyTooLarge, InvalidRequest, TooManyRequests
from gan_serve.service.headers import header
from gan_serve.service.request_error import RequestError
from gan_serve.service.settings import Settings

# The rest of a body that is too large is read before the response, until the client pauses for so long.
PAUSE_SECONDS = 1.0
DISCARD_SECONDS = 10.0  # at most, in all
DISCARD_BYTES = 64 * 2**20  # read of that rest, at most
MAX_Z_DIM = 1024  # the limit on items leaves room for latents of this size
SPARE_ITEMS = 1000

Body = TypeVar("Body", bound=BaseModel)


class BodyRoute(APIRoute):
    """A route whose endpoint is ``async def(body: MODEL, request: Request) -> Response``; FastAPI runs any other."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; errors go to the handlers of the app."""
        if self.body_field is None or scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        settings: Settings = scope["app"].state.settings
        content = await read_body(request)
        if not is_json(request):
            raise HTTPException(415)
        check_not_compressed(request)
        _check_items(content, settings.max_images)
        response = await self.endpoint(body=parse_json(content, self._model()), request=request)
        await response(scope, receive, send)

    def _model(self) -> type[BaseModel]:
        if not hasattr(self, "_body_model"):
            self._body_model: type[BaseModel] = typing.get_type_hints(self.endpoint)["body"]
        return self._body_model


async def read_body(request: Request) -> bytes:
    """Return the body.

    Raises:
        BodyTooLarge: it is larger than the settings allow. Some of the rest is read first: a server that closes a
            connection with unread data resets it, and the client would not see the response.
        TooManyRequests: all bodies that this worker is reading are together larger than allowed.
        ClientDisconnect: the client is gone.
    """
    state = request.scope["app"].state
    settings: Settings = state.settings
    most = settings.max_body
    declared = int(header(request.scope, b"content-length") or 0)
    parts, size, more = [], 0, True
    try:
        while more and max(size, declared) <= most:
            part, more = await _part(request)
            parts.append(part)
            size += len(part)
            state.body_bytes += len(part)
            if state.body_bytes > settings.max_queued_bytes and state.body_bytes > size:
                raise TooManyRequests("The server is reading too many large bodies.", "Try again soon.")
    finally:
        state.body_bytes -= size
    if max(size, declared) <= most:
        return b"".join(parts)
    # A client that waits for "100 Continue" sends nothing before it is asked to.
    if more and (size or header(request.scope, b"expect").lower() != b"100-continue"):
        parts.clear()
        end = time.monotonic() + DISCARD_SECONDS
        with contextlib.suppress(TimeoutError):
            while more and size <= most + DISCARD_BYTES and time.monotonic() < end:
                async with asyncio.timeout(PAUSE_SECONDS):
                    part, more = await _part(request)
                size += len(part)
    raise BodyTooLarge(f"The body is larger than {most:,} bytes, the limit of this server.", "Send less at a time.")


async def _part(request: Request) -> tuple[bytes, bool]:
    """Return the next part of the body, and whether there are more."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def media_type(request: Request) -> str:
    """Return the media type of the body in lower case, without its parameters."""
    return header(request.scope, b"content-type").partition(b";")[0].strip().lower().decode("latin-1")


def is_json(request: Request) -> bool:
    """Return True if the body is declared as JSON."""
    kind = media_type(request)
    return kind == "application/json" or kind.endswith("+json")


def check_not_compressed(request: Request) -> None:
    """Raise ``RequestError`` if the body is compressed."""
    encoding = header(request.scope, b"content-encoding").decode("latin-1").strip().lower()
    if encoding not in ("", "identity"):
        raise RequestError(
            415,
            "unsupported_media_type",
            f"The body is compressed (Content-Encoding: {encoding[:40]}), which this server does not support.",
            "Send it without the header Content-Encoding.",
        )


def _check_items(content: bytes, max_images: int) -> None:
    """Refuse a body with more items than any valid request has, before it is parsed.

    Counting takes a millisecond; parsing a million empty lists would block the event loop for a second.
    """
    lists, fields, items = content.count(b"[") + content.count(b"{"), content.count(b":"), content.count(b",")
    if max(lists, fields) > 2 * max_images + SPARE_ITEMS or items > max_images * MAX_Z_DIM + SPARE_ITEMS:
        raise InvalidRequest(
            "The body has more fields or items than any request that this server accepts.",
            f"Ask for at most {max_images:,} images at a time.",
        )


def parse_json(content: bytes, model: type[Body]) -> Body:
    """Return a body of JSON as ``model``.

    Raises:
        RequestError: it is not JSON. InvalidRequest: it is not an object, or a field is invalid.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:  # the fields of an object are explained in ``schemas``
        if error.errors(include_url=False)[0]["type"] == "json_invalid":
            hint = "Check its quotes, commas and brackets."
            raise RequestError(400, "invalid_json", "The body is not JSON.", hint) from None
        raise InvalidRequest(
            "The body is not a JSON object.", f"Its fields are: {', '.join(model.model_fields)}."
        ) from None
