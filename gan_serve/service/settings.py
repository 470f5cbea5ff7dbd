"""What an operator can set: environment variables, ``GAN_SERVE_`` and the name of a field in capitals."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from gan_serve.errors import ServiceError

PREFIX = "GAN_SERVE_"
METRICS_FOLDER = "GAN_SERVE_METRICS_FOLDER"  # no setting: gan-serve serve tells its workers where their counts meet
MAX_WORKERS = 8  # unless more are asked for: each takes some 200 MB
_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")

AtLeastOne = Annotated[int, Field(ge=1)]
Texts = tuple[str, ...]


class Settings(BaseModel):
    """The settings of the service.

    >>> Settings.from_environment({"GAN_SERVE_MODELS": "fashion-dcgan,/data/mine"}).models
    ('fashion-dcgan', '/data/mine')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Texts = Field(
        default=(), description="names, directories or org/name on the Hub, commas between; all of the package if empty"
    )
    precision: str = Field(default="fp32", description="fp32, another that every model has a file for, or auto")
    device: str = Field(default="auto", description="auto, cpu or cuda")
    lazy: bool = Field(default=False, description="true or false: load a model at its first request, not at the start")
    memory: Annotated[int, Field(ge=0)] = Field(
        default=0, description="megabytes for the models of a worker, 0 for no bound; those used last stay"
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        default=0, description="processes, each with its own copy of the models; 0 for one a core, up to 8"
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        default=0, description="drawing threads of a worker; 0 for the cores divided by the workers"
    )
    max_images: AtLeastOne = Field(default=1024, description="images, or frames of a walk, in one answer")
    max_frames: AtLeastOne = Field(default=10_000, description="frames of a walk that is streamed")
    max_pixels: AtLeastOne = Field(default=2**26, description="pixels in one answer, all images together")
    max_body: AtLeastOne = Field(default=4 * 2**20, description="bytes in the body of one request; beyond it: 413")
    max_queue: AtLeastOne = Field(
        default=64, description="requests that may wait or be drawn in a worker; beyond it: 429"
    )
    max_queued_images: AtLeastOne = Field(
        default=2048, description="images of all requests that wait or are drawn in a worker; beyond it: 429"
    )
    timeout: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="seconds until a request is answered with 504, and between parts of a stream"
    )
    drain: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="seconds after SIGTERM in which /readyz is red and requests are still taken"
    )
    api_key: SecretStr = Field(
        default=SecretStr(""), description="a secret that requests must carry as Authorization: Bearer; none if empty"
    )
    cors_origins: Texts = Field(
        default=(), description="origins whose pages may call this server, commas between, or *; none if empty"
    )
    log: Literal["json", "text", "off"] = Field(default="json", description="json, text or off: a line for a request")

    @field_validator("models", "cors_origins", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.startswith("["):  # as_environment: a path may hold a comma
            return tuple(json.loads(value))
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("api_key")
    @classmethod
    def _can_be_a_header(cls, key: SecretStr) -> SecretStr:
        text = key.get_secret_value()
        if not (text.isascii() and text.isprintable()) or text != text.strip():
            raise ValueError("not printable ASCII")
        return key

    @property
    def processes(self) -> int:
        """Workers to start. More processes of one thread draw more than one of more threads (benchmarks/serving.md)."""
        return self.workers or min(available_cores(), MAX_WORKERS)

    @property
    def drawing_threads(self) -> int:
        """Threads of a worker that draw."""
        return self.threads or max(1, available_cores() // self.processes)

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
            shown = "what it is" if name == "api_key" else repr(given[name])  # a secret stays out of logs
            raise ServiceError(
                f"{variables[name]} cannot be {shown}.", f"It means: {cls.model_fields[name].description}."
            ) from error

    def changed(self, **given: object) -> Self:
        """These settings with others for those that are not None.

        Raises:
            ServiceError: a value that makes no sense.
        """
        given = {name: value for name, value in given.items() if value is not None}
        try:
            return self.model_validate(dict(self) | given)
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            meaning = type(self).model_fields[name].description
            raise ServiceError(f"{name} cannot be {given[name]!r}.", f"It means: {meaning}.") from error

    def as_environment(self) -> dict[str, str]:
        """The environment variables that give these settings."""
        return {PREFIX + name.upper(): _as_text(getattr(self, name)) for name in type(self).model_fields}


def available_cores() -> int:
    """Cores that this process may use: of its affinity, and of its container (cgroup v2).

    BentoML's own count is not used: it belongs to its internals.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CGROUP_CPU.read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no limit ("max")
        pass
    return max(1, cores)


def _as_text(value: object) -> str:
    if isinstance(value, tuple):
        return json.dumps(value)
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
