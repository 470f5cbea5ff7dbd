"""The bodies of requests: which fields there are and their types. What the values may be, the generator decides."""

from __future__ import annotations

import reprlib
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from gan_serve.errors import InvalidRequest, nearest
from gan_serve.sampling.formats import FORMATS
from gan_serve.sampling.request import LatentOptions
from gan_serve.sampling.seeds import MAX_SEEDS, SEED_END
from gan_serve.sampling.walks import WALK_METHODS

# Long enough for any name, too short to slow down the search for the nearest one.
Name = Annotated[str, Field(max_length=200)]
STREAM = "ndjson"  # the format of a walk that is answered frame by frame

_FORMAT = f"one of {', '.join(FORMATS)}"
_SEED = "a whole number from 0 to 4294967295"


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 4.0 is 4."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _range(kind: str, least: float, most: float | None = None) -> WithJsonSchema:
    """The range of a number, for /docs.json; the generator checks it, in its own words."""
    return WithJsonSchema({"type": kind, "minimum": least} | ({} if most is None else {"maximum": most}))


Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Whole, _range("integer", 1)]
Place = Annotated[Whole, _range("integer", 0)]
Seed = Annotated[Whole, _range("integer", 0, SEED_END - 1)]
Label = Name | Whole
# Of a list with a million wrong items the first one is enough: errors for all of them take half a minute.
Seeds = Annotated[list[Seed], Field(fail_fast=True, max_length=MAX_SEEDS)]
Labels = Annotated[list[Label], Field(fail_fast=True, max_length=MAX_SEEDS)]
Latent = Annotated[list[float], Field(fail_fast=True)]
Latents = Annotated[list[Latent], Field(fail_fast=True, max_length=MAX_SEEDS)]


class DrawingRequest(BaseModel):
    """What every request for images has. A ``description`` completes "<field> must be ..." in the refusal of a type."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Name = Field(description="the name of a model of this server")
    truncation: Annotated[float, _range("number", 0, 1)] = Field(default=1.0, description="a number from 0 to 1")
    format: Name = Field(default="png", description=_FORMAT, json_schema_extra={"enum": list(FORMATS)})
    columns: Count | None = Field(
        default=None,
        description="a whole number, 1 or more: the images in a row of a PNG",
    )

    @property
    def names_latents(self) -> bool:
        """Whether the request says which images it means, so that the same one has the same answer."""
        return True

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


class _LatentsRequest(DrawingRequest):
    """Latents by ``seeds``, by ``n`` from ``seed`` on, given as they are, or ``n`` with seeds drawn at random."""

    n: Count | None = Field(default=None, description="a whole number, 1 or more")
    seed: Seed | None = Field(default=None, description=_SEED)
    seeds: Seed | str | Seeds | None = Field(
        default=None,
        description='a list of whole numbers from 0 to 4294967295, or text such as "0-3,10"',
        examples=["0-15"],
    )
    latents: Latents | None = Field(default=None, description="a list of lists of z_dim numbers")

    @property
    def names_latents(self) -> bool:
        """See ``DrawingRequest``."""
        return not (self.seed is None and self.seeds is None and self.latents is None)

    def latent_options(self) -> LatentOptions:
        """Which latents are meant, as ``Planner.plan`` and ``plan_condition`` take it beside ``n``."""
        return {
            "seed": self.seed,
            "seeds": self.seeds,
            "latents": self.latents,
            "truncation": self.truncation,
        }


class SampleRequest(_LatentsRequest):
    """Images to draw."""

    label: Label | Labels | None = Field(
        default=None, description="a class name or index, or a list of one for each image"
    )


class ConditionRequest(_LatentsRequest):
    """The same latents under several labels: all of the first label, then all of the second, and so on."""

    model: Name = Field(description="the name of a model that has classes")
    labels: Label | Labels | None = Field(
        default=None, description="a list of class names or indices; all of the model if it is left out"
    )


class InterpolateRequest(DrawingRequest):
    """A walk through the images of ``seeds``."""

    seeds: str | Seeds = Field(
        description='a list of two or more whole numbers from 0 to 4294967295, or text such as "0,5,9"',
        examples=["0,5,9"],
    )
    steps: Count = Field(
        default=16,
        description="a whole number, 1 or more: the frames from one seed to the next",
    )
    method: Name = Field(default="slerp", description="slerp or lerp", json_schema_extra={"enum": list(WALK_METHODS)})
    loop: bool = Field(default=False, description="true or false")
    label: Label | None = Field(default=None, description="one class name or index")
    format: Name = Field(
        default="gif",
        description=f"{_FORMAT}, or {STREAM}: a line of JSON for each frame, as it is drawn",
        json_schema_extra={"enum": [*FORMATS, STREAM]},
    )
    fps: Annotated[float, _range("number", 0.1, 100)] = Field(
        default=12.0, description="a number from 0.1 to 100: frames a second"
    )
    start: Place = Field(
        default=0,
        description="a whole number, 0 or more: the first frame to give, to go on with a walk that was cut off",
    )
    stop: Count | None = Field(
        default=None,
        description="a whole number above start: the frame to stop before; the walk's end if it is left out",
    )


def _short(value: object) -> str:
    text = reprlib.repr(value)  # of a list with a million items, the first ones
    return text if len(text) <= 60 else text[:57] + "..."
