"""Check what every error about a hostile file has in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gan_serve.errors import GanServeError


@contextmanager
def one_clear_error(kind: type[GanServeError], says: str) -> Iterator[None]:
    """Expect an error of this kind whose text matches ``says``, is short, and has nothing that moves a cursor."""
    with pytest.raises(kind, match=says) as error:
        yield
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500
