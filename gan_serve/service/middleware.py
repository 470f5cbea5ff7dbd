"""The middleware around the app: request id, host, key, time limit, security headers, the log and the metrics.

One layer of plain ASGI, because it runs for each of a thousand requests per second.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gan_serve.errors import TooManyRequests, Unauthorized
from gan_serve.service import metrics, request_log
from gan_serve.service.access_control import HostCheck, Keys
from gan_serve.service.error_responses import ERROR_HEADER, envelope, error_response, status_envelope
from gan_serve.service.headers import header
from gan_serve.service.request_error import RequestError
from gan_serve.service.settings import Settings
from gan_serve.service.shutdown import Shutdown
from gan_serve.service.tracing import STAGES, Tracing

PROBES = ("/livez", "/readyz")
MODEL = "/models/{name}"
LOG_FIELDS = "gan_serve.log_fields"  # key in a request's scope: further fields of its log line
KEY_NAME = "gan_serve.key"  # key in a request's scope: the name of its API key
TRACE_PARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")  # W3C Trace Context
REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
REQUEST_HEADERS = ["Authorization", "Content-Type", "If-None-Match", "Traceparent", "X-Request-Id"]
RESPONSE_HEADERS = [
    "ETag",
    "Retry-After",
    "X-Gan-Serve-Digest",
    "X-Gan-Serve-Error",
    "X-Gan-Serve-Receipt",
    "X-Gan-Serve-Seeds",
    "X-Request-Id",
]

_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]
_CLOSE = (b"connection", b"close")


class Middleware:
    """The ASGI app that wraps the service."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        shutdown: Shutdown,
        *,
        endpoints: Iterable[str] = (),
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._settings = settings
        self._shutdown = shutdown
        self._tracing = tracing
        self._hosts = HostCheck(settings)
        self._keys = Keys(settings)
        self._endpoints = frozenset(
            endpoints
        )  # named in the metrics; others are counted together, since clients invent paths
        self._inner: ASGIApp = self._authorized
        if settings.cors_origins:
            self._inner = _CORS(
                self._authorized,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=REQUEST_HEADERS,
                expose_headers=RESPONSE_HEADERS,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            await self._handle(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._app(scope, receive, send)  # lifespan: startup and shutdown

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        path: str = scope["path"]
        method: str = scope["method"]
        request_id = _request_id(scope)
        status, reason = 0, ""
        timeout: asyncio.Timeout | None = None
        if self._tracing:
            scope[STAGES] = {}
        if method == "HEAD":  # the server sends no body
            scope = {**scope, "method": "GET"}

        async def send_on(message: Message) -> None:
            nonlocal status, reason
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400:
                    reason = Headers(raw=message["headers"]).get(ERROR_HEADER, "")
                headers = [*message["headers"], (b"x-request-id", request_id), *_SECURITY_HEADERS]
                if self._shutdown.draining or status in (413, 504):  # the rest of a body is not read
                    headers.append(_CLOSE)
                message = {**message, "headers": headers}
            await send(message)
            if timeout is not None and message.get("more_body"):  # each part has a time limit of its own
                timeout.reschedule(asyncio.get_running_loop().time() + 2 * self._settings.timeout)

        try:
            async with asyncio.timeout(self._settings.timeout) as timeout:
                self._hosts.check(scope)
                if b"websocket" in header(scope, b"upgrade").lower():
                    raise RequestError(400, "no_websockets", "This server has no WebSockets.", "Use POST and GET.")
                await self._inner(scope, receive, send_on)
        except TimeoutError:
            if status:  # the response has begun and can only be cut off
                reason = "timeout"
                raise
            timeout = None
            await status_envelope(504)(scope, receive, send_on)
        except Exception as error:
            if status:
                raise
            if not isinstance(error, RequestError):
                request_log.service.exception("%s %s failed.", method, path[:200])
            timeout = None
            await error_response(error)(scope, receive, send_on)
        finally:
            ended = time.perf_counter()
            self._record(scope, method, request_id, (status, reason), ended - began)
            if self._tracing:
                self._tracing.record(scope, f"{method} {self._endpoint(path)}", status, (began, ended))

    async def _authorized(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if key := self._keys.check(scope["path"], header(scope, b"authorization")):
                scope[KEY_NAME] = key
        except (Unauthorized, TooManyRequests) as error:
            await error_response(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _record(self, scope: Scope, method: str, request_id: bytes, outcome: tuple[int, str], seconds: float) -> None:
        path: str = scope["path"]
        status, reason = outcome
        endpoint = self._endpoint(path)
        metrics.requests.labels(endpoint, str(status)).inc()
        metrics.request_seconds.labels(endpoint).observe(seconds)
        if reason:
            metrics.rejected.labels(reason).inc()
        key: str = scope.get(KEY_NAME, "")
        if key:
            metrics.key_requests.labels(key, str(status)).inc()
        if (path in PROBES and status == 200) or not request_log.logs_requests():
            return
        fields: dict[str, Any] = {
            "request_id": request_id.decode(),
            "method": method,
            "path": path[:200],
            "status": status,
            "ms": round(seconds * 1000, 2),
            "client": (scope.get("client") or ("",))[0],
            **scope.get(LOG_FIELDS, {}),
        }
        if key:
            fields["key"] = key
        if trace := TRACE_PARENT.fullmatch(header(scope, b"traceparent")):
            fields |= {"trace_id": trace[1].decode(), "span_id": trace[2].decode()}
        if reason:
            fields["error"] = reason
        request_log.log_request(fields)

    def _endpoint(self, path: str) -> str:
        """Return a name for the metrics and the traces."""
        return path if path in self._endpoints else MODEL if path.startswith("/models/") else "other"


class _CORS(CORSMiddleware):
    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        code, hint = "cors_refused", "The server's operator can add the origin to GAN_SERVE_CORS_ORIGINS."
        refusal = RequestError(response.status_code, code, f"{bytes(response.body).decode()}.", hint)
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return envelope(refusal.status, refusal.detail, kept)


def _request_id(scope: Scope) -> bytes:
    """Return the request id of the client or a proxy if it is valid, else a new one."""
    given = header(scope, b"x-request-id")
    if given and REQUEST_ID.fullmatch(given.decode("latin-1")):
        return given
    return secrets.token_hex(8).encode()
