"""Both clients behind one face, so that each test of the client serves the sync one and the async one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Self

import pytest

from gan_serve import AsyncClient, Client


class AwaitedClient:
    """An ``AsyncClient`` whose calls are awaited here."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._client = AsyncClient(*arguments, **options)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def iter_frames(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        frames = self._client.iter_frames(*arguments, **options)
        return self._awaited(frames)

    def _awaited(self, frames: AsyncGenerator[Any, None]) -> Iterator[Any]:
        try:
            with contextlib.suppress(StopAsyncIteration):
                while True:
                    yield self._runner.run(_next(frames))
        finally:
            self._runner.run(frames.aclose())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)
        return lambda *arguments, **options: self._runner.run(call(*arguments, **options))


async def _next(frames: AsyncGenerator[Any, None]) -> Any:
    return await anext(frames)


BOTH = pytest.mark.parametrize("kind", [Client, AwaitedClient], ids=["sync", "async"])
