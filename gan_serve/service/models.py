"""The models of a server: those that can draw, and what is wrong with the others."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from gan_serve.checkpoint import read_config
from gan_serve.errors import (
    CheckpointError,
    DeviceUnavailable,
    GanServeError,
    InvalidCheckpoint,
    InvalidOption,
    UnknownModel,
    nearest,
)
from gan_serve.generator import Generator
from gan_serve.hub import find_local, list_models
from gan_serve.service.errors import ErrorDetail
from gan_serve.service.settings import Settings

logger = logging.getLogger(__name__)


class ModelInfo(BaseModel):
    """What ``GET /models`` says of a model. One that is not ready has an ``error`` and little else."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    ready: bool = True
    z_dim: int | None = None
    c_dim: int | None = None
    class_names: tuple[str, ...] | None = None
    img_resolution: int | None = None
    img_channels: int | None = None
    license: str | None = None
    digest: str | None = None
    precision: str | None = None
    device: str | None = None
    error: ErrorDetail | None = None


class Models:
    """Loaded once, when the service starts; requests name a model and can name nothing else."""

    def __init__(self) -> None:
        self._loaded: dict[str, Generator] = {}
        self._failed: dict[str, GanServeError] = {}

    def load(self, settings: Settings) -> None:
        """Load the models that the operator chose. One that fails is kept with its error; the others are served."""
        for model in dict.fromkeys(settings.models or list_models()):
            try:
                self._add(Generator.from_pretrained(model, device=settings.device, precision=settings.precision))
            except GanServeError as error:
                self._fail(model, error)
            except Exception as error:
                logger.exception("%s cannot be loaded.", model)
                self._fail(model, GanServeError(f"{model} cannot be loaded: {error!r}.", "Fetch it again."))

    @property
    def ready(self) -> bool:
        """Whether there are models and all of them draw what they were published with."""
        return bool(self._loaded) and not self._failed

    def get(self, name: str) -> Generator:
        """The model of that name.

        Raises:
            UnknownModel: this server has none. CheckpointError, DeviceUnavailable: it has, but it could not be loaded.
        """
        if name in self._failed:
            raise copy.copy(self._failed[name])  # raising the same object again and again would grow its traceback
        if name not in self._loaded:
            hint = nearest(name, self.names()) or f"There are: {', '.join(self.names())}."
            raise UnknownModel(f"This server has no model {name!r}.", hint)
        return self._loaded[name]

    def names(self) -> list[str]:
        """All names that a request may give, ready or not."""
        return sorted(self._loaded | self._failed)

    def describe(self) -> list[ModelInfo]:
        """What ``GET /models`` answers."""
        return [self._describe(name) for name in self.names()]

    def _describe(self, name: str) -> ModelInfo:
        if name in self._failed:
            return ModelInfo(name=name, ready=False, error=ErrorDetail.of(self._failed[name]))
        generator = self._loaded[name]
        return ModelInfo.model_validate(generator).model_copy(update={"license": generator.config.license})

    def _add(self, generator: Generator) -> None:
        if generator.name in self._loaded:
            raise InvalidCheckpoint(f"Two checkpoints are called {generator.name}.", "Serve one of them.")
        self._loaded[generator.name] = generator
        logger.info("%s is ready on %s.", generator.name, generator.device)

    def _fail(self, model: str, error: GanServeError) -> None:
        logger.error("%s %s", error.message, error.hint)
        self._failed[_name(model)] = _for_clients(error, model)


def _directory(model: str) -> Path:
    return find_local(model) or Path(model.partition("@")[0])


def _name(model: str) -> str:
    """The name that requests give to a model, also to one that cannot be loaded."""
    directory = _directory(model)
    try:
        return read_config(directory).name
    except GanServeError:
        return directory.name


def _for_clients(error: GanServeError, model: str) -> GanServeError:
    """The error as requests see it: the server's fault (503), without the paths of the operator."""
    path, name = str(_directory(model)), _name(model)
    if isinstance(error, InvalidOption):  # of the operator: a precision that the model lacks
        return InvalidCheckpoint(f"{name} cannot be loaded as asked: {error.message}", error.hint)
    if not isinstance(error, CheckpointError | DeviceUnavailable):
        return InvalidCheckpoint(f"{name} could not be loaded; the server's log says why.")
    return type(error)(error.message.replace(path, name), error.hint.replace(path, name))
