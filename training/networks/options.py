"""Options of families of networks: settings of a run (``--set key=value``) that only some families have.

A network takes its options as one object, whose class names type, range and default of each. The class of a family has
the options of both of its networks; a setting of a run that is not set has the default of the network.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from torch import nn

from gan_serve.errors import InvalidOption

Model = TypeVar("Model", bound=BaseModel)


class Options(BaseModel):
    """Options of a network."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NetworkOptions(Options):
    """Options that the discriminators of all families have; a family adds its own in a subclass."""

    minibatch: Literal["none", "std", "discrimination"] = "none"  # statistics of the batch in the discriminator
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # dropout probability in the discriminator


class BatchNormOptions(Options):
    """Options of networks with BatchNorm, by default torch's values."""

    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1  # share of a batch in BatchNorm's averages
    bn_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-5  # what BatchNorm adds to the variance


class PlainGeneratorOptions(BatchNormOptions):
    """Options of the generators of the families mlp, dcgan28 and dcgan."""

    latents: Literal["normal", "uniform"] = "normal"  # z as it is, or from -1 to 1: erf(z / √2)


class NormalisedDiscriminatorOptions(NetworkOptions, BatchNormOptions):
    """Options of discriminators that can be normalised."""

    d_norm: Literal["batch", "layer", "instance", "none"] = "batch"  # normalisation in the discriminator


def arguments_of(network: type[nn.Module]) -> dict[str, Any]:
    """Return the arguments that a network is built with and their defaults, those in its options among them.

    An argument without a default has ``inspect.Parameter.empty``.
    """
    arguments = {name: parameter.default for name, parameter in inspect.signature(network).parameters.items()}
    options = arguments.get("options")
    if isinstance(options, Options):
        del arguments["options"]
        arguments |= options.model_dump()
    return arguments


def with_options(network: type[nn.Module], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a network, with those that are options of its own put together in one object.

    Raises:
        InvalidOption: an option has an unknown name or is out of range; the message names the nearest name.
    """
    default = inspect.signature(network).parameters.get("options")
    if default is None or not isinstance(default.default, Options):
        return dict(arguments)
    kind = type(default.default)
    chosen = {name: value for name, value in arguments.items() if name in kind.model_fields}
    rest = {name: value for name, value in arguments.items() if name not in chosen}
    return rest | {"options": validate(kind, chosen)}


def validate(kind: type[Model], values: Mapping[str, Any]) -> Model:
    """Check settings or options.

    Raises:
        InvalidOption: some of them do not fit; the message says which and why.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        errors = error.errors()
        names = re.findall(r"'([^']+)'", errors[0].get("ctx", {}).get("expected", ""))
        if len(errors) == 1 and names:
            raise InvalidOption.unknown(_place(errors[0]), errors[0]["input"], names) from error
        problems = "; ".join(f"{_place(each)}: {each['msg'].removeprefix('Value error, ')}" for each in errors)
        raise InvalidOption(
            f"The settings do not fit: {problems}.", "gan-serve recipes NAME shows every setting."
        ) from error


def _place(error: ErrorDetails) -> str:
    return ".".join(map(str, error["loc"]))
