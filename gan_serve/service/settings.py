"""What an operator can set: environment variables, ``GAN_SERVE_`` and the name of a field in capitals."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gan_serve.errors import ServiceError

PREFIX = "GAN_SERVE_"


class Settings(BaseModel):
    """The settings of the service.

    >>> Settings.from_environment({"GAN_SERVE_MODELS": "fashion-dcgan,/data/mine"}).models
    ('fashion-dcgan', '/data/mine')
    """

    model_config = ConfigDict(frozen=True)

    models: tuple[str, ...] = Field(
        default=(), description="names, directories or org/name on the Hub, commas between; all of the package if empty"
    )
    precision: str = Field(default="fp32", description="fp32, another that every model has a file for, or auto")
    device: str = Field(default="auto", description="auto, cpu or cuda")
    workers: Annotated[int, Field(ge=1, description="processes, each with its own copy of the models")] = 1
    max_images: Annotated[int, Field(ge=1, description="images, or frames of a walk, in one request")] = 1024
    max_body: Annotated[int, Field(ge=1, description="bytes in the body of one request")] = 16 * 2**20
    max_concurrency: Annotated[int, Field(ge=1, description="requests at a time, over all workers; beyond it: 429")] = (
        64
    )
    timeout: Annotated[float, Field(gt=0, description="seconds until a request is answered with 504")] = 60.0

    @field_validator("models", mode="before")
    @classmethod
    def _split_at_commas(cls, models: object) -> object:
        if isinstance(models, str):
            return tuple(name.strip() for name in models.split(",") if name.strip())
        return models

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings.

        Raises:
            ServiceError: a value that makes no sense, with the variable's name and what it is for.
        """
        variables = {name: PREFIX + name.upper() for name in cls.model_fields}
        given = {name: environment[variable] for name, variable in variables.items() if environment.get(variable)}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            raise ServiceError(
                f"{variables[name]} cannot be {given[name]!r}.", f"It means: {cls.model_fields[name].description}."
            ) from error

    def as_environment(self) -> dict[str, str]:
        """The environment variables that give these settings."""
        return {PREFIX + name.upper(): _as_text(value) for name, value in self.model_dump().items()}


def _as_text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
