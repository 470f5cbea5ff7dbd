"""From seeds to latents, and walks between them. NumPy only.

A seed is a latent: z(s) = ``RandomState(s).standard_normal(z_dim)`` as float32, a stream that NumPy keeps frozen.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from numbers import Real
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from gan_serve.errors import InvalidLatents, InvalidOption, InvalidSeeds, InvalidTruncation

SEED_END = 2**32
MAX_SEEDS = 100_000
MAX_FRAMES = 10_000_000  # of a whole walk, which may be drawn in parts of up to MAX_SEEDS
WALK_METHODS = ("slerp", "lerp")

Seeds = int | str | Iterable[int]
FloatArray = npt.NDArray[np.float32]

_RANGE = re.compile(r"\s*(\d{1,20})\s*(?:-\s*(\d{1,20})\s*)?", re.ASCII)
_of_thread = threading.local()
_SEEDS_HINT = 'Seeds are whole numbers from 0 to 4294967295: 7, [0, 5, 9], or text such as "0-3,10".'


def parse_seeds(seeds: Seeds) -> list[int]:
    """The one reading of seeds, in Python, on the command line and over HTTP.

    Args:
        seeds: an int, a list of ints, or text such as ``"0-3,10"`` (ranges include both ends).

    Returns:
        1 to 100,000 ints from 0 to 2**32-1, in the order given.

    Raises:
        InvalidSeeds: anything else; ranges are counted before they are laid out.

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


def seeds_as_text(seeds: list[int]) -> str:
    """Seeds as the text that ``parse_seeds`` reads.

    >>> seeds_as_text([0, 1, 2, 3, 10])
    '0-3,10'
    """
    runs = [[seed for _, seed in run] for _, run in itertools.groupby(enumerate(seeds), lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def choose_seeds(n: int | None = None, seed: int | None = None, seeds: Seeds | None = None) -> list[int]:
    """The seeds that a call asked for: ``seeds``, or the ``n`` from ``seed`` on, which is drawn if not given.

    Raises:
        InvalidSeeds: both ways at once, n below 1, or a run of seeds beyond 2**32-1.

    >>> choose_seeds(n=3, seed=7)
    [7, 8, 9]
    """
    if seeds is not None:
        if n is not None or seed is not None:
            raise InvalidSeeds("Both seeds and n or seed were given.", "Give seeds, or n and seed, not both.")
        return parse_seeds(seeds)
    count = 1 if n is None else _check_int(n, "n")
    if count < 1:
        raise InvalidSeeds(f"n must be at least 1, not {shorten(count)}.", "Ask for one image or more.")
    _check_count(count)
    first = secrets.randbelow(SEED_END - count) if seed is None else _check_seed(seed)
    if first + count > SEED_END:
        raise InvalidSeeds(f"{count} seeds from {first} on pass 4294967295, the last seed.", "Begin lower.")
    return list(range(first, first + count))


def latents_from_seeds(seeds: Iterable[int], z_dim: int) -> FloatArray:
    """z for each seed, float32 [N, z_dim].

    One ``RandomState`` a thread is reseeded rather than made anew: the same stream at a twentieth of the cost.

    >>> latents_from_seeds([0], 3).tolist() == [np.random.RandomState(0).standard_normal(3).astype("float32").tolist()]
    True
    """
    if not hasattr(_of_thread, "source"):
        _of_thread.source = np.random.RandomState(0)
    source: np.random.RandomState = _of_thread.source
    rows = []
    for seed in seeds:
        source.seed(seed)
        rows.append(source.standard_normal(z_dim))
    return np.array(rows, np.float32).reshape(len(rows), z_dim)


def check_latents(latents: Any, z_dim: int) -> FloatArray:
    """Latents that a caller gave, as float32 [N, z_dim].

    Raises:
        InvalidLatents: another shape, no rows, too many, or numbers that are not finite.
    """
    try:
        array = np.asarray(latents)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of different lengths, tensors that are no arrays
        raise InvalidLatents("latents are not an array of numbers.", f"Give float32 [N, {z_dim}].") from error
    if array.dtype.kind not in "fiu":
        raise InvalidLatents("latents are not an array of numbers.", f"Give float32 [N, {z_dim}].")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused below
        array = array.astype(np.float32)
    if array.ndim != 2 or array.shape[1] != z_dim or not 1 <= len(array) <= MAX_SEEDS:
        raise InvalidLatents(
            f"latents have the shape {list(array.shape)}.", f"Give float32 [N, {z_dim}], N from 1 to {MAX_SEEDS:,}."
        )
    if not np.isfinite(array).all():
        raise InvalidLatents("latents hold NaN or infinity.", "Give finite numbers.")
    return array


def check_truncation(truncation: Any) -> float:
    """A truncation from 0 to 1 as float.

    Raises:
        InvalidTruncation: NaN, out of range, or no number.
    """
    is_number = isinstance(truncation, Real) and not isinstance(truncation, bool)
    try:
        value = float(truncation) if is_number else math.nan
    except OverflowError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise InvalidTruncation(
            f"truncation must be a number from 0 to 1, not {shorten(truncation)}.",
            "1 leaves the latents as they are; smaller values draw them towards their mean.",
        )
    return value


def truncate(latents: FloatArray, truncation: float) -> FloatArray:
    """Draw latents towards their mean, 0: truncation · z. 1.0 is exactly the identity.

    The truncation trick of StyleGAN (Karras et al. 2019, appendix B: mean + ψ (w - mean)) in z, whose mean is 0.
    """
    return latents if truncation == 1.0 else latents * np.float32(truncation)


def lerp(start: FloatArray, end: FloatArray, t: float) -> FloatArray:
    """The point at share t of the straight line: (1-t) start + t end. Its norm sags in the middle."""
    return ((1.0 - t) * start.astype(np.float64) + t * end.astype(np.float64)).astype(np.float32)


def slerp(start: FloatArray, end: FloatArray, t: float) -> FloatArray:
    """The point at share t of the great circle between the directions, at the norm that lies between theirs.

    direction: sin((1-t)ω)/sin ω · a + sin(tω)/sin ω · b, ω the angle between the unit vectors a and b (Shoemake 1985;
    White 2016, arXiv:1609.04468); the norm goes from |start| to |end| in a straight line. Where there is no one great
    circle (parallel, opposite or zero vectors) it is ``lerp``.
    """
    a, b = start.astype(np.float64), end.astype(np.float64)
    norm_a, norm_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if not norm_a or not norm_b:
        return lerp(start, end, t)
    cosine = float(np.clip(a @ b / (norm_a * norm_b), -1.0, 1.0))
    omega = math.acos(cosine)
    if math.sin(omega) < 1e-6:
        return lerp(start, end, t)
    direction = (math.sin((1 - t) * omega) * a / norm_a + math.sin(t * omega) * b / norm_b) / math.sin(omega)
    return (((1 - t) * norm_a + t * norm_b) * direction).astype(np.float32)


def walk_length(keys: int, steps: int, loop: bool) -> int:
    """How many frames a walk has: (keys-1)·steps + 1, or keys·steps when it returns to its first key."""
    return keys * steps if loop else (keys - 1) * steps + 1


def walk(
    keys: FloatArray,
    steps: int,
    method: str = "slerp",
    loop: bool = False,
    *,
    start: int = 0,
    stop: int | None = None,
) -> FloatArray:
    """Latents along a path through key latents.

    Args:
        keys: float32 [k, z_dim], k of 2 or more.
        steps: frames from one key to the next.
        method: ``slerp`` (keeps the norm) or ``lerp``.
        loop: return to the first key.
        start, stop: the frames start .. stop-1 alone, the same as in the whole walk; to its end if stop is None.

    Returns:
        float32 [(k-1)·steps+1, z_dim], or [k·steps, z_dim] when looped; every key is there, exactly.

    Raises:
        InvalidOption: an unknown method, too few keys, steps below 1, a part that is not there, or too many frames.
    """
    check_walk(len(keys), steps, method, loop)
    start, stop = check_part(start, stop, walk_length(len(keys), steps, loop))
    return _along(keys, steps, method, range(start, stop))


def walk_between_seeds(
    seeds: Sequence[int],
    z_dim: int,
    steps: int,
    method: str = "slerp",
    loop: bool = False,
    *,
    start: int = 0,
    stop: int | None = None,
) -> FloatArray:
    """``walk`` through the latents of key seeds; of a part, only the keys that it lies between are made.

    >>> whole = walk(latents_from_seeds([0, 5, 9], 4), 3, loop=True)
    >>> np.array_equal(walk_between_seeds([0, 5, 9], 4, 3, loop=True, start=4, stop=9), whole[4:])
    True
    """
    check_walk(len(seeds), steps, method, loop)
    start, stop = check_part(start, stop, walk_length(len(seeds), steps, loop))
    first, end = start // steps, (stop - 1) // steps + 1
    keys = latents_from_seeds((seeds[key % len(seeds)] for key in range(first, end + 1)), z_dim)
    return _along(keys, steps, method, range(start - first * steps, stop - first * steps))


def _along(keys: FloatArray, steps: int, method: str, frames: range) -> FloatArray:
    """Frames of the walk through ``keys`` that returns to its first, by number: float32 [N, z_dim]."""
    if len(frames) > MAX_SEEDS:
        raise InvalidOption(
            f"{len(frames):,} frames are more than are drawn at once.",
            f"Draw them in parts (start, stop) of at most {MAX_SEEDS:,}.",
        )
    between = slerp if method == "slerp" else lerp
    latents = []
    for number in frames:
        key, step = divmod(number, steps)
        start = keys[key]
        latents.append(start if step == 0 else between(start, keys[(key + 1) % len(keys)], step / steps))
    return np.stack(latents)


def check_part(start: Any, stop: Any, length: int) -> tuple[int, int]:
    """The frames start .. stop-1 of a walk of ``length`` frames; to its end if stop is None.

    Raises:
        InvalidOption: the walk does not have them, or there are none.
    """
    first = _check_int(start, "start", InvalidOption)
    end = length if stop is None else _check_int(stop, "stop", InvalidOption)
    if not 0 <= first < end <= length:
        raise InvalidOption(
            f"The walk has no frames from {shorten(start)} to before {shorten(stop if stop is not None else length)}.",
            f"It has {length}: start is from 0 to {length - 1}, stop from start + 1 to {length}.",
        )
    return first, end


def check_walk(keys: int, steps: int, method: str, loop: bool) -> None:
    """Raise ``InvalidOption`` where ``walk`` would, before any latent is drawn."""
    if method not in WALK_METHODS:
        raise InvalidOption.unknown("method", method, WALK_METHODS)
    if keys < 2:
        raise InvalidOption("A walk needs at least two seeds.", 'For example "0,5,9".')
    if not isinstance(loop, bool | np.bool_):
        raise InvalidOption(f"loop must be True or False, not {shorten(loop)}.", "True returns to the first seed.")
    if not _check_int(steps, "steps", InvalidOption) >= 1 or walk_length(keys, steps, loop) > MAX_FRAMES:
        raise InvalidOption(
            f"{shorten(steps)} steps between {keys} seeds cannot be drawn.",
            f"Ask for 1 step or more, and at most {MAX_FRAMES:,} frames.",
        )


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
    number = _check_int(seed, "a seed")
    if not 0 <= number < SEED_END:
        raise InvalidSeeds(f"The seed {shorten(number)} is out of range.", _SEEDS_HINT)
    return number


def _check_int(value: SupportsIndex | Any, what: str, error: type[InvalidSeeds | InvalidOption] = InvalidSeeds) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise error(f"{what} must be a whole number, not {shorten(value)}.", "Give one such as 7.") from None


def _iterator(value: Any) -> Iterator[Any] | None:
    """What goes through ``value``, or None; an array of no dimensions says that it can be gone through and cannot."""
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


def shorten(value: object) -> str:
    """A value as an error message shows it."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 40 else text[:37] + "..."
