"""``async_sender.py`` without asyncio. Do not edit: tests/generate_sync_client.py writes this file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from gan_serve.client import exchanges, requests
from gan_serve.client.responses import Frame, LineSplitter, raise_for_error
from gan_serve.client.transport import MAX_REQUESTS, ClientSettings, is_transient, translate_errors
from gan_serve.errors import TooManyImages

if TYPE_CHECKING:
    import httpx

Result = TypeVar("Result")


class Sender(ClientSettings):
    """The connections of a client: exchanges of requests and responses, repeated if that can help."""

    def __init__(self, address: str, *, api_key: str | None, timeout: float | None, retries: int) -> None:
        super().__init__(address, api_key=api_key, timeout=timeout, retries=retries)
        self._http = self._open_http()
        self._slots = threading.Semaphore(MAX_REQUESTS)  # more requests wait here and not in the server's queue

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _run(self, exchange: exchanges.Exchange[Result]) -> Result:
        """Send the requests of an exchange and return its result."""
        with translate_errors(self.address):
            try:
                call = next(exchange)
                while True:
                    try:
                        content = self._retry(self._send, call)
                    except Exception as error:
                        call = exchange.throw(error)
                    else:
                        call = exchange.send(content)
            except StopIteration as end:
                result: Result = end.value
                return result

    def _send(self, call: requests.Call) -> Any:
        with self._slots:
            response = self._http.request(**call.options())
        raise_for_error(response)
        return self._read(call, response)

    def _iter(self, stream: exchanges.FrameStream) -> Generator[Frame, None, None]:
        while not stream.done:
            try:
                with translate_errors(self.address):
                    response, lines, frame = self._retry(self._open_stream, stream)
            except TooManyImages:
                if not stream.halve():
                    raise
                continue
            with contextlib.closing(response), contextlib.closing(lines):
                while frame is not None:
                    yield frame
                    with translate_errors(self.address):
                        frame = self._next_frame(stream, lines)

    def _open_stream(
        self, stream: exchanges.FrameStream
    ) -> tuple[httpx.Response, Generator[bytes, None, None], Frame | None]:
        """Return a streamed response, its lines that are not read yet, and its first frame."""
        call = stream.call()
        response = self._http.send(self._http.build_request(**call.options()), stream=True)
        try:
            if response.status_code != 200:
                response.read()
            raise_for_error(response)
            call.read(response)
            lines = _iter_lines(response)
            return response, lines, stream.read(next(lines, b""))
        except BaseException:
            response.close()
            raise

    def _next_frame(self, stream: exchanges.FrameStream, lines: Generator[bytes, None, None]) -> Frame | None:
        """Return the next frame of a response, or None at its end, even if that comes too early."""
        try:
            if not stream.done:
                return stream.read(next(lines, b""))
            for _ in lines:  # a connection can be used again once its response is read to the end
                pass
        except Exception as error:
            if not is_transient(error):
                raise
        return None

    def _retry(self, send: Callable[..., Result], *arguments: Any) -> Result:
        import tenacity

        return tenacity.Retrying(**self._retries)(send, *arguments)


def _iter_lines(response: httpx.Response) -> Generator[bytes, None, None]:
    splitter = LineSplitter()
    for content in response.iter_bytes():
        for line in splitter.feed(content):
            yield line
