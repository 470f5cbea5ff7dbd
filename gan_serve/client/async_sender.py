"""Send the requests of a client with asyncio. ``sync_sender.py`` is generated from this file, as ``sync_client.py``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar

from gan_serve.client import exchanges, requests
from gan_serve.client.responses import Frame, LineSplitter, raise_for_error
from gan_serve.client.transport import MAX_REQUESTS, ClientSettings, is_transient, translate_errors
from gan_serve.errors import TooManyImages

if TYPE_CHECKING:
    import httpx

Result = TypeVar("Result")


class AsyncSender(ClientSettings):
    """The connections of a client: exchanges of requests and responses, repeated if that can help."""

    def __init__(self, address: str, *, api_key: str | None, timeout: float | None, retries: int) -> None:
        super().__init__(address, api_key=api_key, timeout=timeout, retries=retries)
        self._http = self._open_async_http()
        self._slots = asyncio.Semaphore(MAX_REQUESTS)  # more requests wait here and not in the server's queue

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _run(self, exchange: exchanges.Exchange[Result]) -> Result:
        """Send the requests of an exchange and return its result."""
        with translate_errors(self.address):
            try:
                call = next(exchange)
                while True:
                    try:
                        content = await self._retry(self._send, call)
                    except Exception as error:
                        call = exchange.throw(error)
                    else:
                        call = exchange.send(content)
            except StopIteration as end:
                result: Result = end.value
                return result

    async def _send(self, call: requests.Call) -> Any:
        async with self._slots:
            response = await self._http.request(**call.options())
        raise_for_error(response)
        return await self._async_read(call, response)

    async def _iter(self, stream: exchanges.FrameStream) -> AsyncGenerator[Frame, None]:
        while not stream.done:
            try:
                with translate_errors(self.address):
                    response, lines, frame = await self._retry(self._open_stream, stream)
            except TooManyImages:
                if not stream.halve():
                    raise
                continue
            async with contextlib.aclosing(response), contextlib.aclosing(lines):
                while frame is not None:
                    yield frame
                    with translate_errors(self.address):
                        frame = await self._next_frame(stream, lines)

    async def _open_stream(
        self, stream: exchanges.FrameStream
    ) -> tuple[httpx.Response, AsyncGenerator[bytes, None], Frame | None]:
        """Return a streamed response, its lines that are not read yet, and its first frame."""
        call = stream.call()
        response = await self._http.send(self._http.build_request(**call.options()), stream=True)
        try:
            if response.status_code != 200:
                await response.aread()
            raise_for_error(response)
            call.read(response)
            lines = _iter_lines(response)
            return response, lines, stream.read(await anext(lines, b""))
        except BaseException:
            await response.aclose()
            raise

    async def _next_frame(self, stream: exchanges.FrameStream, lines: AsyncGenerator[bytes, None]) -> Frame | None:
        """Return the next frame of a response, or None at its end, even if that comes too early."""
        try:
            if not stream.done:
                return stream.read(await anext(lines, b""))
            async for _ in lines:  # a connection can be used again once its response is read to the end
                pass
        except Exception as error:
            if not is_transient(error):
                raise
        return None

    async def _retry(self, send: Callable[..., Awaitable[Result]], *arguments: Any) -> Result:
        import tenacity

        return await tenacity.AsyncRetrying(**self._retries)(send, *arguments)


async def _iter_lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    splitter = LineSplitter()
    async for content in response.aiter_bytes():
        for line in splitter.feed(content):
            yield line
