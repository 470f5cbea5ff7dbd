"""Extend uvicorn's HTTP protocol: limits of a request's head and of unread responses; bursts spread over workers.

Without them, 120 MB of header lines take 2 GB of a worker's memory, one header of 70 MB takes all of its time, and
connections that send nothing stay open for ever. And one worker may accept all connections that a client opens at once.
``gan-serve serve`` passes the class to ``uvicorn.Config(http=...)``.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gan_serve.service import metrics, request_log
from gan_serve.service.error_responses import ERROR_HEADER
from gan_serve.service.request_error import ErrorDetail

MAX_HEAD = 64 * 1024  # bytes of request line and headers, beyond the first packet
HEAD_SECONDS = 10.0  # from the connection, or a request's first byte, to the end of its headers
DISCARD_BYTES = 4 * 2**20  # read and discarded after a refusal, at most
DISCARD_SECONDS = 2.0  # from a refusal to the close, which would reset the connection if it came at once
HALF_CLOSED_SECONDS = 1.0  # for the response to a client that has closed its side
FIRST_REQUEST_SECONDS = 1.0  # for a connection that is new when the server shuts down
BURST_SECONDS = 0.00015  # from one connection to a worker to the next, at most, in a burst
TURN_SECONDS = 0.0003  # that a worker leaves to the others to accept the next connection of a burst
MAX_TURNS = 64  # in a row: where clients connect for each request, turns only cost time
PAUSE_SECONDS = 0.1  # without connections, after which turns are counted anew


_INVALID = ErrorDetail(
    code="invalid_http", message="The request is not valid HTTP.", hint="This server speaks HTTP/1.1."
)
_TOO_LARGE = ErrorDetail(
    code="head_too_large",
    message="The headers are larger than this server accepts.",
    hint="Send fewer or shorter ones.",
)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with these limits, and with the error envelope for requests that never reach the app."""

    _head = 0
    _in_head = True
    _begun = False
    _refused = False
    _unread = 0  # bytes in the write buffer at the last check
    _waiting: asyncio.TimerHandle | None = None
    _watching: asyncio.TimerHandle | None = None
    _last_connection = 0.0  # of this process, monotonic
    _turns = 0  # of this process

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the timer for the first request, and leave the next connection of a burst to another worker."""
        # TLS connections are made after their handshake, and those of asyncio's own loop after all have been accepted.
        if self.config.workers > 1 and not self.config.is_ssl and type(self.loop).__module__.startswith("uvloop"):
            self._take_turns()
        self.ws_protocol_class = None  # upgrades go to the app, which refuses them
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._stop_waiting()
        if self._watching is not None:
            self._watching.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection after its response; a new one may send its first request, which can be on its way."""
        if self.cycle or self.transport.is_closing():
            super().shutdown()
        else:
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)

    def data_received(self, data: bytes) -> None:
        """Parse the data, and count the bytes of a head that has not ended."""
        if self._refused:
            self._head += len(data)
            if self._head > DISCARD_BYTES:
                self.transport.close()
            return
        self._begun = False
        super().data_received(data)
        # Line ends between requests do not keep a connection open.
        if self._waiting is None and (self._in_head or self.cycle is None or self.cycle.response_complete):
            self._wait()
        if self._in_head and not self._begun:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._refuse("431 Request Header Fields Too Large", _TOO_LARGE)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn's returns None
        """Keep the connection for ``HALF_CLOSED_SECONDS`` if a response is pending.

        No longer, since a client that has gone looks the same.
        """
        if self.scheme == "https" or self.cycle is None or self.cycle.response_complete:
            return None
        self.cycle.keep_alive = False
        self.loop.call_later(HALF_CLOSED_SECONDS, self.transport.close)
        return True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep headers; drop trailers (behind a body), which are not used and whose size is not limited."""
        if self._in_head:
            super().on_header(name, value)

    def on_message_begin(self) -> None:
        """Begin to count the bytes of the head."""
        super().on_message_begin()
        self._head = 0
        self._in_head = self._begun = True

    def on_headers_complete(self) -> None:
        """Stop the timer: from here on, the middleware limits the time."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Start to check whether the client reads the response."""
        super().on_response_complete()
        self._unread = self.transport.get_write_buffer_size()
        if self._unread and self._watching is None:
            self._watching = self.loop.call_later(HEAD_SECONDS, self._watch)

    def send_400_response(self, msg: str) -> None:
        """Refuse data that is not HTTP."""
        self._refuse("400 Bad Request", _INVALID)

    @classmethod
    def _take_turns(cls) -> None:
        since = time.monotonic() - cls._last_connection
        if since > PAUSE_SECONDS:
            cls._turns = 0
        elif since < BURST_SECONDS and cls._turns < MAX_TURNS:
            cls._turns += 1
            time.sleep(TURN_SECONDS)
        cls._last_connection = time.monotonic()

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._close_idle)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _close_idle(self) -> None:
        self._waiting = None
        if self.cycle is None or self.cycle.response_complete:  # else the next of several pipelined requests waits
            self.transport.close()

    def _watch(self) -> None:
        """Abort the connection of a client that reads nothing; a normal close would wait until all is read."""
        self._watching = None
        before, self._unread = self._unread, self.transport.get_write_buffer_size()
        if self._unread and self._unread == before:
            self.transport.abort()
        elif self._unread:
            self._watching = self.loop.call_later(HEAD_SECONDS, self._watch)

    def _refuse(self, status: str, detail: ErrorDetail) -> None:
        """Send an error without the app, discard further data for ``DISCARD_SECONDS``, then close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_waiting()
        if self.cycle is not None and not self.cycle.response_complete:  # an earlier request: it gets no response
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        request_id = secrets.token_hex(8)
        body = json.dumps({"error": detail.model_dump()}).encode()
        head = [
            f"HTTP/1.1 {status}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"{ERROR_HEADER}: {detail.code}",
            f"X-Request-Id: {request_id}",
            "Connection: close",
        ]
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(DISCARD_SECONDS, self.transport.close)
        else:
            self.transport.close()
        metrics.requests.labels("other", status[:3]).inc()
        metrics.rejected.labels(detail.code).inc()
        client = self.client[0] if self.client else ""
        fields = {"request_id": request_id, "status": int(status[:3]), "client": client, "error": detail.code}
        request_log.log_request(fields)
