"""A model that a server offers, and its form in ``GET /models``."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from gan_serve.checkpoint.config import (
    METRICS_FILE,
    PARITY_FILE,
    PRECISION_FILES,
    AnyConfig,
    CheckpointConfig,
    FileDigest,
    Precision,
    TranslatorConfig,
    TruncationSpace,
    precisions,
)
from gan_serve.checkpoint.files import read_json
from gan_serve.checkpoint.latent_space import LatentSpace, read_latent_space
from gan_serve.errors import CheckpointError, GanServeError
from gan_serve.generator import Generator
from gan_serve.sampling.device import choose_precision
from gan_serve.service.request_error import ErrorDetail
from gan_serve.service.settings import Settings
from gan_serve.translation.translator import Translator

METRICS = TypeAdapter(dict[str, FiniteFloat])
SESSION_SIZE = 2  # times the network's file: ONNX Runtime keeps weights as read and in its kernels' layout


class ModelInfo(BaseModel):
    """A model in ``GET /models``. One that is not ready has an ``error``, and may lack other fields."""

    name: str
    ready: bool = True
    loaded: bool = False
    z_dim: int | None = None
    c_dim: int | None = None
    class_names: tuple[str, ...] | None = None
    img_resolution: int | None = None
    img_channels: int | None = None
    style_layers: int | None = None  # known once it is loaded; None if styles cannot be mixed
    license: str | None = None
    digest: str | None = None
    precision: Precision | None = None
    device: str | None = None
    task: Literal["generate", "translate"] | None = None
    in_resolution: int | None = Field(default=None, description="Of a translator: width and height of its inputs.")
    in_channels: int | None = Field(default=None, description="Of a translator: 1 for gray inputs, 3 for RGB.")
    scale: int | None = Field(default=None, description="Of a translator: outputs are so many times as wide and high.")
    any_size: bool | None = Field(default=None, description="Of a translator: inputs may have any size.")
    error: ErrorDetail | None = None


class ModelDetails(ModelInfo):
    """A model in ``GET /models/{name}``: also how it was made and measured."""

    architecture: str | None = None
    truncation_space: TruncationSpace | None = None
    precisions: tuple[Precision, ...] = ()
    files: dict[str, FileDigest] = {}
    metrics: dict[str, float] | None = Field(
        None,
        description="Quality metrics by name; each name states its protocol. docs/evaluation.md explains them, and "
        "whether higher or lower is better.",
    )
    parity: dict[str, Any] | None = None
    latent_space: LatentSpace | None = None


@dataclass(eq=False)
class ServedModel:
    """A model that the server offers: its directory, and its generator while that is loaded."""

    source: str  # as the operator named it
    name: str
    directory: Path
    settings: Settings
    config: AnyConfig | None = None
    generator: Generator | Translator | None = None
    error: GanServeError | None = None
    alias: str = ""  # the name that the operator gave it
    failed: float = 0.0  # time of the last failure, on the monotonic clock
    used: float = 0.0  # time of the last request
    others: dict[Precision, Generator] = field(default_factory=dict)  # in other precisions, for requests

    @cached_property
    def precision(self) -> Precision:
        """The precision in which the model samples."""
        assert self.config is not None
        return choose_precision(self.config, self.settings.precision, self.settings.device)

    @cached_property
    def size(self) -> int:
        """The approximate bytes that the model takes in memory."""
        assert self.config is not None
        return self.size_in(self.precision)

    def size_in(self, precision: Precision) -> int:
        """Return the approximate bytes that the model takes in a precision."""
        assert self.config
        return SESSION_SIZE * self.config.files[PRECISION_FILES[precision]].size

    def figures(self, name: str) -> dict[str, Any] | None:
        """Return ``metrics.json`` or ``parity.json``; None if the checkpoint lacks it or its digest is wrong."""
        try:
            content = read_json(self.directory, self.config, name) if self.config else None
        except CheckpointError:
            return None
        return content if isinstance(content, dict) else None

    def measured(self) -> dict[str, float] | None:
        """Return ``metrics.json``; None if the checkpoint lacks it or it does not hold numbers by name."""
        try:
            return METRICS.validate_python(self.figures(METRICS_FILE), strict=True)
        except ValidationError:
            return None

    def latent_space(self) -> LatentSpace | None:
        """Return the directions and the truncation floor; None if the checkpoint lacks them or they are invalid."""
        try:
            if isinstance(self.config, CheckpointConfig):
                return read_latent_space(self.directory, self.config)
            return None
        except CheckpointError:
            return None

    def info(self) -> ModelInfo:
        """Return the model as ``GET /models`` shows it."""
        config, generator, error = self.config, self.generator, self.error
        shown = ModelInfo(
            name=self.name,
            ready=error is None,
            loaded=generator is not None,
            error=ErrorDetail.of(error) if error else None,
        )
        if config is None or error is not None:
            return shown
        return shown.model_copy(
            update=_of_task(config)
            | {
                "img_resolution": config.img_resolution,
                "img_channels": config.img_channels,
                "style_layers": getattr(generator, "style_layers", None),
                "license": config.license,
                "digest": f"sha256:{config.files[PRECISION_FILES[self.precision]].sha256}",
                "precision": generator.precision if generator else self.precision,
                "device": generator.device if generator else None,
            }
        )

    def details(self) -> ModelDetails:
        """Return the model as ``GET /models/{name}`` shows it."""
        details = ModelDetails.model_validate(self.info().model_dump())
        if self.config is None:
            return details
        return details.model_copy(
            update={
                "architecture": self.config.architecture.family,
                "truncation_space": getattr(self.config, "truncation_space", None),
                "precisions": tuple(precisions(self.config)),
                "files": self.config.files,
                "metrics": self.measured(),
                "parity": self.figures(PARITY_FILE),
                "latent_space": self.latent_space(),
            }
        )


def _of_task(config: AnyConfig) -> dict[str, Any]:
    """Return the fields of ``ModelInfo`` that depend on the task."""
    if isinstance(config, TranslatorConfig):
        names = ("task", "in_resolution", "in_channels", "scale", "any_size")
        return {name: getattr(config, name) for name in names}
    return {
        "task": "generate", "z_dim": config.z_dim, "c_dim": config.c_dim, "class_names": config.class_names
    }  # fmt: skip
