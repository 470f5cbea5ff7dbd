"""The bodies of requests: which fields there are and their types. What the values may be, the generator decides."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from gan_serve.errors import InvalidRequest, nearest
from gan_serve.samples import FORMATS

# Long enough for any name, too short to slow down the search for the nearest one.
Name = Annotated[str, Field(max_length=200)]
Label = Name | int

_FORMAT = f"one of {', '.join(FORMATS)}"
_COLUMNS = "a whole number, 1 or more: the images in a row of a grid"


class _Request(BaseModel):
    """``description`` completes "<field> must be ..." in the answer to a wrong type."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Name = Field(description="the name of a model of this server", examples=["fashion-dcgan"])
    truncation: float = Field(default=1.0, description="a number from 0 to 1")

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, body: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(body)
        except ValidationError as error:
            if not isinstance(body, dict):
                raise
            raise cls._explained(error) from None

    @classmethod
    def _explained(cls, error: ValidationError) -> InvalidRequest:
        """The first thing that is wrong with the fields, in one sentence."""
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            hint = nearest(field[:200], cls.model_fields) or f"There are: {', '.join(cls.model_fields)}."
            return InvalidRequest(f"There is no field {_short(field)}.", hint)
        valid = f"{field} must be {cls.model_fields[field].description}"
        if first["type"] == "missing":
            return InvalidRequest(f"The field {field} is missing.", f"{valid}.")
        return InvalidRequest(f"{valid}, not {_short(first['input'])}.", "GET /docs.json describes every field.")


class SampleRequest(_Request):
    """Images to draw: by ``seeds``, by ``n`` from ``seed`` on, by ``latents``, or ``n`` with seeds drawn at random."""

    n: int | None = Field(default=None, description="a whole number, 1 or more")
    seed: int | None = Field(default=None, description="a whole number from 0 to 4294967295")
    seeds: int | str | list[int] | None = Field(
        default=None,
        description='a list of whole numbers from 0 to 4294967295, or text such as "0-3,10"',
        examples=["0-15"],
    )
    latents: list[list[float]] | None = Field(default=None, description="a list of lists of z_dim numbers")
    label: Label | list[Label] | None = Field(
        default=None, description="a class name or index, or a list of one for each image"
    )
    format: Name = Field(default="png", description=_FORMAT)
    columns: int | None = Field(default=None, description=_COLUMNS)


class InterpolateRequest(_Request):
    """A walk through the images of ``seeds``."""

    seeds: str | list[int] = Field(
        description='a list of two or more whole numbers from 0 to 4294967295, or text such as "0,5,9"',
        examples=["0,5,9"],
    )
    steps: int = Field(default=16, description="a whole number, 1 or more: the frames from one seed to the next")
    method: Name = Field(default="slerp", description="slerp or lerp")
    loop: bool = Field(default=False, description="true or false")
    label: Label | None = Field(default=None, description="one class name or index")
    format: Name = Field(default="gif", description=_FORMAT)
    columns: int | None = Field(default=None, description=_COLUMNS)
    fps: float = Field(default=12.0, description="a number from 0.1 to 100: frames a second")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
