"""Style mixing: the coarse layers of an image follow one latent, the fine layers another (Karras et al. 2019, 3.1)."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gan_serve.errors import InvalidOption, TooManyImages, shorten
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.seeds import MAX_SEEDS, Seed, Seeds, check_int, parse_seeds

MIX_INPUTS = ("z_mix", "crossover")  # of the network, both optional
W_OFFSET = "w_offset"  # another optional input: what is added to w
CROSSOVER = 4  # by default; the layers before it are those at 4x4 and 8x8, the coarse styles of the paper's figure 3
NEVER = np.iinfo(np.int64).max  # a crossover behind every layer


class Mix(BaseModel):
    """The second latents of images: a seed for each, and the first layer that follows it. Receipts contain it so."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: list[Seed]
    crossover: Annotated[int, Field(ge=0, le=1000)]

    def part(self, start: int, stop: int) -> Self:
        """Return the mix of the images start .. stop-1."""
        return self.model_copy(update={"seeds": self.seeds[start:stop]})

    def inputs(self, z_dim: int) -> dict[str, Any]:
        """Return the inputs of the network: z_mix float32 [N, z_dim] and crossover int64 [N]."""
        z_mix = latents_from_seeds(self.seeds, z_dim)
        return dict(zip(MIX_INPUTS, (z_mix, np.full(len(z_mix), self.crossover, np.int64)), strict=True))


def make_mix(coarse: Seeds, fine: Seeds, crossover: int) -> tuple[list[int], Mix, int]:
    """Return the seeds, the mix and the columns of a sheet with a row for each coarse seed, a column for each fine one.

    Raises:
        InvalidSeeds: see ``parse_seeds``. InvalidOption: a crossover below 0. TooManyImages: more than 100,000.
    """
    rows, columns = parse_seeds(coarse), parse_seeds(fine)
    if len(rows) * len(columns) > MAX_SEEDS:
        raise TooManyImages(
            f"{len(rows):,} coarse and {len(columns):,} fine seeds are {len(rows) * len(columns):,} images.",
            f"Ask for at most {MAX_SEEDS:,} at a time.",
        )
    layer = check_int(crossover, "crossover", InvalidOption)
    if not 0 <= layer <= 1000:
        raise InvalidOption(
            f"crossover must be a layer from 0 on, not {shorten(layer)}.", f"The default is {CROSSOVER}."
        )
    seeds = [seed for seed in rows for _ in columns]
    return seeds, Mix(seeds=columns * len(rows), crossover=layer), len(columns)


def fill_optional_inputs(inputs: list[dict[str, Any]]) -> None:
    """Give inputs without a mix or an offset in w one that changes nothing, where others of the same batch have one."""
    widths = [each[W_OFFSET].shape[1] for each in inputs if W_OFFSET in each]
    for each in inputs if widths else ():
        each.setdefault(W_OFFSET, np.zeros((len(each["z"]), widths[0]), np.float32))
    if any(MIX_INPUTS[0] in each for each in inputs):
        for each in inputs:
            each.setdefault(MIX_INPUTS[0], each["z"])
            each.setdefault(MIX_INPUTS[1], np.full(len(each["z"]), NEVER, np.int64))
