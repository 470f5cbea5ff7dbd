"""Walks: latents along a path between key latents. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from gan_serve.errors import InvalidOption, shorten
from gan_serve.sampling.keys import Key, Keys, key_latents, parse_keys
from gan_serve.sampling.latents import FloatArray
from gan_serve.sampling.seeds import MAX_SEEDS, check_int

MAX_FRAMES = 10_000_000  # of a whole walk; at most MAX_SEEDS of them are computed at once
WALK_METHODS = ("slerp", "lerp")


class Walk(BaseModel):
    """The frames of a walk: one (``frame``), a part (``start`` .. ``stop`` - 1), or all of them.

    ``seeds`` are its keys: seeds, or latents as ``pack_latent`` packs them. Receipts contain it in this form.
    ``make_walk`` makes a checked one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: list[Key]
    steps: int
    method: Literal["slerp", "lerp"]
    loop: bool
    frame: int | None = None
    start: int | None = None
    stop: int | None = None

    @model_validator(mode="after")
    def _is_a_frame_or_a_part(self) -> Self:
        if (self.start is None) != (self.stop is None) or (self.frame is not None and self.start is not None):
            raise ValueError("a walk has a frame, or start and stop, or none of them")
        return self

    @property
    def total(self) -> int:
        """The number of frames of the whole walk."""
        return walk_length(len(self.seeds), self.steps, self.loop)

    @property
    def frames(self) -> range:
        """The frames that this object stands for, by their numbers in the whole walk."""
        if self.frame is not None:
            return range(self.total)[self.frame : self.frame + 1]
        return range(self.total)[self.start : self.stop]

    @property
    def nearest_keys(self) -> list[int]:
        """The index of the key that each of ``frames`` is nearest to; of two, the one before it."""
        keys = len(self.seeds)
        return [((2 * frame + self.steps - 1) // (2 * self.steps)) % keys for frame in self.frames]

    def frame_at(self, index: int) -> Self:
        """Return the frame with this index among ``frames`` as a place between the two keys that it lies between.

        Receipts of a thousand frames that each repeated a hundred thousand keys would be a gigabyte.
        """
        frame = (self.start or 0) + index
        between = self._between(frame, frame + 1)
        return between.model_copy(update={"frame": between.start, "start": None, "stop": None})

    def trimmed(self) -> Self:
        """Return this part of a walk with only the keys that its frames lie between; a whole walk stays as it is."""
        if self.start is None or self.stop is None:
            return self
        return self._between(self.start, self.stop)

    def _between(self, start: int, stop: int) -> Self:
        last = len(self.seeds) if self.loop else len(self.seeds) - 1  # in a loop the key after the last is the first
        first = min(start // self.steps, last - 1)
        end = min((stop - 1) // self.steps + 1, last)
        keys = [self.seeds[key % len(self.seeds)] for key in range(first, end + 1)]
        before = first * self.steps
        return self.model_copy(update={"seeds": keys, "loop": False, "start": start - before, "stop": stop - before})

    def part(self, start: int, stop: int) -> Self:
        """Return the frames start .. stop-1 of ``frames`` as a walk of their own."""
        frames = self.frames[start:stop]
        return self.model_copy(update={"start": frames.start, "stop": frames.stop})


def make_walk(
    seeds: Keys, *, steps: int = 16, method: str = "slerp", loop: bool = False, start: int = 0, stop: int | None = None
) -> Walk:
    """Return the walk through keys that a caller asked for, checked.

    Args:
        seeds: two or more keys: seeds in any form that ``parse_seeds`` reads, or a list of seeds and latents.
        steps, method, loop, start, stop: as for ``walk``.

    Raises:
        InvalidSeeds, InvalidLatents: see ``parse_keys``. InvalidOption: see ``walk``.
    """
    keys = parse_keys(seeds)
    check_walk(len(keys), steps, method, loop)
    whole = Walk(seeds=list(keys), steps=int(steps), method="slerp" if method == "slerp" else "lerp", loop=bool(loop))
    start, stop = check_frame_range(start, stop, whole.total)
    return whole if (start, stop) == (0, whole.total) else whole.model_copy(update={"start": start, "stop": stop})


def lerp(start: FloatArray, end: FloatArray, t: float) -> FloatArray:
    """Return the point at t (0 to 1) of the straight line: (1-t) start + t end. Its norm is smallest in the middle."""
    return ((1.0 - t) * start.astype(np.float64) + t * end.astype(np.float64)).astype(np.float32)


def slerp(start: FloatArray, end: FloatArray, t: float) -> FloatArray:
    """Return the point at t (0 to 1) of the great circle between two directions, with a norm between those of the ends.

    Direction: sin((1-t)ω)/sin ω · a + sin(tω)/sin ω · b, where ω is the angle between the unit vectors a and b
    (Shoemake 1985; White 2016, arXiv:1609.04468). Norm: (1-t) |start| + t |end|. Parallel, opposite and zero vectors
    have no unique great circle; they are interpolated by ``lerp``.
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
    """Return the number of frames of a walk: (keys-1)·steps + 1, or keys·steps if it returns to its first key."""
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
    """Return latents along a path through key latents.

    Args:
        keys: float32 [k, z_dim], k of 2 or more.
        steps: frames from one key to the next.
        method: ``slerp`` (keeps the norm) or ``lerp``.
        loop: return to the first key.
        start, stop: compute only the frames start .. stop-1, equal to those of the whole walk; all if stop is None.

    Returns:
        float32 [(k-1)·steps+1, z_dim], or [k·steps, z_dim] if looped; every key is among them, bit-equal.

    Raises:
        InvalidOption: an unknown method, too few keys, steps below 1, a range outside the walk, or too many frames.
    """
    check_walk(len(keys), steps, method, loop)
    start, stop = check_frame_range(start, stop, walk_length(len(keys), steps, loop))
    return _interpolate(keys, steps, method, range(start, stop), keys.shape[1])


def walk_between_seeds(
    seeds: Sequence[int | str],
    z_dim: int,
    steps: int,
    method: str = "slerp",
    loop: bool = False,
    *,
    start: int = 0,
    stop: int | None = None,
) -> FloatArray:
    """Return ``walk`` through the latents of keys. Only those next to the frames start .. stop-1 are computed.

    Offsets in w, which may follow z, are interpolated by ``lerp``.

    >>> from gan_serve.sampling.latents import latents_from_seeds
    >>> whole = walk(latents_from_seeds([0, 5, 9], 4), 3, loop=True)
    >>> np.array_equal(walk_between_seeds([0, 5, 9], 4, 3, loop=True, start=4, stop=9), whole[4:])
    True
    """
    check_walk(len(seeds), steps, method, loop)
    start, stop = check_frame_range(start, stop, walk_length(len(seeds), steps, loop))
    first, end = start // steps, (stop - 1) // steps + 1
    keys = key_latents((seeds[key % len(seeds)] for key in range(first, end + 1)), z_dim)
    return _interpolate(keys, steps, method, range(start - first * steps, stop - first * steps), z_dim)


def walk_latents(walk: Walk, z_dim: int) -> FloatArray:
    """Return the latents of ``walk.frames``, float32 [N, z_dim or more]; see ``walk`` for the errors."""
    start, stop = (walk.start or 0, walk.stop) if walk.frame is None else (walk.frame, walk.frame + 1)
    return walk_between_seeds(walk.seeds, z_dim, walk.steps, walk.method, walk.loop, start=start, stop=stop)


def check_walk(keys: int, steps: int, method: str, loop: bool) -> None:
    """Raise ``InvalidOption`` where ``walk`` would, before any latent is computed."""
    if method not in WALK_METHODS:
        raise InvalidOption.unknown("method", method, WALK_METHODS)
    if keys < 2:
        raise InvalidOption("A walk needs at least two seeds or latents.", 'For example "0,5,9".')
    if not isinstance(loop, bool | np.bool_):
        raise InvalidOption(f"loop must be True or False, not {shorten(loop)}.", "True returns to the first seed.")
    if not check_int(steps, "steps", InvalidOption) >= 1 or walk_length(keys, steps, loop) > MAX_FRAMES:
        raise InvalidOption(
            f"A walk through {keys} seeds cannot have {shorten(steps)} steps.",
            f"steps must be at least 1, and the walk may have at most {MAX_FRAMES:,} frames.",
        )


def check_frame_range(start: Any, stop: Any, length: int) -> tuple[int, int]:
    """Return start and stop of a range of a walk of ``length`` frames, checked; to its end if stop is None.

    Raises:
        InvalidOption: the range is empty or outside the walk.
    """
    first = check_int(start, "start", InvalidOption)
    end = length if stop is None else check_int(stop, "stop", InvalidOption)
    if not 0 <= first < end <= length:
        raise InvalidOption(
            f"The walk does not have the frames from {shorten(start)} up to "
            f"{shorten(length if stop is None else stop)} (exclusive).",
            f"It has {length} frames: start may be 0 to {length - 1}, and stop start + 1 to {length}.",
        )
    return first, end


def _interpolate(keys: FloatArray, steps: int, method: str, frames: range, z_dim: int) -> FloatArray:
    """Return frames, by number, of the walk through ``keys`` that returns to its first key: float32 [N, D].

    What follows the ``z_dim`` numbers of z in a key is an offset, whose norm means nothing: ``lerp`` interpolates it.
    """
    if len(frames) > MAX_SEEDS:
        raise InvalidOption(
            f"{len(frames):,} frames are too many for one call.",
            f"Ask for parts (start, stop) of at most {MAX_SEEDS:,} frames.",
        )
    between = slerp if method == "slerp" else lerp
    latents = []
    for number in frames:
        key, step = divmod(number, steps)
        start = keys[key]
        if step == 0:
            latents.append(start)
            continue
        end, t = keys[(key + 1) % len(keys)], step / steps
        z = between(start[:z_dim], end[:z_dim], t)
        latents.append(np.concatenate([z, lerp(start[z_dim:], end[z_dim:], t)]))
    return np.stack(latents)
