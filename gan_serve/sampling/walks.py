"""Walks: latents along a path between key latents. NumPy only."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from gan_serve.errors import InvalidOption, shorten
from gan_serve.sampling.latents import FloatArray
from gan_serve.sampling.seeds import MAX_SEEDS, check_int
from gan_serve.sampling.seeds_and_latents import Key, Keys, key_latents, parse_keys

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
        """Return the frame with this index among ``frames`` as a frame of the walk between its two nearest keys.

        With all keys, the receipts of a thousand frames of a walk through a hundred thousand would take a gigabyte.
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
    """Return a walk through keys, with its arguments checked.

    Args:
        seeds: two or more keys: seeds in any form that ``parse_seeds`` reads, or a list of seeds and latents.
        steps: frames from one key to the next, 1 or more.
        method: ``slerp`` (keeps the norm) or ``lerp``.
        loop: return to the first key.
        start, stop: the frames start to stop-1; to the end of the walk if stop is None.

    Raises:
        InvalidSeeds, InvalidLatents: see ``parse_keys``.
        InvalidOption: an unknown method, too few keys, steps below 1, a range outside the walk, or too many frames.
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


def walk_latents(walk: Walk, z_dim: int) -> FloatArray:
    """Return the latents of ``walk.frames``, float32 [N, z_dim], or [N, z_dim + w_dim] where keys have offsets in w.

    Only the keys next to these frames are computed. Frames that are keys are bit-equal to them. The offsets are
    interpolated by ``lerp``, because their norm has no meaning.

    Raises:
        InvalidOption: the walk of a receipt is not one that ``make_walk`` returns, or it has too many frames for one
            call. InvalidLatents: a key cannot be unpacked.

    >>> walk_latents(make_walk([0, 5, 9], steps=4), 100).shape
    (9, 100)
    """
    check_walk(len(walk.seeds), walk.steps, walk.method, walk.loop)
    start, stop = (walk.start or 0, walk.stop) if walk.frame is None else (walk.frame, walk.frame + 1)
    start, stop = check_frame_range(start, stop, walk.total)
    if stop - start > MAX_SEEDS:
        raise InvalidOption(
            f"{stop - start:,} frames are too many for one call.",
            f"Ask for parts (start, stop) of at most {MAX_SEEDS:,} frames.",
        )
    first, last = start // walk.steps, (stop - 1) // walk.steps + 1
    keys = key_latents((walk.seeds[key % len(walk.seeds)] for key in range(first, last + 1)), z_dim)
    interpolate = slerp if walk.method == "slerp" else lerp
    latents = []
    for frame in range(start, stop):
        key, step = divmod(frame, walk.steps)
        before = keys[key - first]
        if step == 0:
            latents.append(before)
            continue
        after, t = keys[key - first + 1], step / walk.steps
        z = interpolate(before[:z_dim], after[:z_dim], t)
        latents.append(np.concatenate([z, lerp(before[z_dim:], after[z_dim:], t)]))
    return np.stack(latents)


def check_walk(keys: int, steps: int, method: str, loop: bool) -> None:
    """Raise ``InvalidOption`` for an unknown method, too few keys, or steps and loop that are out of range."""
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
