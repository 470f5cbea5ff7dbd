"""Requests for samples, checked before anything is computed.

A ``RequestBuilder`` needs only the config of a checkpoint. It makes a ``SamplingRequest``, which computes its latents
when it is run. So a server can refuse a bad request at once, run a large one in parts, and several small ones in one
batch:

    pixels = generator.run(request.part(16, 32), other)    # uint8 [16 + len(other), H, W, C]
    samples = request.samples(pixels_of_all_parts)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.config import CheckpointConfig, Precision
from gan_serve.errors import InvalidOption, TooManyImages
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.labels import Label, Labels, as_list, classes_of_images, classes_of_rows
from gan_serve.sampling.latents import (
    FloatArray,
    check_latents,
    check_offsets,
    latents_from_seeds,
)
from gan_serve.sampling.mixing import CROSSOVER, MIX_INPUTS, W_OFFSET, Mix, fill_optional_inputs, make_mix
from gan_serve.sampling.result import Samples
from gan_serve.sampling.seeds import MAX_SEEDS, Seeds
from gan_serve.sampling.seeds_and_latents import Keys, check_key_latents, choose_keys, key_latents, numbers_of_keys
from gan_serve.sampling.session import Int64Array, network_inputs, runtime_version
from gan_serve.sampling.truncation import check_truncation
from gan_serve.sampling.walks import Walk, walk_latents


@dataclass(frozen=True, eq=False)
class SamplingRequest:
    """A checked request for N images.

    Exactly one of ``seeds``, ``latents`` (float32 [N, z_dim], or [N, z_dim + w_dim] with offsets in w) and ``walk`` is
    set. ``offsets`` (float32 [N, K]) move the latents along ``directions`` (float32 [K, z_dim]). ``classes`` is int64
    [N], or None for a model without classes. ``mix`` has the second latent of each seed where styles are mixed.
    ``columns`` and ``by_label`` are those of ``Samples``.
    """

    config: CheckpointConfig
    digest: str
    precision: Precision
    truncation: float
    seeds: list[int] | None = None
    latents: FloatArray | None = None
    walk: Walk | None = None
    classes: Int64Array | None = None
    mix: Mix | None = None
    columns: int | None = None
    by_label: bool = False
    offsets: FloatArray | None = None
    directions: FloatArray | None = None

    def __len__(self) -> int:
        if self.walk is not None:
            return len(self.walk.frames)
        return len(self.seeds if self.latents is None else self.latents)  # type: ignore[arg-type]  # one of them is set

    def part(self, start: int, stop: int) -> SamplingRequest:
        """Return the images start .. stop-1 as a request of their own: with equal pixels and receipts."""
        return dataclasses.replace(
            self,
            seeds=None if self.seeds is None else self.seeds[start:stop],
            latents=None if self.latents is None else self.latents[start:stop],
            walk=None if self.walk is None else self.walk.part(start, stop),
            classes=None if self.classes is None else self.classes[start:stop],
            offsets=None if self.offsets is None else self.offsets[start:stop],
            mix=None if self.mix is None else self.mix.part(start, stop),
            columns=None if self.by_label else self.columns,
            by_label=False,
        )

    def parts(self, size: int) -> Iterator[SamplingRequest]:
        """Yield the whole request in parts of ``size`` images; the last may be smaller."""
        for start in range(0, len(self), size):
            yield self.part(start, min(start + size, len(self)))

    def z(self) -> FloatArray:
        """Return the latents before truncation: computed from seeds, or as given.

        float32 [N, z_dim], or [N, z_dim + w_dim] with offsets in w.
        """
        if self.walk is not None:
            return walk_latents(self.walk, self.config.z_dim)
        z = latents_from_seeds(self.seeds or [], self.config.z_dim) if self.latents is None else self.latents
        if self.offsets is None or self.directions is None:
            return z
        # In float64, summed in one order: the latents do not depend on the batch, as those of a matrix product may.
        moves = (self.offsets[:, :, None].astype(np.float64) * self.directions[None]).sum(1)
        moved = z.copy()
        moved[:, : self.config.z_dim] = z[:, : self.config.z_dim] + moves
        return moved

    def inputs(self) -> dict[str, Any]:
        """Return the inputs of the network by name, arrays [N, ...]; see ``network_inputs``."""
        latents, z_dim = self.z(), self.config.z_dim
        inputs = network_inputs(latents[:, :z_dim], self.classes, self.truncation, self.config.truncation_space)
        if latents.shape[1] > z_dim:
            inputs[W_OFFSET] = latents[:, z_dim:]
        return inputs if self.mix is None else inputs | self.mix.inputs(self.config.z_dim)

    def samples(self, pixels: UInt8Array) -> Samples:
        """Return the result, given the pixels, uint8 [N, H, W, C], that the network computed from ``inputs``."""
        names = self.config.class_names
        latents = self.latents if self.offsets is None else self.z()
        return Samples(
            pixels=pixels,
            model=self.config.name,
            digest=self.digest,
            precision=self.precision,
            truncation=self.truncation,
            runtime=runtime_version(),
            seeds=self.seeds if self.offsets is None else None,
            latents=latents,
            latent_dim=None if latents is None or latents.shape[1] == self.config.z_dim else latents.shape[1],
            walk=self.walk,
            labels=None if self.classes is None else [names[number] for number in self.classes],
            mix=self.mix,
            columns=self.columns,
            by_label=self.by_label,
        )


def join_inputs(requests: Iterable[SamplingRequest]) -> dict[str, Any]:
    """Return the inputs of several requests for one checkpoint and precision, concatenated to one batch."""
    inputs = [request.inputs() for request in requests]
    fill_optional_inputs(inputs)
    return {name: np.concatenate([each[name] for each in inputs]) for name in inputs[0]}


class RequestBuilder:
    """The properties of a checkpoint, and checked requests for its samples. It needs no network."""

    def __init__(
        self,
        config: CheckpointConfig,
        precision: Precision = "fp32",
        style_layers: int | None = None,
        w_dim: int = 0,
    ) -> None:
        self.config = config
        self.style_layers = style_layers  # of a network that can mix styles; None for others
        self.w_dim = w_dim  # the length of an offset in w; 0 for networks that take none
        self.precision: Precision = precision  # of the network that runs the requests
        self.digest = config.digest_of(precision)

    @property
    def name(self) -> str:
        """The name of the checkpoint."""
        return self.config.name

    @property
    def z_dim(self) -> int:
        """The length of a latent."""
        return self.config.z_dim

    @property
    def c_dim(self) -> int:
        """The number of classes; 0 for a model that is not conditional."""
        return self.config.c_dim

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes by index; empty for a model that is not conditional."""
        return self.config.class_names

    @property
    def labels(self) -> tuple[str, ...]:
        """The values that ``label`` may have: the class names."""
        return self.config.class_names

    @property
    def img_resolution(self) -> int:
        """Width and height of an image in pixels."""
        return self.config.img_resolution

    @property
    def img_channels(self) -> int:
        """1 for gray, 3 for RGB."""
        return self.config.img_channels

    @property
    def directions(self) -> FloatArray:
        """Directions in z that change the images, float32 [K, z_dim]; none where only the config is known."""
        return np.zeros((0, self.z_dim), np.float32)

    def sample_request(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        seeds: Keys | None = None,
        latents: npt.ArrayLike | None = None,
        offsets: npt.ArrayLike | None = None,
        label: Labels | None = None,
        truncation: float = 1.0,
    ) -> SamplingRequest:
        """Return a request for the images of seeds or latents; ``Generator.generate`` explains arguments and errors."""
        request, keys = self._without_labels(n, seed, seeds, latents, offsets, truncation)
        classes = classes_of_images(self.config, label, keys)
        return request if classes is None else dataclasses.replace(request, classes=classes)

    def condition_request(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        seeds: Keys | None = None,
        latents: npt.ArrayLike | None = None,
        offsets: npt.ArrayLike | None = None,
        labels: Labels | None = None,
        truncation: float = 1.0,
    ) -> SamplingRequest:
        """Return a request for the same latents under each label: first all images of the first label, and so on.

        ``Generator.condition`` explains arguments and errors.
        """
        request, _ = self._without_labels(n, seed, seeds, latents, offsets, truncation)
        classes = classes_of_rows(self.config, labels)
        columns, rows = len(request), len(classes)
        if columns * rows > MAX_SEEDS:
            raise TooManyImages(
                f"{columns:,} latents under {rows} labels are {columns * rows:,} images.",
                f"Ask for at most {MAX_SEEDS:,} at a time.",
            )
        return dataclasses.replace(
            request,
            seeds=None if request.seeds is None else request.seeds * rows,
            latents=None if request.latents is None else np.tile(request.latents, (rows, 1)),
            offsets=None if request.offsets is None else np.tile(request.offsets, (rows, 1)),
            classes=np.repeat(np.array(classes, np.int64), columns),
            columns=columns,
            by_label=True,
        )

    def walk_request(self, walk: Walk, *, label: Labels | None = None, truncation: float = 1.0) -> SamplingRequest:
        """Return a request for the frames of a walk that ``make_walk`` made.

        ``Generator.interpolate`` explains arguments and errors.
        """
        truncation = check_truncation(truncation)
        check_key_latents(walk.seeds, self.z_dim, self.w_dim)
        length = len(walk.frames)
        if as_list(label) is None:
            classes = classes_of_images(self.config, label, numbers_of_keys(walk.seeds[:1]))
        else:
            of_key = classes_of_images(self.config, label, range(len(walk.seeds)))
            classes = None if of_key is None else of_key[walk.nearest_keys]
        return SamplingRequest(
            config=self.config,
            digest=self.digest,
            precision=self.precision,
            truncation=truncation,
            walk=walk,
            classes=None if classes is None else np.broadcast_to(classes, length),
            columns=length,
        )

    def mix_request(
        self,
        coarse: Seeds,
        fine: Seeds,
        *,
        crossover: int = CROSSOVER,
        label: Label | None = None,
        truncation: float = 1.0,
    ) -> SamplingRequest:
        """Return a request for mixed styles: all fine seeds with the first coarse seed, and so on.

        ``Generator.mix`` explains arguments and errors.
        """
        seeds, mix, columns = make_mix(coarse, fine, crossover)
        request = self.sample_request(seeds=seeds, label=label, truncation=truncation)
        return dataclasses.replace(self.with_mix(request, mix), columns=columns)

    def with_mix(self, request: SamplingRequest, mix: Mix) -> SamplingRequest:
        """Return a request for seeds whose styles are mixed with those of other seeds.

        Raises:
            InvalidOption: the network cannot mix styles, or has no such layer.
        """
        if self.style_layers is None:
            hint = "Mixing needs a network with a w space, such as one of the recipe stylegan."
            if self.config.truncation_space == "w":
                hint = "An older gan-serve exported it: export its run again."
            raise InvalidOption(
                f"{self.name} cannot mix styles: its network has no inputs {' and '.join(MIX_INPUTS)}.", hint
            )
        if mix.crossover > self.style_layers:
            raise InvalidOption(
                f"{self.name} has no layer {mix.crossover}.",
                f"crossover may be 0 (all layers follow the fine seed) to {self.style_layers} (none does).",
            )
        return dataclasses.replace(request, mix=mix)

    def _without_labels(
        self,
        n: int | None,
        seed: int | None,
        seeds: Keys | None,
        latents: npt.ArrayLike | None,
        offsets: npt.ArrayLike | None,
        truncation: float,
    ) -> tuple[SamplingRequest, Sequence[int]]:
        """Return a request, and the number of each image that chooses its class where no label is given."""
        truncation = check_truncation(truncation)
        if latents is not None and not (n is None and seed is None and seeds is None):
            raise InvalidOption("Both latents and seeds were given.", "Give one of them.")
        keys = choose_keys(n, seed, seeds) if latents is None else []
        numbers = numbers_of_keys(keys)
        if latents is not None:
            checked = check_latents(latents, self.z_dim, self.w_dim)
            given: FloatArray | None = checked
            numbers = list(range(len(checked)))
        else:
            check_key_latents(keys, self.z_dim, self.w_dim)
            given = key_latents(keys, self.z_dim) if any(isinstance(key, str) for key in keys) else None
        request = SamplingRequest(
            config=self.config,
            digest=self.digest,
            precision=self.precision,
            truncation=truncation,
            seeds=numbers if given is None else None,
            latents=given,
        )
        if offsets is None:
            return request, numbers
        directions = self.directions
        rows = check_offsets(offsets, len(request), len(directions))
        return dataclasses.replace(request, offsets=rows, directions=directions[: rows.shape[1]]), numbers
