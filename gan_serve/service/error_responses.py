"""One envelope for whatever goes wrong: ``{"error": {"code": ..., "message": ..., "hint": ...}}``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple, Self

from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gan_serve.errors import GanServeError, ServerNotReady, TooManyRequests

RETRY_AFTER = 1  # seconds; what waits in a full queue is drawn by then
PASSING = (TooManyRequests.code, ServerNotReady.code)  # the same request may succeed later
ERROR_HEADER = "x-gan-serve-error"  # on every answer that has the envelope: its code


class ErrorDetail(BaseModel):
    """What went wrong: a code for programs, and a sentence and advice for people."""

    code: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: GanServeError) -> Self:
        """What ``error`` says."""
        return cls(code=error.code, message=error.message, hint=error.hint)


class ErrorBody(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: ErrorDetail


class _Kind(NamedTuple):
    code: str
    message: str
    hint: str


_BY_STATUS = {
    400: _Kind("invalid_json", "The body is not JSON.", "Check its quotes, commas and brackets."),
    404: _Kind("not_found", "There is nothing at this path.", "GET /docs.json lists the paths."),
    405: _Kind("method_not_allowed", "This path does not take that method.", "GET /docs.json lists the methods."),
    413: _Kind("body_too_large", "The body is larger than this server reads.", "Send fewer latents at a time."),
    415: _Kind(
        "unsupported_media_type", "The body is not declared as JSON.", "Send the header Content-Type: application/json."
    ),
    429: _Kind("too_many_requests", "The server is busy with as many requests as it takes.", "Try again soon."),
    500: _Kind("internal_error", "The server made a mistake.", "Its log says more."),
    503: _Kind("not_ready", "The server is not ready.", "GET /models says which model is not, and why."),
    504: _Kind("timeout", "The request took longer than this server allows.", "Ask for fewer images."),
}


def envelope(status: int, detail: ErrorDetail, headers: Mapping[str, str] | None = None) -> Response:
    """An error as a response."""
    retry = {"Retry-After": str(RETRY_AFTER)} if status in (429, 503) and detail.code in PASSING else {}
    # ASCII only: a label with half of a surrogate pair, quoted in a message, has no UTF-8.
    body = json.dumps({"error": detail.model_dump()})
    return Response(body, status, {**retry, **(headers or {}), ERROR_HEADER: detail.code}, "application/json")


def status_envelope(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """The envelope for an error of HTTP itself."""
    kind = _BY_STATUS.get(status, _BY_STATUS[500 if status >= 500 else 400])
    return envelope(status, ErrorDetail(**kind._asdict()), headers)


def add_error_handlers(app: FastAPI) -> None:
    """Make every error that arises in ``app`` an envelope."""

    @app.exception_handler(GanServeError)
    async def from_gan_serve(_: Request, error: GanServeError) -> Response:
        return envelope(error.status, ErrorDetail.of(error))

    @app.exception_handler(HTTPException)
    async def from_http(_: Request, error: HTTPException) -> Response:
        return status_envelope(error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def from_anything(_: Request, error: Exception) -> Response:
        return status_envelope(500)


class ErrorEnvelope:
    """Replaces the error answers of BentoML (not ready, a wrong method) by envelopes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        replaced = False

        async def send_enveloped(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] >= 400:
                headers = Headers(raw=message["headers"])
                if ERROR_HEADER not in headers:
                    replaced = True
                    kept = {name: headers[name] for name in ("allow", "retry-after") if name in headers}
                    await status_envelope(message["status"], kept)(scope, receive, send)
            if not replaced:
                await send(message)

        await self.app(scope, receive, send_enveloped)
