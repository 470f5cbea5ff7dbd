"""What every request passes on its way in and out: its id, the key, its time, security headers, the log, the counts.

Written as plain ASGI: it stands around each of a thousand requests a second.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gan_serve.errors import Unauthorized
from gan_serve.service import metrics
from gan_serve.service import request_log as logs
from gan_serve.service.error_responses import ERROR_HEADER, ErrorDetail, envelope, status_envelope
from gan_serve.service.settings import Settings

PROBES = ("/livez", "/readyz")
OPEN = ("/", *PROBES)  # without a key; also what lies under WEB
WEB = "/web/"
MODEL = "/models/{name}"
ABOUT = "gan_serve.about"  # where a request's scope keeps what its line in the log tells
REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)

_UNTRUSTING = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]
_CLOSE = (b"connection", b"close")


class Gate:
    """Stands around our app and BentoML's, which it keeps for the paths that BentoML answers.

    BentoML's own middleware (tracing, access log, metrics, timeout) takes a third of a millisecond a request, so that
    our endpoints do not go through it: the gate does what is needed of it.
    """

    def __init__(self, app: ASGIApp, bento: ASGIApp, settings: Settings, *, endpoints: Iterable[str] = ()) -> None:
        self.app = app
        self.bento = bento
        self.settings = settings
        self.draining = False
        self._key = settings.api_key.get_secret_value().encode()
        self._endpoints = frozenset(endpoints)  # names for the counts; other paths could be any number

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self.bento(scope, receive, send)  # its start and its end; it refuses websockets

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        path: str = scope["path"]
        request_id = _request_id(scope)
        status, reason = 0, ""
        timeout: asyncio.Timeout | None = None

        async def send_on(message: Message) -> None:
            nonlocal status, reason
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400:
                    reason = Headers(raw=message["headers"]).get(ERROR_HEADER, "")
                headers = [*message["headers"], (b"x-request-id", request_id), *_UNTRUSTING]
                if self.draining or status == 413:  # what else the client sends is not read
                    headers.append(_CLOSE)
                message = {**message, "headers": headers}
            await send(message)
            if timeout is not None and _goes_on(message):  # its parts have a time of their own
                timeout.reschedule(asyncio.get_running_loop().time() + 2 * self.settings.timeout)

        try:
            async with asyncio.timeout(self.settings.timeout) as timeout:
                await self._route(path, scope, receive, send_on)
        except TimeoutError:
            if status:  # the answer has begun: all that is left is to cut it off
                reason = "timeout"
                raise
            timeout = None
            await status_envelope(504)(scope, receive, send_on)
        except Exception:
            if status:
                raise
            logs.service.exception("%s %s failed.", scope["method"], path)
            timeout = None
            await status_envelope(500)(scope, receive, send_on)
        finally:
            self._account(scope, path, request_id, status, reason, time.perf_counter() - began)

    async def _route(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._may_enter(path, scope):
            refusal = Unauthorized("This server needs a key.", "Send the header Authorization: Bearer and the key.")
            response = envelope(401, ErrorDetail.of(refusal), {"WWW-Authenticate": "Bearer"})
            await response(scope, receive, send)
        elif path in PROBES or path == "/metrics":
            if path == "/readyz" and self.draining:
                await status_envelope(503)(scope, receive, send)
            else:
                await self.bento(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _may_enter(self, path: str, scope: Scope) -> bool:
        if not self._key or path in OPEN or path.startswith(WEB):
            return True
        kind, _, key = _header(scope, b"authorization").partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(key.strip(), self._key)

    def _account(self, scope: Scope, path: str, request_id: bytes, status: int, reason: str, seconds: float) -> None:
        endpoint = path if path in self._endpoints else MODEL if path.startswith("/models/") else "other"
        metrics.requests.labels(endpoint, str(status)).inc()
        metrics.request_seconds.labels(endpoint).observe(seconds)
        if reason:
            metrics.rejected.labels(reason).inc()
        if path in PROBES and status == 200:
            return
        facts: dict[str, Any] = {
            "request_id": request_id.decode(),
            "method": scope["method"],
            "path": path[:200],
            "status": status,
            "ms": round(seconds * 1000, 2),
            "client": (scope.get("client") or ("",))[0],
            **scope.get(ABOUT, {}),
        }
        if reason:
            facts["error"] = reason
        logs.access.info("request", extra={"facts": facts})


def _goes_on(message: Message) -> bool:
    """Whether this is a stream, and more of it will be sent."""
    if message["type"] == "http.response.start":
        return not any(name == b"content-length" for name, _ in message["headers"])
    return bool(message.get("more_body"))


def _request_id(scope: Scope) -> bytes:
    """The id that the client or a proxy gave, where it is one, or a new one."""
    given = _header(scope, b"x-request-id")
    if given and REQUEST_ID.fullmatch(given.decode("latin-1")):
        return given
    return secrets.token_hex(8).encode()


def _header(scope: Scope, name: bytes) -> bytes:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""
