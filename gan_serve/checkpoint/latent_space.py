"""``latent_space.json`` of a checkpoint: directions that change its images, and its smallest useful truncation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gan_serve.checkpoint.config import LATENT_SPACE_FILE, MAX_DIRECTIONS, CheckpointConfig, Text
from gan_serve.checkpoint.files import read_json
from gan_serve.errors import InvalidCheckpoint

Component = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class Direction(BaseModel):
    """A direction in z.

    Args:
        vector: z_dim numbers of norm 1, so that an offset of 1 is one standard deviation of the latents.
        change: how much it changes the images: root mean square of the difference, in grey levels, between the images
            with the offsets 2 and -2.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vector: Annotated[list[Component], Field(max_length=65536)]
    change: Annotated[float, Field(ge=0, le=255)]


class LatentSpace(BaseModel):
    """The content of the file. ``directions`` are in the order of their change, the largest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Text
    truncation_floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    directions: Annotated[list[Direction], Field(max_length=MAX_DIRECTIONS)] = []

    def vectors(self, z_dim: int) -> npt.NDArray[np.float32]:
        """Return the directions as one array, float32 [K, z_dim]."""
        return np.array([each.vector for each in self.directions], np.float32).reshape(-1, z_dim)


def read_latent_space(directory: Path, config: CheckpointConfig) -> LatentSpace:
    """Return the content of ``latent_space.json``; one without directions if the checkpoint does not list the file.

    Raises:
        InvalidCheckpoint: it is missing, or does not fit the schema or ``z_dim``. DigestMismatch: it was altered.
    """
    if LATENT_SPACE_FILE not in config.files:
        return LatentSpace(method="none")
    try:
        space = LatentSpace.model_validate(read_json(directory, config, LATENT_SPACE_FILE))
        if any(len(each.vector) != config.z_dim for each in space.directions):
            raise ValueError(f"a direction does not have {config.z_dim} numbers")
    except (ValidationError, ValueError) as error:
        message = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InvalidCheckpoint(
            f"{directory / LATENT_SPACE_FILE} does not fit the schema: {message[:200]}.",
            "Download or export the checkpoint again.",
        ) from error
    return space
