"""The client of a server: the calls and results of a local ``Generator``, over HTTP.

    client = gan_serve.Client("http://localhost:3000")
    images = client.generate("fashion-dcgan", n=4, seed=7)

What is asked and how answers are read stands in ``client_calls`` and ``client_answers``, without any network;
``client_transport`` says what is tried again. Here the two clients drive it, in a thread and in an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from gan_serve.atomic_files import write_atomically
from gan_serve.client import requests as calls
from gan_serve.client.responses import Frame, Lines, check
from gan_serve.client.transport import connection, in_words, may_pass, trying
from gan_serve.errors import TooManyImages
from gan_serve.images.pixels import UInt8Array
from gan_serve.images.receipt import GeneratedImage
from gan_serve.sampling.request import ConditionOptions, SampleOptions, WalkOptions
from gan_serve.sampling.result import Output
from gan_serve.sampling.seeds import Seeds

if TYPE_CHECKING:
    import httpx

__all__ = ["AsyncClient", "Client", "Frame"]

AT_ONCE = 32  # requests of an async client; half of those that a server keeps waiting by default
LARGE = 2**16  # bytes of an answer that the async client reads in a thread
TIMEOUT = 75.0  # seconds; a server gives up after 60 by default, and says so
Result = TypeVar("Result")


class _Settings:
    """What the two clients have in common."""

    def __init__(self, address: str, *, api_key: str | None, timeout: float | None, retries: int) -> None:
        self._connection = connection(address, api_key, timeout)
        self._trying = trying(retries)
        self._limits = calls.Limits()
        self.address = str(self._connection["base_url"].copy_with(userinfo=b"")).rstrip("/")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"


class Client(_Settings):
    """A gan-serve server, used like a ``Generator``. One client may be used by many threads at once.

    >>> with Client("http://localhost:3000") as client:  # doctest: +SKIP
    ...     client.generate("fashion-dcgan", seeds="0-3", output="numpy").shape
    (4, 28, 28, 1)

    Args:
        address: where the server is, such as ``http://localhost:3000`` or ``https://example.org/gan``.
        api_key: the server's secret; GAN_SERVE_API_KEY if None.
        timeout: seconds without a sign of life after which a request is given up; never if None.
        retries: how often a request is tried again that was refused as one too many (429), came before the server was
            ready (503), or whose connection broke. All requests are safe to repeat: seeds that nobody names are drawn
            by the client. Between tries it waits as long as the server asks for, up to 30 s.

    Raises:
        InvalidOption: an argument that makes no sense. Every call: what ``Generator`` raises for the same arguments,
        UnknownModel: the server has no such model, TooManyRequests, ServerNotReady (with ``retry_after`` in seconds),
        Unauthorized, RequestTimeout, ServerUnreachable: nobody answers, or no gan-serve server. ServerError: any other
        failure.
    """

    def __init__(
        self, address: str, *, api_key: str | None = None, timeout: float | None = TIMEOUT, retries: int = 3
    ) -> None:
        import httpx

        super().__init__(address, api_key=api_key, timeout=timeout, retries=retries)
        self._http = httpx.Client(**self._connection)
        weakref.finalize(self, self._http.close)  # for a client that nobody closes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @overload
    def generate(
        self, model: str, n: int | None = None, *, output: Literal["pil"] = "pil", **options: Unpack[SampleOptions]
    ) -> list[GeneratedImage]: ...

    @overload
    def generate(
        self, model: str, n: int | None = None, *, output: Literal["numpy"], **options: Unpack[SampleOptions]
    ) -> UInt8Array: ...

    def generate(
        self, model: str, n: int | None = None, *, output: Output = "pil", **options: Unpack[SampleOptions]
    ) -> list[GeneratedImage] | UInt8Array:
        """Draw images; what the server refuses as too many is asked for in several requests.

        Args:
            model: a name of ``models()``.
            n, output, options: as for ``Generator.generate``.
        """
        return self._converse(calls.generate(self._limits, model, n, output, options))

    @overload
    def condition(
        self, model: str, n: int | None = None, *, output: Literal["pil"] = "pil", **options: Unpack[ConditionOptions]
    ) -> dict[str, list[GeneratedImage]]: ...

    @overload
    def condition(
        self, model: str, n: int | None = None, *, output: Literal["numpy"], **options: Unpack[ConditionOptions]
    ) -> dict[str, UInt8Array]: ...

    def condition(
        self, model: str, n: int | None = None, *, output: Output = "pil", **options: Unpack[ConditionOptions]
    ) -> dict[str, list[GeneratedImage]] | dict[str, UInt8Array]:
        """Draw the same latents under each label; see ``generate`` and ``Generator.condition``."""
        return self._converse(calls.condition(self._limits, model, n, output, options))

    @overload
    def interpolate(
        self, model: str, seeds: Seeds, *, output: Literal["pil"] = "pil", **options: Unpack[WalkOptions]
    ) -> list[GeneratedImage]: ...

    @overload
    def interpolate(
        self, model: str, seeds: Seeds, *, output: Literal["numpy"], **options: Unpack[WalkOptions]
    ) -> UInt8Array: ...

    def interpolate(
        self, model: str, seeds: Seeds, *, output: Output = "pil", **options: Unpack[WalkOptions]
    ) -> list[GeneratedImage] | UInt8Array:
        """Draw the frames of a walk through key seeds; see ``generate`` and ``Generator.interpolate``."""
        return self._converse(calls.interpolate(self._limits, model, seeds, output, options))

    def iter_frames(self, model: str, seeds: Seeds, **options: Unpack[WalkOptions]) -> Generator[Frame, None, None]:
        """The frames of ``interpolate`` one by one, as the server draws them, in memory for one.

        When the connection is cut, it goes on at the next frame; a frame that was given is never given again.

        Returns:
            An iterator of ``Frame(number, total, image)``. What is wrong with the arguments is raised before it.

        >>> for frame in client.iter_frames("fashion-dcgan", [0, 5, 9], steps=64):  # doctest: +SKIP
        ...     frame.image.save(f"{frame.number:04d}.png")
        """
        return self._frames(calls.Walking(model, seeds, options))

    def download(self, kind: calls.Kind, model: str, path: str | Path | None = None, **options: Any) -> bytes:
        """A file as the server encodes it: a grid, a sheet, a GIF, an npz, ...

        Args:
            kind: ``sample``, ``condition`` or ``interpolate``.
            model: a name of ``models()``.
            path: where to write the file too, if it is not None; its suffix is the format.
            options: those of the call of that kind (``interpolate`` also takes its ``seeds`` here), and ``format``
                (png, webp, gif, npz, zip, json), ``columns`` (images in a row) and ``fps`` (of an animation).

        Returns:
            The bytes of the file.

        >>> client.download("interpolate", "fashion-dcgan", "walk.gif", seeds=[0, 5, 9], loop=True)  # doctest: +SKIP
        """
        content = self._converse(calls.download(kind, model, path, options))
        if path is not None:
            write_atomically(path, content)
        return content

    def models(self) -> list[dict[str, Any]]:
        """The models of the server, each with its ``name``, ``ready``, ``class_names``, ``digest``, and so on."""
        return self._converse(calls.models())

    def model(self, name: str) -> dict[str, Any]:
        """One model in full: also its figures of quality (``metrics``) and the digests of its ``files``."""
        return self._converse(calls.model(name))

    def _converse(self, conversation: calls.Conversation[Result]) -> Result:
        with in_words(self.address):
            try:
                call = next(conversation)
                while True:
                    try:
                        answer = self._again(self._ask, call)
                    except Exception as error:
                        call = conversation.throw(error)
                    else:
                        call = conversation.send(answer)
            except StopIteration as end:
                result: Result = end.value
                return result

    def _ask(self, call: calls.Call) -> Any:
        response = self._http.request(**call.options())
        check(response)
        return call.read(response)

    def _frames(self, walk: calls.Walking) -> Generator[Frame, None, None]:
        while not walk.done:
            try:
                with in_words(self.address):
                    response, lines, frame = self._again(self._open, walk)
            except TooManyImages:
                if not walk.ask_for_less():
                    raise
                continue
            with contextlib.closing(response):
                while frame is not None:
                    yield frame
                    with in_words(self.address):
                        frame = self._next(walk, lines)

    def _open(self, walk: calls.Walking) -> tuple[httpx.Response, Iterator[bytes], Frame | None]:
        """An answer that is streamed, the lines of it that are not read yet, and its first frame."""
        call = walk.call()
        response = self._http.send(self._http.build_request(**call.options()), stream=True)
        try:
            if response.status_code != 200:
                response.read()
            check(response)
            call.read(response)
            lines = _lines(response)
            return response, lines, walk.read(next(lines, b""))
        except BaseException:
            response.close()
            raise

    def _next(self, walk: calls.Walking, lines: Iterator[bytes]) -> Frame | None:
        """The next frame of an answer, or None where it ended, well or not."""
        try:
            if not walk.done:
                return walk.read(next(lines, b""))
            for _ in lines:  # read to the end, a connection can be used again
                pass
        except Exception as error:
            if not may_pass(error):
                raise
        return None

    def _again(self, ask: Callable[..., Result], *arguments: Any) -> Result:
        import tenacity

        return tenacity.Retrying(**self._trying)(ask, *arguments)


class AsyncClient(_Settings):
    """``Client`` for asyncio: the same calls, awaited, as many at a time as you like.

    >>> async def main():
    ...     async with AsyncClient("http://localhost:3000") as client:
    ...         await asyncio.gather(*(client.generate("fashion-dcgan", seed=seed) for seed in range(100)))
    ...         async for frame in client.iter_frames("fashion-dcgan", [0, 5, 9]):
    ...             print(frame.number)

    Its arguments, results and errors are those of ``Client``.
    """

    def __init__(
        self, address: str, *, api_key: str | None = None, timeout: float | None = TIMEOUT, retries: int = 3
    ) -> None:
        import httpx

        super().__init__(address, api_key=api_key, timeout=timeout, retries=retries)
        self._http = httpx.AsyncClient(**self._connection)
        self._room = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @overload
    async def generate(
        self, model: str, n: int | None = None, *, output: Literal["pil"] = "pil", **options: Unpack[SampleOptions]
    ) -> list[GeneratedImage]: ...

    @overload
    async def generate(
        self, model: str, n: int | None = None, *, output: Literal["numpy"], **options: Unpack[SampleOptions]
    ) -> UInt8Array: ...

    async def generate(
        self, model: str, n: int | None = None, *, output: Output = "pil", **options: Unpack[SampleOptions]
    ) -> list[GeneratedImage] | UInt8Array:
        """As ``Client.generate``."""
        return await self._converse(calls.generate(self._limits, model, n, output, options))

    @overload
    async def condition(
        self, model: str, n: int | None = None, *, output: Literal["pil"] = "pil", **options: Unpack[ConditionOptions]
    ) -> dict[str, list[GeneratedImage]]: ...

    @overload
    async def condition(
        self, model: str, n: int | None = None, *, output: Literal["numpy"], **options: Unpack[ConditionOptions]
    ) -> dict[str, UInt8Array]: ...

    async def condition(
        self, model: str, n: int | None = None, *, output: Output = "pil", **options: Unpack[ConditionOptions]
    ) -> dict[str, list[GeneratedImage]] | dict[str, UInt8Array]:
        """As ``Client.condition``."""
        return await self._converse(calls.condition(self._limits, model, n, output, options))

    @overload
    async def interpolate(
        self, model: str, seeds: Seeds, *, output: Literal["pil"] = "pil", **options: Unpack[WalkOptions]
    ) -> list[GeneratedImage]: ...

    @overload
    async def interpolate(
        self, model: str, seeds: Seeds, *, output: Literal["numpy"], **options: Unpack[WalkOptions]
    ) -> UInt8Array: ...

    async def interpolate(
        self, model: str, seeds: Seeds, *, output: Output = "pil", **options: Unpack[WalkOptions]
    ) -> list[GeneratedImage] | UInt8Array:
        """As ``Client.interpolate``."""
        return await self._converse(calls.interpolate(self._limits, model, seeds, output, options))

    def iter_frames(self, model: str, seeds: Seeds, **options: Unpack[WalkOptions]) -> AsyncGenerator[Frame, None]:
        """As ``Client.iter_frames``, for ``async for``."""
        return self._frames(calls.Walking(model, seeds, options))

    async def download(self, kind: calls.Kind, model: str, path: str | Path | None = None, **options: Any) -> bytes:
        """As ``Client.download``."""
        content = await self._converse(calls.download(kind, model, path, options))
        if path is not None:
            await asyncio.to_thread(write_atomically, path, content)
        return content

    async def models(self) -> list[dict[str, Any]]:
        """As ``Client.models``."""
        return await self._converse(calls.models())

    async def model(self, name: str) -> dict[str, Any]:
        """As ``Client.model``."""
        return await self._converse(calls.model(name))

    async def _converse(self, conversation: calls.Conversation[Result]) -> Result:
        with in_words(self.address):
            try:
                call = next(conversation)
                while True:
                    try:
                        answer = await self._again(self._ask, call)
                    except Exception as error:
                        call = conversation.throw(error)
                    else:
                        call = conversation.send(answer)
            except StopIteration as end:
                result: Result = end.value
                return result

    async def _ask(self, call: calls.Call) -> Any:
        async with self._room:  # however many calls run: most wait here and not in the server's queue
            response = await self._http.request(**call.options())
        check(response)
        if len(response.content) < LARGE:
            return call.read(response)
        return await asyncio.to_thread(call.read, response)  # the event loop has other things to do meanwhile

    async def _frames(self, walk: calls.Walking) -> AsyncGenerator[Frame, None]:
        while not walk.done:
            try:
                with in_words(self.address):
                    response, lines, frame = await self._again(self._open, walk)
            except TooManyImages:
                if not walk.ask_for_less():
                    raise
                continue
            async with contextlib.aclosing(response), contextlib.aclosing(lines):
                while frame is not None:
                    yield frame
                    with in_words(self.address):
                        frame = await self._next(walk, lines)

    async def _open(self, walk: calls.Walking) -> tuple[httpx.Response, AsyncGenerator[bytes, None], Frame | None]:
        call = walk.call()
        response = await self._http.send(self._http.build_request(**call.options()), stream=True)
        try:
            if response.status_code != 200:
                await response.aread()
            check(response)
            call.read(response)
            lines = _async_lines(response)
            return response, lines, walk.read(await anext(lines, b""))
        except BaseException:
            await response.aclose()
            raise

    async def _next(self, walk: calls.Walking, lines: AsyncGenerator[bytes, None]) -> Frame | None:
        try:
            if not walk.done:
                return walk.read(await anext(lines, b""))
            async for _ in lines:
                pass
        except Exception as error:
            if not may_pass(error):
                raise
        return None

    async def _again(self, ask: Callable[..., Awaitable[Result]], *arguments: Any) -> Result:
        import tenacity

        return await tenacity.AsyncRetrying(**self._trying)(ask, *arguments)


def _lines(response: httpx.Response) -> Iterator[bytes]:
    lines = Lines()
    for content in response.iter_bytes():
        yield from lines.feed(content)


async def _async_lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    lines = Lines()
    async for content in response.aiter_bytes():
        for line in lines.feed(content):
            yield line
