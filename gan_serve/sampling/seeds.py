"""Seeds: parse, format and choose them."""

from __future__ import annotations

import itertools
import operator
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Annotated, Any, SupportsIndex

from pydantic import Field

from gan_serve.errors import (
    InvalidOption,
    InvalidSeeds,
    shorten,
)

SEED_END = 2**32
MAX_SEEDS = 100_000

Seeds = int | str | Iterable[int]

_RANGE = re.compile(r"\s*(\d{1,20})\s*(?:-\s*(\d{1,20})\s*)?", re.ASCII)
_SEEDS_HINT = 'Seeds are whole numbers from 0 to 4294967295: 7, [0, 5, 9], or text such as "0-3,10".'


def parse_seeds(seeds: Seeds) -> list[int]:
    """Return the seeds that a caller gave as a list; used by Python, the command line and HTTP.

    Args:
        seeds: an int, a list of ints, or text such as ``"0-3,10"`` (ranges include both ends).

    Returns:
        1 to 100,000 ints from 0 to 2**32-1, in the order given.

    Raises:
        InvalidSeeds: anything else. Ranges are counted before they are expanded.

    >>> parse_seeds("0-3,10")
    [0, 1, 2, 3, 10]
    """
    if isinstance(seeds, str):
        return _parse_text(seeds)
    if isinstance(seeds, bytes | bytearray | Mapping | Set) or (numbers := _iterator(seeds)) is None:
        return [_check_seed(seeds)]
    parsed: list[int] = []
    for seed in numbers:
        _check_count(len(parsed) + 1)
        parsed.append(_check_seed(seed))
    _check_count(len(parsed))
    return parsed


def format_seeds(seeds: list[int]) -> str:
    """Return seeds as text that ``parse_seeds`` reads.

    >>> format_seeds([0, 1, 2, 3, 10])
    '0-3,10'
    """
    runs = [[seed for _, seed in run] for _, run in itertools.groupby(enumerate(seeds), lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def choose_seeds(n: int | None = None, seed: int | None = None, seeds: Seeds | None = None) -> list[int]:
    """Return the seeds of a call: ``seeds``, or ``n`` from ``seed`` on, which is random if None.

    Raises:
        InvalidSeeds: seeds together with n or seed, n below 1, or a seed beyond 2**32-1.

    >>> choose_seeds(n=3, seed=7)
    [7, 8, 9]
    """
    if seeds is not None:
        if n is not None or seed is not None:
            raise InvalidSeeds("Both seeds and n or seed were given.", "Give seeds, or n and seed, not both.")
        return parse_seeds(seeds)
    count = 1 if n is None else check_int(n, "n")
    if count < 1:
        raise InvalidSeeds(f"n must be at least 1, not {shorten(count)}.", "Ask for one image or more.")
    _check_count(count)
    first = secrets.randbelow(SEED_END - count) if seed is None else _check_seed(seed)
    if first + count > SEED_END:
        raise InvalidSeeds(
            f"{count} seeds from {first} on go beyond the last seed, 4294967295.", "Give a smaller seed or n."
        )
    return list(range(first, first + count))


def _parse_text(text: str) -> list[int]:
    ranges = []
    count = 0
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if not match:
            raise InvalidSeeds(f"{shorten(part)} is not a seed or a range of seeds.", _SEEDS_HINT)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InvalidSeeds(f"The range {part.strip()!r} runs backwards.", f'Write "{last}-{first}".')
        _check_seed(last)
        ranges.append(range(first, last + 1))
        count += len(ranges[-1])
        _check_count(count)
    return [seed for numbers in ranges for seed in numbers]


def _check_seed(seed: Any) -> int:
    number = check_int(seed, "a seed")
    if not 0 <= number < SEED_END:
        raise InvalidSeeds(f"The seed {shorten(number)} is out of range.", _SEEDS_HINT)
    return number


def check_int(value: SupportsIndex | Any, what: str, error: type[InvalidSeeds | InvalidOption] = InvalidSeeds) -> int:
    """Return ``value`` as an int, or raise ``error`` if it is not a whole number."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise error(f"{what} must be a whole number, not {shorten(value)}.", "Give one such as 7.") from None


def _iterator(value: Any) -> Iterator[Any] | None:
    """Return an iterator over ``value``, or None if it has none, such as an array without dimensions."""
    try:
        iterator: Iterator[Any] = iter(value)
    except TypeError:
        return None
    return iterator


def _check_count(count: int) -> None:
    if count > MAX_SEEDS:
        raise InvalidSeeds(f"That is more than {MAX_SEEDS:,} seeds.", "Ask for fewer at a time.")
    if not count:
        raise InvalidSeeds("There are no seeds.", _SEEDS_HINT)


Seed = Annotated[int, Field(ge=0, lt=2**32)]
