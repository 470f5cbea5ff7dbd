"""Report the progress of a call: with a bar, or to a function of the user."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Self

PART = 64  # images that are sampled between two reports

Progress = bool | Callable[[int, int], object]
"""True shows a bar on standard error; a function is called with the images that are done, and with all images."""


class Meter:
    """Count the images, or the steps, of a call for ``progress``; a context manager.

    >>> with Meter(lambda done, total: print(done, "of", total), 3) as meter:
    ...     meter.add(2)
    ...     meter.add(1)
    2 of 3
    3 of 3
    """

    def __init__(self, progress: Progress, total: int, label: str = "Sampling") -> None:
        self._report = progress if callable(progress) else None
        self._bar: Any = None
        self._done, self._total = 0, total
        if progress is True:
            import click  # here: most calls show no bar

            self._bar = click.progressbar(length=total, label=label, file=sys.stderr, show_pos=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(*error)

    def add(self, images: int) -> None:
        """Count further images."""
        self._done += images
        if self._bar is not None:
            self._bar.update(images)
        if self._report is not None:
            self._report(self._done, self._total)
