"""The directions of a checkpoint, and walks along them."""

from __future__ import annotations

import abc
import dataclasses
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.latent_space import LatentSpace, read_latent_space
from gan_serve.errors import InvalidLatents, InvalidOption, shorten
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.labels import Label
from gan_serve.sampling.latents import MAX_OFFSET, FloatArray, check_offsets
from gan_serve.sampling.request import RequestBuilder, SamplingRequest
from gan_serve.sampling.result import Samples
from gan_serve.sampling.seeds import Seeds, check_int, parse_seeds
from gan_serve.sampling.seeds_and_latents import key_latents, parse_keys

REACH = 4.0  # standard deviations, by default


class DirectionSampler(RequestBuilder, abc.ABC):
    """A generator with a checkpoint in ``directory``, whose latents can be moved along ``directions``."""

    directory: Path

    @cached_property
    def latent_space(self) -> LatentSpace:
        """The content of ``latent_space.json``: directions with their change of the images, and the truncation floor.

        Raises:
            InvalidCheckpoint, DigestMismatch: the file is missing or damaged.
        """
        return read_latent_space(self.directory, self.config)

    @property
    def directions(self) -> npt.NDArray[np.float32]:
        """Directions in z, float32 [K, z_dim], of norm 1, those that change the images most first; K may be 0.

        They are principal components of w or of the first layer (GANSpace, arXiv:2004.02546).

        >>> from gan_serve import Generator
        >>> g = Generator.from_pretrained("mnist-cgan")
        >>> g.directions.shape
        (6, 100)
        >>> g.generate(seeds="7,7,7", offsets=[[-3], [0], [3]], output="numpy").shape
        (3, 28, 28, 1)
        """
        return self.latent_space.vectors(self.config.z_dim)

    @abc.abstractmethod
    def run(self, *requests: SamplingRequest) -> UInt8Array:
        """Return the pixels of requests."""

    def direction_keys(self, direction: int, latent: int | npt.ArrayLike, reach: float = REACH) -> FloatArray:
        """Return the ends of a walk along a direction, float32 [2, z_dim]: keys for ``interpolate`` by ``lerp``.

        Args:
            direction: its number, from 0; those of the largest change come first.
            latent: a seed, or a latent float32 [z_dim], in the middle of the walk.
            reach: the distance of the ends from the middle in standard deviations of the latents, up to 20.

        Raises:
            InvalidOption: there is no such direction, or reach is out of range.
            InvalidSeeds, InvalidLatents: the latent is neither a seed nor finite float32 [z_dim].

        >>> from gan_serve import Generator
        >>> g = Generator.from_pretrained("mnist-cgan")
        >>> len(g.interpolate(g.direction_keys(0, 7), steps=8, method="lerp", label=7))
        9
        """
        vector = self.directions[self._check_direction(direction)]
        [middle] = key_latents(parse_keys([latent]), self.z_dim)
        if len(middle) != self.z_dim:
            raise InvalidLatents(f"The latent has {len(middle)} numbers.", f"Give float32 [{self.z_dim}].")
        [[step]] = check_offsets([[reach]], 1, 1)
        return np.stack([middle - step * vector, middle + step * vector])

    def sample_direction(
        self,
        direction: int,
        seeds: Seeds = "0-3",
        *,
        steps: int = 9,
        reach: float = REACH,
        label: Label | None = None,
        truncation: float = 1.0,
    ) -> Samples:
        """Return a sheet of a direction: a row for each seed, moved from ``-reach`` to ``reach``.

        Args:
            direction: its number, from 0; those of the largest change come first.
            seeds: as for ``generate``.
            steps: images in a row, 2 or more; an odd number has the seed's own image in the middle.
            reach: standard deviations of the latents, above 0 and up to 20.
            label, truncation: as for ``generate``.

        Raises:
            InvalidOption: there is no such direction, or steps or reach is out of range.
            InvalidSeeds, InvalidTruncation, UnknownLabel: as for ``generate``.

        >>> from gan_serve import Generator
        >>> Generator.from_pretrained("mnist-cgan").sample_direction(0, "0-1", label=7).pixels.shape
        (18, 28, 28, 1)
        """
        number, count = self._check_direction(direction), check_int(steps, "steps", InvalidOption)
        if count < 2 or not 0 < reach <= MAX_OFFSET:
            raise InvalidOption(
                f"steps is {shorten(steps)} and reach {shorten(reach)}.",
                f"steps must be 2 or more, reach above 0 and up to {MAX_OFFSET:g}.",
            )
        rows = parse_seeds(seeds)
        moves = np.zeros((count, number + 1), np.float32)
        moves[:, number] = np.linspace(-reach, reach, count)
        wanted = self.sample_request(
            seeds=[seed for seed in rows for _ in range(count)],
            offsets=np.tile(moves, (len(rows), 1)),
            label=label,
            truncation=truncation,
        )
        parts = [self.run(part) for part in wanted.parts(count)]
        samples = wanted.samples(np.concatenate(parts))
        return dataclasses.replace(samples, columns=count)

    def _check_direction(self, direction: int) -> int:
        count, number = len(self.directions), check_int(direction, "direction", InvalidOption)
        if not 0 <= number < count:
            raise InvalidOption(
                f"{self.name} has no direction {number}.",
                f"Give one from 0 to {count - 1}." if count else "Export it again with this version of gan-serve.",
            )
        return number
