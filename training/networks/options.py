"""Options of families of networks: settings of a run (``--set key=value``) that only some families have.

Each family defines its options in a subclass, which ``FAMILIES`` names. An option is an argument of the generator, the
discriminator or both; an option that is not set has the network's default.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class NetworkOptions(BaseModel):
    """Options that the discriminators of all families have."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    minibatch: Literal["none", "std", "discrimination"] | None = None  # statistics of the batch in the discriminator
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None  # dropout probability in the discriminator


class PlainOptions(NetworkOptions):
    """Options of the families mlp, dcgan28 and dcgan."""

    latents: Literal["normal", "uniform"] | None = None  # z as it is, or from -1 to 1: erf(z / √2)
    bn_momentum: Annotated[float, Field(gt=0, le=1)] | None = None  # share of a batch in BatchNorm's averages
    bn_eps: Annotated[float, Field(gt=0, lt=1)] | None = None  # what BatchNorm adds to the variance


class NormOptions(NetworkOptions):
    """Options of families whose discriminator can be normalised."""

    d_norm: Literal["batch", "layer", "instance", "none"] | None = None  # normalisation in the discriminator
