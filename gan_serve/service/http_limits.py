"""What uvicorn leaves open in front of the app: the size of a request's head, and the time it may take to arrive.

Without them 120 MB of header lines take 2 GB of a worker, one header of 70 MB all of its time, and connections that
never say what they want stay forever. httptools, which parses, has no limits of its own.
"""

from __future__ import annotations

import asyncio
import json
import signal

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gan_serve.service import request_log as logs
from gan_serve.service.error_responses import ERROR_HEADER, ErrorDetail

MAX_HEAD = 64 * 1024  # bytes of request line and headers, beyond the first packet
HEAD_SECONDS = 10.0  # from the connection, or a request's first byte, to the end of its headers

_INVALID = ErrorDetail(code="invalid_http", message="That is not HTTP.", hint="This server speaks HTTP/1.1.")
_TOO_LARGE = ErrorDetail(
    code="head_too_large", message="The headers are larger than this server reads.", hint="Send fewer or shorter ones."
)


class Protocol(HttpToolsProtocol):
    """uvicorn's, with an end to waiting and to reading, and with our envelope for what is no HTTP."""

    _head = 0
    _in_head = True
    _begun = False
    _unread = 0  # bytes of answers, at the last look
    _waiting: asyncio.TimerHandle | None = None
    _watching: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait_no_more()
        if self._watching is not None:
            self._watching.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count what belongs to a head that does not end."""
        self._begun = False
        if self._waiting is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()  # line ends between requests, and what else is no request, keep nobody
        super().data_received(data)
        if self._in_head and not self._begun:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self._refuse("431 Request Header Fields Too Large", _TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what belongs to the head; trailers, behind a body, have no use and no end."""
        if self._in_head:
            super().on_header(name, value)

    def on_response_complete(self) -> None:
        """Watch whether the answer is read."""
        super().on_response_complete()
        self._unread = self.transport.get_write_buffer_size()
        if self._unread and self._watching is None:
            self._watching = self.loop.call_later(HEAD_SECONDS, self._watch)

    def on_message_begin(self) -> None:
        """Begin to wait for the end of the head."""
        super().on_message_begin()
        self._head = 0
        self._in_head = self._begun = True
        if self._waiting is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """Wait no more: the gate looks after the time from here on."""
        self._in_head = False
        self._wait_no_more()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets our envelope."""
        self._refuse("400 Bad Request", _INVALID)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._close_idle)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _close_idle(self) -> None:
        self._waiting = None
        if self.cycle is None or self.cycle.response_complete:  # else an answer is under way: a pipelined request waits
            self.transport.close()

    def _watch(self) -> None:
        """Cut off who reads nothing of an answer: closing would wait for it to be read."""
        self._watching = None
        before, self._unread = self._unread, self.transport.get_write_buffer_size()
        if self._unread and self._unread == before:
            self.transport.abort()
        elif self._unread:
            self._watching = self.loop.call_later(HEAD_SECONDS, self._watch)

    def _refuse(self, status: str, detail: ErrorDetail) -> None:
        """Answer without the app, and close."""
        body = json.dumps({"error": detail.model_dump()}).encode()
        head = [
            f"HTTP/1.1 {status}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"{ERROR_HEADER}: {detail.code}",
            "Connection: close",
        ]
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        self.transport.close()


def install() -> None:
    """Give this protocol to the uvicorn server that runs this process, for the connections to come."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)  # it handles its signals itself
    if isinstance(server, uvicorn.Server):
        server.config.http_protocol_class = Protocol
    else:
        logs.service.warning("Not run by uvicorn as we know it: the head of a request has no bound in size or time.")
