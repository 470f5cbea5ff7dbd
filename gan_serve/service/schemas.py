"""The bodies of requests: fields and their types. The generator checks the values."""

from __future__ import annotations

import reprlib
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from gan_serve.checkpoint.config import MAX_DIRECTIONS, PRECISION_FILES
from gan_serve.errors import InvalidRequest, nearest
from gan_serve.sampling.formats import MAX_SCALE, served_formats
from gan_serve.sampling.mixing import CROSSOVER
from gan_serve.sampling.seeds import MAX_SEEDS, SEED_END
from gan_serve.sampling.walks import WALK_METHODS


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


# Long enough for any name, too short to slow down the search for the nearest one.
Name = Annotated[str, Field(max_length=200)]
# May be left out where the server has one model only; ``openapi`` documents it as required where there are several.
ModelName = Annotated[
    Name | None, WithJsonSchema({"type": "string", "maxLength": 200}), Field(json_schema_extra=_without_default)
]
STREAM = "ndjson"  # the format of a walk that is sent frame by frame

_FORMATS = list(served_formats())
_FORMAT = f"one of {', '.join(_FORMATS)}"
_SEED = "a whole number from 0 to 4294967295"


def _whole(value: Any) -> Any:
    """Return a float that is a whole number as int: JSON has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _range(kind: str, least: float, most: float | None = None) -> WithJsonSchema:
    """Return the schema of a number in a range, for /docs.json; the generator checks it."""
    return WithJsonSchema({"type": kind, "minimum": least} | ({} if most is None else {"maximum": most}))


Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Whole, _range("integer", 1)]
Place = Annotated[Whole, _range("integer", 0)]
Seed = Annotated[Whole, _range("integer", 0, SEED_END - 1)]
Label = Name | Whole
# Only the first wrong item is reported: errors for a million of them would take half a minute.
Seeds = Annotated[list[Seed], Field(fail_fast=True, max_length=MAX_SEEDS)]
Labels = Annotated[list[Label], Field(fail_fast=True, max_length=MAX_SEEDS)]
Latent = Annotated[list[float], Field(fail_fast=True)]
# A walk, and a list for images, may have latents among the seeds.
Keys = Annotated[list[Seed | Latent], Field(fail_fast=True, max_length=MAX_SEEDS)]
Latents = Annotated[list[Latent], Field(fail_fast=True, max_length=MAX_SEEDS, json_schema_extra={"minItems": 1})]
Offsets = Annotated[list[float], Field(fail_fast=True, max_length=MAX_DIRECTIONS)]
Rows = Annotated[list[Offsets], Field(fail_fast=True, max_length=MAX_SEEDS)]


class RequestBody(BaseModel):
    """A body of a request. The ``description`` of a field completes "<field> must be ..." in an error."""

    model_config = ConfigDict(extra="forbid", strict=True)

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
        """Return the first error of the fields, as an error with a message and a hint."""
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            hint = nearest(field[:200], cls.model_fields) or f"The fields are: {', '.join(cls.model_fields)}."
            return InvalidRequest(f"There is no field {_short(field)}.", hint)
        valid = f"{field} must be {cls.model_fields[field].description}"
        if first["type"] == "missing":
            return InvalidRequest(f"The field {field} is missing.", f"{valid}.")
        return InvalidRequest(f"{valid}, not {_short(first['input'])}.", "GET /docs.json describes every field.")


class ImageRequest(RequestBody):
    """The fields of every request for images."""

    model: ModelName = Field(default=None, description="the name of a model of this server")
    truncation: Annotated[float, _range("number", 0, 1)] = Field(default=1.0, description="a number from 0 to 1")
    format: Name = Field(default="png", description=_FORMAT, json_schema_extra={"enum": [*_FORMATS]})
    columns: Count | None = Field(
        default=None,
        description="a whole number, 1 or more: the images in a row of a PNG",
    )
    scale: Annotated[Whole, _range("integer", 1, MAX_SCALE)] = Field(
        default=1,
        description=f"a whole number from 1 to {MAX_SCALE}: the width of the square that a pixel of a PNG, GIF or WebP "
        "becomes",
    )

    @property
    def names_latents(self) -> bool:
        """Return True if the request determines its latents, so that the same request has the same response."""
        return True


class _LatentsRequest(ImageRequest):
    """Latents of ``seeds``, of ``n`` consecutive seeds from ``seed``, of ``n`` random seeds, or given directly."""

    n: Count | None = Field(default=None, description="a whole number, 1 or more")
    seed: Seed | None = Field(default=None, description=_SEED)
    seeds: Seed | str | Keys | None = Field(
        default=None,
        description='a list of whole numbers from 0 to 4294967295, or text such as "0-3,10"; a list may also have '
        "latents, lists of z_dim numbers",
        examples=["0-15"],
    )
    latents: Latents | None = Field(default=None, description="a list of lists of z_dim numbers, or z_dim + w_dim")

    offsets: Offsets | Rows | None = Field(
        default=None,
        description="a list of numbers from -20 to 20, one for each direction of the model, or such a list for each "
        "image",
    )

    @property
    def names_latents(self) -> bool:
        """See ``ImageRequest``."""
        return not (self.seed is None and self.seeds is None and self.latents is None)

    def latent_options(self) -> dict[str, Any]:
        """Return the fields that choose latents, for ``sample_request`` and ``condition_request``."""
        return {name: getattr(self, name) for name in ("seed", "seeds", "latents", "offsets", "truncation")}


class SampleRequest(_LatentsRequest):
    """Images to sample."""

    precision: Name | None = Field(
        default=None,
        description=f"one of {', '.join(PRECISION_FILES)} that the model has; by default that of the server",
        json_schema_extra={"enum": [*PRECISION_FILES, None]},
    )

    label: Label | Labels | None = Field(
        default=None, description="a class name or index, or a list of one for each image"
    )


class ConditionRequest(_LatentsRequest):
    """The same latents under several labels: all of the first label, then all of the second, and so on."""

    model: ModelName = Field(default=None, description="the name of a model that has classes")
    labels: Label | Labels | None = Field(
        default=None, description="a list of class names or indices; by default all of the model"
    )


class InterpolateRequest(ImageRequest):
    """A walk through the images of ``seeds``."""

    seeds: str | Keys = Field(
        description='a list of two or more whole numbers from 0 to 4294967295, or text such as "0,5,9"; a list may '
        "also have latents, lists of z_dim numbers",
        examples=["0,5,9"],
    )
    steps: Count = Field(
        default=16,
        description="a whole number, 1 or more: the frames from one seed to the next",
    )
    method: Name = Field(default="slerp", description="slerp or lerp", json_schema_extra={"enum": list(WALK_METHODS)})
    loop: bool = Field(default=False, description="true or false")
    label: Label | Labels | None = Field(
        default=None, description="a class name or index, or a list of one for each of seeds"
    )
    format: Name = Field(
        default="gif",
        description=f"{_FORMAT}, or {STREAM}: a line of JSON for each frame, as it is sampled",
        json_schema_extra={"enum": [*_FORMATS, STREAM]},
    )
    fps: Annotated[float, _range("number", 0.1, 100)] = Field(
        default=12.0, description="a number from 0.1 to 100: frames per second"
    )
    start: Place = Field(
        default=0,
        description="a whole number, 0 or more and below stop: the first frame, to continue a walk that was cut off",
    )
    stop: Count | None = Field(
        default=None,
        description="a whole number above start: the frame before which to stop; by default the end of the walk",
    )


class MixRequest(ImageRequest):
    """The styles of each coarse seed with those of each fine seed."""

    coarse: Seed | str | Seeds = Field(
        description=f'a list of seeds, each {_SEED}, or text such as "0-3": those of the first layers',
        examples=["0-3"],
    )
    fine: Seed | str | Seeds = Field(
        description=f'a list of seeds, each {_SEED}, or text such as "4-7": those of the other layers',
        examples=["4-7"],
    )
    crossover: Place = Field(
        default=CROSSOVER,
        description="a whole number, 0 or more: the first layer that follows the fine seed",
    )
    label: Label | None = Field(default=None, description="one class name or index")


def _short(value: object) -> str:
    text = reprlib.repr(value)  # the first items of a long list
    return text if len(text) <= 60 else text[:57] + "..."
