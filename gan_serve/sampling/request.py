"""Plans: what is asked of a checkpoint, checked before any of it is drawn.

A ``Planner`` makes them from a checkpoint's config alone. Latents are made only when a plan is drawn, so that a server
can refuse a request at once, draw a large one in parts, and several small ones in one batch:

    pixels = generator.draw(plan.part(16, 32), other)    # uint8 [16 + len(other), H, W, C]
    samples = plan.finish(pixels_of_all_its_parts)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.config import PRECISION_FILES, CheckpointConfig, Precision
from gan_serve.errors import InvalidOption, TooManyImages, UnknownLabel, nearest
from gan_serve.images.encoding import UInt8Array
from gan_serve.images.receipt import Walk
from gan_serve.sampling.latents import (
    MAX_SEEDS,
    FloatArray,
    Seeds,
    check_latents,
    check_part,
    check_truncation,
    check_walk,
    choose_seeds,
    latents_from_seeds,
    parse_seeds,
    shorten,
    walk_between_seeds,
    walk_length,
)
from gan_serve.sampling.result import Samples
from gan_serve.sampling.session import Int64Array, network_inputs

Label = str | int


class LatentOptions(TypedDict, total=False):
    """What says which latents are meant, beside ``n``, and how far they are truncated."""

    seed: int | None
    seeds: Seeds | None
    latents: npt.ArrayLike | None
    truncation: float


class SampleOptions(LatentOptions, total=False):
    """What ``Planner.plan`` takes beside ``n``."""

    label: Label | Sequence[Label] | None


class ConditionOptions(LatentOptions, total=False):
    """What ``Planner.plan_condition`` takes beside ``n``."""

    labels: Label | Sequence[Label] | None


class WalkOptions(TypedDict, total=False):
    """What ``Planner.plan_walk`` takes beside ``seeds``."""

    steps: int
    method: str
    loop: bool
    label: Label | None
    truncation: float
    start: int
    stop: int | None


@dataclass(frozen=True, eq=False)
class Plan:
    """N images that can be drawn.

    One is set of ``seeds``, ``latents`` (float32 [N, z_dim]) and ``walk``. classes: int64 [N], or None where the model
    has none. columns, by_label: as ``Samples`` has them.
    """

    config: CheckpointConfig
    digest: str
    precision: Precision
    truncation: float
    seeds: list[int] | None = None
    latents: FloatArray | None = None
    walk: Walk | None = None
    classes: Int64Array | None = None
    columns: int | None = None
    by_label: bool = False

    def __len__(self) -> int:
        if self.walk is not None:
            return len(_frames(self.walk))
        return len(self.seeds if self.latents is None else self.latents)  # type: ignore[arg-type]  # one of them is set

    def part(self, start: int, stop: int) -> Plan:
        """The images start .. stop-1 as a plan of their own: the same pixels, the same receipts."""
        walk = self.walk
        if walk is not None:
            frames = _frames(walk)[start:stop]
            walk = walk.model_copy(update={"start": frames.start, "stop": frames.stop})
        return dataclasses.replace(
            self,
            seeds=None if self.seeds is None else self.seeds[start:stop],
            latents=None if self.latents is None else self.latents[start:stop],
            walk=walk,
            classes=None if self.classes is None else self.classes[start:stop],
            columns=None if self.by_label else self.columns,
            by_label=False,
        )

    def parts(self, size: int) -> Iterator[Plan]:
        """All of it in parts of ``size`` images; the last may be smaller."""
        for start in range(0, len(self), size):
            yield self.part(start, min(start + size, len(self)))

    def z(self) -> FloatArray:
        """The latents, float32 [N, z_dim], not truncated; made now, or those that were given."""
        z_dim, walk = self.config.z_dim, self.walk
        if walk is not None:
            return walk_between_seeds(
                walk.seeds, z_dim, walk.steps, walk.method, walk.loop, start=walk.start or 0, stop=walk.stop
            )
        return latents_from_seeds(self.seeds or [], z_dim) if self.latents is None else self.latents

    def inputs(self) -> dict[str, Any]:
        """What the network is fed, arrays [N, ...] by input; see ``gan_serve.runtime.network_inputs``."""
        return network_inputs(self.z(), self.classes, self.truncation, self.config.truncation_space)

    def finish(self, pixels: UInt8Array) -> Samples:
        """The samples whose pixels, uint8 [N, H, W, C], the network drew from ``inputs``."""
        names = self.config.class_names
        return Samples(
            pixels=pixels,
            model=self.config.name,
            digest=self.digest,
            precision=self.precision,
            truncation=self.truncation,
            seeds=self.seeds,
            latents=self.latents,
            walk=self.walk,
            labels=None if self.classes is None else [names[number] for number in self.classes],
            columns=self.columns,
            by_label=self.by_label,
        )


def join_inputs(plans: Iterable[Plan]) -> dict[str, Any]:
    """The inputs of several plans of one checkpoint and precision, one after the other, to be drawn in one batch."""
    inputs = [plan.inputs() for plan in plans]
    return {name: np.concatenate([each[name] for each in inputs]) for name in inputs[0]}


class Planner:
    """A checkpoint's facts, and what can be asked of it. It draws nothing and needs no network."""

    def __init__(self, config: CheckpointConfig, precision: Precision = "fp32") -> None:
        self.config = config
        self.precision: Precision = precision  # what it draws in
        self.digest = f"sha256:{config.files[PRECISION_FILES[precision]].sha256}"

    @property
    def name(self) -> str:
        """The checkpoint's name."""
        return self.config.name

    @property
    def z_dim(self) -> int:
        """Numbers in a latent."""
        return self.config.z_dim

    @property
    def c_dim(self) -> int:
        """Number of classes; 0 where the model is not conditional."""
        return self.config.c_dim

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes by index; empty where the model is not conditional."""
        return self.config.class_names

    @property
    def labels(self) -> tuple[str, ...]:
        """What ``label`` may be: the class names."""
        return self.config.class_names

    @property
    def img_resolution(self) -> int:
        """Width and height of an image in pixels."""
        return self.config.img_resolution

    @property
    def img_channels(self) -> int:
        """1 for gray, 3 for RGB."""
        return self.config.img_channels

    def plan(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        seeds: Seeds | None = None,
        latents: npt.ArrayLike | None = None,
        label: Label | Sequence[Label] | None = None,
        truncation: float = 1.0,
    ) -> Plan:
        """Plan images of seeds or latents.

        Args:
            n: how many images; 1 if neither n nor seeds are given.
            seed: the first of n seeds, which follow each other; drawn at random if None.
            seeds: a list of ints, an int, or text such as ``"0-3,10"``; from 0 to 2**32-1.
            latents: float32 [N, z_dim] in place of seeds.
            label: a class name or index for all images, or one for each; without one, a seed takes seed mod c_dim.
            truncation: from 0 to 1; 1 leaves the latents as they are, smaller draws them towards their mean, in w where
                the network has that space (StyleGAN's psi), else in z.

        Raises:
            InvalidSeeds, InvalidLatents, InvalidTruncation, UnknownLabel, InvalidOption: what was wrong, and what would
            be right.
        """
        plan = self._unlabelled(n, seed, seeds, latents, truncation)
        keys = range(len(plan)) if plan.seeds is None else plan.seeds
        return dataclasses.replace(plan, classes=self._classes(label, keys))

    def plan_condition(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        seeds: Seeds | None = None,
        latents: npt.ArrayLike | None = None,
        labels: Label | Sequence[Label] | None = None,
        truncation: float = 1.0,
    ) -> Plan:
        """Plan the same latents under each label: all of the first label, then all of the second, and so on.

        Args:
            n, seed, seeds, latents, truncation: as for ``plan``.
            labels: class names or indices, none of them twice; all classes if None.

        Raises:
            UnknownLabel: also where the model has no labels, or where one is given twice. Else as ``plan``.
        """
        plan = self._unlabelled(n, seed, seeds, latents, truncation)
        classes = self._each_class(labels)
        columns, rows = len(plan), len(classes)
        if columns * rows > MAX_SEEDS:
            raise TooManyImages(
                f"{columns:,} latents under {rows} labels are {columns * rows:,} images.",
                f"At most {MAX_SEEDS:,} are drawn at a time.",
            )
        return dataclasses.replace(
            plan,
            seeds=None if plan.seeds is None else plan.seeds * rows,
            latents=None if plan.latents is None else np.tile(plan.latents, (rows, 1)),
            classes=np.repeat(np.array(classes, np.int64), columns),
            columns=columns,
            by_label=True,
        )

    def plan_walk(
        self,
        seeds: Seeds,
        *,
        steps: int = 16,
        method: str = "slerp",
        loop: bool = False,
        label: Label | None = None,
        truncation: float = 1.0,
        start: int = 0,
        stop: int | None = None,
    ) -> Plan:
        """Plan the frames of a walk.

        Args:
            seeds: two or more key seeds; the walk passes exactly through their images.
            steps: frames from one key to the next; (k-1)·steps+1 in all, k·steps when looped.
            method: ``slerp`` (keeps the norm) or ``lerp``.
            loop: return to the first key.
            label: one class for the whole walk; that of the first seed if None.
            truncation: as for ``plan``.
            start, stop: the frames start .. stop-1 alone, the same as in the whole walk; to its end if stop is None.

        Raises:
            InvalidSeeds, InvalidTruncation, UnknownLabel, InvalidOption.
        """
        truncation = check_truncation(truncation)
        keys = parse_seeds(seeds)
        check_walk(len(keys), steps, method, loop)
        if label is not None and not isinstance(label, str | int | np.integer):
            raise UnknownLabel("A walk has one label.", "Give one class name or index.")
        length = walk_length(len(keys), steps, loop)
        start, stop = check_part(start, stop, length)
        classes = self._classes(label, keys[:1])
        path = Walk(seeds=keys, steps=int(steps), method="slerp" if method == "slerp" else "lerp", loop=bool(loop))
        if (start, stop) != (0, length):
            path = path.model_copy(update={"start": start, "stop": stop})
        return Plan(
            config=self.config,
            digest=self.digest,
            precision=self.precision,
            truncation=truncation,
            walk=path,
            classes=None if classes is None else np.broadcast_to(classes, stop - start),
            columns=stop - start,
        )

    def _unlabelled(
        self,
        n: int | None,
        seed: int | None,
        seeds: Seeds | None,
        latents: npt.ArrayLike | None,
        truncation: float,
    ) -> Plan:
        truncation = check_truncation(truncation)
        if latents is not None and not (n is None and seed is None and seeds is None):
            raise InvalidOption("Both latents and seeds were given.", "Give one of them.")
        return Plan(
            config=self.config,
            digest=self.digest,
            precision=self.precision,
            truncation=truncation,
            seeds=choose_seeds(n, seed, seeds) if latents is None else None,
            latents=None if latents is None else check_latents(latents, self.z_dim),
        )

    def _classes(self, label: Label | Iterable[Label] | None, keys: Sequence[int]) -> Int64Array | None:
        """The class of each image, int64 [N], or None where the model has none."""
        if label is None:
            return np.array([key % self.c_dim for key in keys], np.int64) if self.c_dim else None
        one_each = listed(label)
        if one_each is None or not self.c_dim:
            return np.full(len(keys), self._class(label), np.int64)
        classes = [self._class(each) for each in one_each]
        if len(classes) != len(keys):
            raise UnknownLabel(
                f"There are {len(classes)} labels for {len(keys)} images.", "Give one label, or one for each image."
            )
        return np.array(classes, np.int64)

    def _each_class(self, labels: Label | Iterable[Label] | None) -> list[int]:
        """The classes that ``labels`` name, none of them twice."""
        if not self.c_dim:
            raise UnknownLabel(f"{self.name} has no labels; it is not conditional.", "Draw plain samples of it.")
        if labels is None:
            return list(range(self.c_dim))
        several = listed(labels)
        classes = [self._class(each) for each in ([labels] if several is None else several)]
        if not classes:
            raise UnknownLabel("There are no labels.", "Name one or more, or leave them out: all are meant.")
        for place, number in enumerate(classes):
            if number in classes[:place]:
                raise UnknownLabel(f"The label {self.class_names[number]!r} is given twice.", "Give each label once.")
        return classes

    def _class(self, label: object) -> int:
        if not self.c_dim:
            raise UnknownLabel(f"{self.name} has no labels; it is not conditional.", "Leave the label out.")
        if isinstance(label, str) and label in self.class_names:
            return self.class_names.index(label)
        if isinstance(label, int | np.integer) and not isinstance(label, bool) and 0 <= label < self.c_dim:
            return int(label)
        raise UnknownLabel(
            f"{self.name} has no label {shorten(label)}; it has: "
            f"{', '.join(self.class_names)} (or 0 to {self.c_dim - 1}).",
            nearest(label, self.class_names) if isinstance(label, str) else "",
        )


def _frames(walk: Walk) -> range:
    """The frames that are meant, counted in the whole walk."""
    whole = range(walk_length(len(walk.seeds), walk.steps, walk.loop))
    return whole[walk.start : walk.stop]


def listed(label: Any) -> list[Any] | None:
    """The labels where there are several, None where it is one; an array of no dimensions is one."""
    try:
        return None if isinstance(label, str | bytes) else list(label)
    except TypeError:
        return None
