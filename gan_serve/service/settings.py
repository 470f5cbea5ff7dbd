"""The settings of the service: environment variables ``GAN_SERVE_...``, with the name of a field in capitals."""

from __future__ import annotations

import functools
import ipaddress
import json
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gan_serve.checkpoint.config import MODEL_NAME
from gan_serve.errors import ServiceError

PREFIX = "GAN_SERVE_"
MAX_WORKERS = 8  # by default; each takes about 200 MB
_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")

AtLeastOne = Annotated[int, Field(ge=1)]
AtLeastZero = Annotated[int, Field(ge=0)]
Texts = Annotated[tuple[str, ...], NoDecode]  # separated by commas, not JSON as pydantic would read it


class Settings(BaseSettings):
    """The settings of the service: arguments, then environment variables, then the defaults below.

    >>> Settings(models="fashion-dcgan,/data/mine").models
    ('fashion-dcgan', '/data/mine')
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    # Models
    models: Texts = Field(
        default=(),
        description="names, directories or org/name on the Hub, separated by commas; all of the package if empty",
    )
    aliases: Texts = Field(
        default=(),
        description="further names of models, NAME=MODEL, separated by commas: a directory or org/name@revision",
    )
    precision: str = Field(default="fp32", description="fp32, another precision that every model has, or auto")
    device: str = Field(default="auto", description="auto, cpu or cuda")
    lazy: bool = Field(default=False, description="true or false: load a model at its first request, not at the start")
    memory: AtLeastZero = Field(
        default=0,
        description="megabytes for the models of a worker, 0 for no limit; the least recently used are unloaded",
    )
    retry_models: Annotated[float, Field(gt=0)] = Field(
        default=30.0, description="seconds after which a request tries again to load a model that failed"
    )
    # Processes
    workers: AtLeastZero = Field(
        default=0, description="processes, each with its own copy of the models; 0 for one per core, up to 8"
    )
    threads: AtLeastZero = Field(
        default=0, description="sampling threads of a worker; 0 for the cores divided by the workers"
    )
    # Limits
    max_images: AtLeastOne = Field(default=1024, description="images, or frames of a walk, in one response")
    max_frames: AtLeastOne = Field(default=10_000, description="frames of a walk that is streamed")
    max_pixels: AtLeastOne = Field(
        default=2**26, description="pixels in one response, or in the pictures of one upload, all together"
    )
    max_response: AtLeastOne = Field(
        default=2**26, description="bytes of one response, as estimated before anything is sampled"
    )
    max_body: AtLeastOne = Field(default=4 * 2**20, description="bytes in the body of one request; beyond it: 413")
    max_queue: AtLeastOne = Field(
        default=64, description="requests that may wait or be sampled in a worker; beyond it: 429"
    )
    max_queued_images: AtLeastOne = Field(
        default=2048, description="images of all requests that wait or are sampled in a worker; beyond it: 429"
    )
    max_queued_bytes: AtLeastOne = Field(
        default=2**26, description="bytes of all responses that a worker sends, and of all bodies that it reads; or 429"
    )
    max_wait: Annotated[float, Field(gt=0)] = Field(
        default=3.0, description="seconds that a request may be expected to wait for others; beyond it: 429"
    )
    project: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="seconds that the search for the latent of a picture may take (POST /project, which needs the "
        "extra [train]); 0: the server has no such endpoint",
    )
    timeout: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="seconds until a request gets 504, and between the parts of a response"
    )
    # HTTP
    keep_alive: AtLeastOne = Field(default=75, description="seconds that a connection without a request stays open")
    drain: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="seconds after SIGTERM in which /readyz is 503 and requests are still accepted"
    )
    hosts: Texts = Field(
        default=(), description="names accepted in the Host header, separated by commas; see docs/serving.md if empty"
    )
    proxies: Texts = Field(
        default=("127.0.0.1",),
        description="addresses whose X-Forwarded-For is trusted, separated by commas, or *; none if empty",
    )
    cors_origins: Texts = Field(
        default=(), description="origins whose pages may call this server, separated by commas, or *; none if empty"
    )
    api_key: SecretStr = Field(
        default=SecretStr(""), description="a secret that requests must carry as Authorization: Bearer; none if empty"
    )
    api_keys: str = Field(
        default="",
        description="a TOML file of keys: a table for each name, with key and optionally requests_per_minute",
    )
    uds: str = Field(default="", description="the path of a Unix socket to listen on in place of host and port")
    tls_cert: str = Field(default="", description="a file with the certificate chain (PEM); it turns on HTTPS")
    tls_key: str = Field(default="", description="a file with the private key of the certificate (PEM)")
    log: Literal["auto", "json", "text", "off"] = Field(
        default="auto", description="json, text, off (no line for a request), or auto: text on a terminal, else json"
    )

    @field_validator("models", "aliases", "cors_origins", "hosts", "proxies", mode="before")
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

    @field_validator("aliases")
    @classmethod
    def _are_pairs(cls, aliases: tuple[str, ...]) -> tuple[str, ...]:
        for alias in aliases:
            name, _, model = alias.partition("=")
            if not (re.fullmatch(MODEL_NAME, name) and "\n" not in name and model):
                raise ValueError("not NAME=MODEL, the name of letters, digits and ._- alone, at most 100")
        return aliases

    @property
    def processes(self) -> int:
        """Workers to start. Several processes sample faster than one with several threads (benchmarks/serving.md)."""
        return self.workers or min(available_cores(), MAX_WORKERS)

    @property
    def sampling_threads(self) -> int:
        """Threads of a worker that sample."""
        return self.threads or max(1, available_cores() // self.processes)

    @classmethod
    def read(cls, **given: Any) -> Self:
        """Read the settings from the environment; what is ``given`` and not None replaces its variable.

        Raises:
            ServiceError: a value is invalid; the message names the setting, and the hint its meaning.
        """
        given = {name: value for name, value in given.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            name, value = str(error.errors()[0]["loc"][0]), error.errors()[0]["input"]
            shown = "its value" if name == "api_key" else repr(value)  # a secret stays out of logs
            named = name if name in given else PREFIX + name.upper()
            meaning = cls.model_fields[name].description
            raise ServiceError(f"{named} cannot be {shown}.", f"It means: {meaning}.") from error

    def as_environment(self) -> dict[str, str]:
        """Return the environment variables that give these settings."""
        return {PREFIX + name.upper(): _as_text(getattr(self, name)) for name in type(self).model_fields}


def available_cores() -> int:
    """Return the number of cores that this process may use: by its affinity, and by its container (cgroup v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CGROUP_CPU.read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no limit ("max")
        pass
    return max(1, cores)


@functools.lru_cache(maxsize=64)
def is_loopback(address: str) -> bool:
    """Return True if an IP address is a loopback address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # a name instead of an address, as in tests
        return False


def _as_text(value: object) -> str:
    if isinstance(value, tuple):
        return json.dumps(value)
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
