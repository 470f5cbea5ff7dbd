"""Stop encoding images once their caller has gone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar


class NotWanted(Exception):
    """Nobody waits for the images that are being encoded."""


_wanted: ContextVar[Callable[[], bool]] = ContextVar("wanted", default=lambda: True)


@contextlib.contextmanager
def while_wanted(wanted: Callable[[], bool]) -> Iterator[None]:
    """Within this context, encoders raise ``NotWanted`` before the next image once ``wanted`` returns False."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def check_wanted() -> None:
    """Raise ``NotWanted`` if the caller of this context has gone; encoders call this before each image."""
    if not _wanted.get()():
        raise NotWanted
