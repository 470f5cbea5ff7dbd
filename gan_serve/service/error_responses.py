"""The error envelope, the form of all error responses: ``{"error": {"code": ..., "message": ..., "hint": ...}}``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gan_serve.errors import GanServeError, ServerError, ServerNotReady, TooManyRequests, Unauthorized
from gan_serve.service.request_error import ErrorDetail, RequestError

CLIENT_GONE = 499  # nginx's status for a client that has disconnected; only the log shows it
RETRY_AFTER = 1  # seconds, for errors that do not know it
PASSING = (TooManyRequests.code, ServerNotReady.code)  # the same request may succeed later
ERROR_HEADER = "x-gan-serve-error"  # the code of the error; every response with the envelope has this header
EXPECTED = (GanServeError, RequestError, HTTPException, ClientDisconnect)  # all others are faults of the server


class ErrorBody(BaseModel):
    """The body of every response with a status of 400 or more."""

    error: ErrorDetail


class _Kind(NamedTuple):
    code: str
    message: str
    hint: str


_BY_STATUS = {
    400: _Kind("bad_request", "The server cannot read this request.", "GET /docs.json describes the requests."),
    404: _Kind("not_found", "There is nothing at this path.", "GET /docs.json lists the paths."),
    405: _Kind("method_not_allowed", "This path does not support that method.", "GET /docs.json lists the methods."),
    415: _Kind(
        "unsupported_media_type", "The body is not declared as JSON.", "Send the header Content-Type: application/json."
    ),
    500: _Kind("internal_error", "An error occurred in the server.", "See the server's log."),
    503: _Kind("not_ready", "The server is not ready.", "GET /models shows which model is not ready, and why."),
    504: _Kind("timeout", "The request took longer than this server allows.", "Ask for fewer images."),
}


def envelope(status: int, detail: ErrorDetail, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as a response."""
    retry = {"Retry-After": str(RETRY_AFTER)} if status in (429, 503) and detail.code in PASSING else {}
    # ASCII only: a message may quote a label with a lone surrogate, which UTF-8 cannot encode.
    body = json.dumps({"error": detail.model_dump()})
    return Response(body, status, {**retry, **(headers or {}), ERROR_HEADER: detail.code}, "application/json")


def status_envelope(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return the envelope of an HTTP error that has a status only."""
    kind = _BY_STATUS.get(status, _BY_STATUS[500 if status >= 500 else 400])
    return envelope(status, ErrorDetail(**kind._asdict()), headers)


def error_response(error: Exception) -> Response:
    """Return the response to a request that failed with ``error``."""
    match error:
        case GanServeError():
            headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}
            if isinstance(error, ServerError) and error.retry_after:
                headers["Retry-After"] = f"{error.retry_after:.0f}"
            return envelope(error.status, ErrorDetail.of(error), headers)
        case RequestError():
            return envelope(error.status, error.detail)
        case HTTPException():
            return status_envelope(error.status_code, error.headers)
        case ClientDisconnect():
            return Response(status_code=CLIENT_GONE)
    return status_envelope(500)


def add_error_handlers(app: FastAPI) -> None:
    """Make ``app`` respond to every error with the envelope, except where the client is gone."""

    async def respond(_: Request, error: Exception) -> Response:
        return error_response(error)

    for kind in (*EXPECTED, Exception):
        app.add_exception_handler(kind, respond)
