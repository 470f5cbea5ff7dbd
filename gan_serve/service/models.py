"""The models of a server: a fixed list, loaded at startup or on first request. A model keeps the error of its load."""

from __future__ import annotations

import asyncio
import copy
import logging
import threading
import time
from pathlib import Path

from gan_serve.checkpoint.bundled import is_in_package, left_out, list_in_manifest_order, not_in_package
from gan_serve.checkpoint.config import (
    SAMPLES_FILE,
    CheckpointConfig,
    Precision,
    TranslatorConfig,
)
from gan_serve.checkpoint.files import read_any_config, read_verified
from gan_serve.errors import (
    CheckpointError,
    DeviceUnavailable,
    GanServeError,
    InvalidCheckpoint,
    InvalidOption,
    InvalidRequest,
    UnknownModel,
    nearest,
    shorten,
)
from gan_serve.generator import Generator
from gan_serve.hub.file_sets import network_files, service_files
from gan_serve.hub.resolve import find_local, resolve
from gan_serve.sampling.device import choose_precision
from gan_serve.service import metrics
from gan_serve.service.served_model import ModelInfo, ServedModel
from gan_serve.service.settings import Settings
from gan_serve.translation.translator import Translator

logger = logging.getLogger(__name__)

MEGABYTE = 2**20
MAX_NAME = 200  # characters of an unknown name that are compared with the known ones


class Models:
    """The models that the operator chose. Requests can name no others."""

    def __init__(self) -> None:
        self._served: dict[str, ServedModel] = {}
        self._bound = 0
        self._loading = threading.Lock()  # held while models are loaded and unloaded

    def load(self, settings: Settings) -> None:
        """Look up the models that the operator chose, and load those that fit into memory unless ``lazy`` is set.

        A model that fails is kept with its error; the others are served.
        """
        self._bound = settings.memory * MEGABYTE
        aliases = [alias.partition("=")[::2] for alias in settings.aliases]
        plain = settings.models or (() if aliases else list_in_manifest_order())
        for alias, model in [*aliases, *(("", model) for model in dict.fromkeys(plain))]:
            served = self._find(model, settings, alias)
            if served.name in self._served:
                first = self._served[served.name].directory
                logger.error("%s is not served: %s has the same name.", served.directory, first)
                continue
            self._served[served.name] = served
            if served.error is None and not settings.lazy and self._has_room(served):
                self._load(served)

    @property
    def ready(self) -> bool:
        """True if there are models and none of them failed to load or to compute its golden sample."""
        return bool(self._served) and not any(served.error for served in self._served.values())

    async def get(self, name: str | None) -> Generator:
        """Return the generator of that name; if necessary, load it first, in a thread. See ``find`` for None.

        Raises:
            UnknownModel: this server has no such model. InvalidOption: it is a translator. CheckpointError,
                DeviceUnavailable: it cannot be loaded.
        """
        served = self.find(name)
        if isinstance(served.config, TranslatorConfig):
            raise InvalidOption(
                f"{served.name} translates images and does not generate them.", "POST /translate uses it."
            )
        model = await self._get(served)
        assert isinstance(model, Generator)
        return model

    async def get_translator(self, name: str) -> Translator:
        """Return the translator of that name; see ``get``."""
        served = self.find(name)
        if isinstance(served.config, CheckpointConfig):
            raise InvalidOption(f"{name} generates images and does not translate them.", "POST /sample uses it.")
        model = await self._get(served)
        assert isinstance(model, Translator)
        return model

    async def _get(self, served: ServedModel) -> Generator | Translator:
        served.used = time.monotonic()
        generator = served.generator  # another thread may unload it at any time
        if generator is None or served.error is not None:
            return await asyncio.to_thread(self._load_for_request, served)
        return generator

    async def get_in(self, name: str | None, precision: str | None) -> Generator:
        """Return the model of that name in a precision, which is loaded on the first request for it.

        Raises:
            InvalidOption: the checkpoint lacks the precision, or memory is short. Others: see ``get``.
        """
        generator = await self.get(name)
        if precision is None or precision == generator.precision:
            return generator
        served = self.find(name)
        chosen = choose_precision(generator.config, precision, generator.device)
        if chosen not in served.others:
            await asyncio.to_thread(self._load_other, served, chosen)
        return served.others[chosen]

    def _load_other(self, served: ServedModel, precision: Precision) -> None:
        with self._loading:
            if precision in served.others:
                return
            if self._bound and self._used() + served.size_in(precision) > self._bound:
                raise InvalidOption(
                    f"{served.name} in {precision} does not fit into this server's memory.", "Leave precision out."
                )
            device = served.settings.device
            directory = resolve(served.source, files=network_files(precision, device))
            try:
                served.others[precision] = Generator(directory, device=device, precision=precision)
            except GanServeError as error:
                raise _for_clients(error, served) from error

    def find(self, name: str | None) -> ServedModel:
        """Return the model of that name, loaded or not; without a name, the only model of this server.

        Raises:
            UnknownModel: this server has no such model. InvalidRequest: there is no name, and not exactly one model.
        """
        if name is None:
            if len(self._served) != 1:
                raise InvalidRequest(
                    "The field model is missing.", f"This server has several models: {', '.join(self.names())}."
                )
            name = self.names()[0]
        if name not in self._served:
            if name in left_out() and not is_in_package(name):
                raise not_in_package(name)
            hint = nearest(name[:MAX_NAME], self.names()) or f"Choose from: {', '.join(self.names())}."
            raise UnknownModel(f"This server has no model {shorten(name)}.", hint)
        return self._served[name]

    def names(self) -> list[str]:
        """Return all names that a request may give, ready or not, in the order of the operator."""
        return list(self._served)

    def first_loaded(self) -> Generator | None:
        """Return the first generator without an error, in the operator's order; None if it is not loaded."""
        ready = (served for served in self._served.values() if served.error is None)
        first = next((served for served in ready if not isinstance(served.config, TranslatorConfig)), None)
        return first.generator if first and isinstance(first.generator, Generator) else None

    def describe(self) -> list[ModelInfo]:
        """Return the models as ``GET /models`` shows them."""
        return [self._served[name].info() for name in self.names()]

    def samples(self, name: str) -> tuple[bytes, str]:
        """Return the PNG of samples in a model's checkpoint, and its sha256; see ``read_verified`` for the errors."""
        served = self.find(name)
        if served.config is None or SAMPLES_FILE not in served.config.files:
            raise UnknownModel(f"{name} has no picture of samples.", "POST /sample makes one.")
        return read_verified(served.directory, served.config, SAMPLES_FILE), served.config.files[SAMPLES_FILE].sha256

    def _find(self, model: str, settings: Settings, alias: str = "") -> ServedModel:
        served = ServedModel(model, alias or _name(model), _directory(model), settings, alias=alias)
        self._read(served, model)
        return served

    def _read(self, served: ServedModel, model: str | Path) -> None:
        """Find the checkpoint and read its config; an error is kept in ``served``."""
        settings = served.settings
        try:
            served.directory = resolve(model, files=service_files(settings.precision, settings.device))
            served.config = read_any_config(served.directory)
            served.name = served.alias or served.config.name
            if self._bound and served.size > self._bound:
                takes = f"{served.name} takes {served.size / MEGABYTE:.0f} MB"
                hint = "The server's operator can raise GAN_SERVE_MEMORY."
                raise CheckpointError(f"{takes}, more than this server's limit for models.", hint)
        except GanServeError as error:
            self._fail(served, error)

    def _load_for_request(self, served: ServedModel) -> Generator | Translator:
        with self._loading:
            if served.error is not None and time.monotonic() - served.failed >= served.settings.retry_models:
                self._retry(served)
            if served.generator is None and served.error is None:
                self._make_room(served)
                self._load(served)
            if served.error is not None:
                raise copy.copy(served.error)  # raising one object again and again would grow its traceback
            assert served.generator is not None
            return served.generator

    def retry(self) -> None:
        """Try again to load models that failed, each at most once in ``settings.retry_models`` seconds."""
        with self._loading:
            for served in self._served.values():
                if served.error is not None and time.monotonic() - served.failed >= served.settings.retry_models:
                    self._retry(served)

    def _retry(self, served: ServedModel) -> None:
        name = served.name
        served.error = None
        served.others.clear()
        served.__dict__.pop("precision", None)  # cached for the former files
        served.__dict__.pop("size", None)
        self._read(served, served.source)
        if served.name != name and served.error is None:
            served.name = name
            self._fail(served, InvalidCheckpoint(f"The checkpoint of {name} has a new name.", "Restart the server."))
        if served.error is None:
            self._make_room(served)
            self._load(served)

    def _load(self, served: ServedModel) -> None:
        settings = served.settings
        try:
            kind = Translator if isinstance(served.config, TranslatorConfig) else Generator
            served.generator = kind(served.directory, device=settings.device, precision=settings.precision)
        except GanServeError as error:
            self._fail(served, error)
        except Exception as error:
            logger.exception("%s cannot be loaded.", served.name)
            self._fail(served, GanServeError(f"{served.name} cannot be loaded: {error!r}.", "Fetch it again."))
        else:
            metrics.loaded_models.inc()
            logger.info("%s is ready on %s.", served.name, served.generator.device)

    def _has_room(self, served: ServedModel) -> bool:
        return not self._bound or self._used() + served.size <= self._bound

    def _used(self) -> int:
        loaded = [other for other in self._served.values() if other.generator is not None]
        return sum(each.size + sum(each.size_in(precision) for precision in each.others) for each in loaded)

    def _make_room(self, served: ServedModel) -> None:
        """Unload the least recently used models until ``served`` fits; requests that use one still finish."""
        for other in sorted(self._served.values(), key=lambda each: each.used):
            if self._has_room(served):
                return
            if other.generator is not None:
                logger.info("%s makes room for %s.", other.name, served.name)
                other.generator = None
                other.others.clear()
                metrics.loaded_models.dec()

    def _fail(self, served: ServedModel, error: GanServeError) -> None:
        logger.error("%s %s", error.message, error.hint)
        served.failed = time.monotonic()
        served.error = _for_clients(error, served)


def _directory(model: str) -> Path:
    return find_local(model) or Path(model.partition("@")[0])


def _name(model: str) -> str:
    """Return the name by which requests find a model, even one that cannot be loaded."""
    directory = _directory(model)
    try:
        return read_any_config(directory).name
    except GanServeError:
        return directory.name


def _for_clients(error: GanServeError, served: ServedModel) -> GanServeError:
    """Return the error that clients see: a fault of the server (503), without the operator's paths."""
    path, name = str(served.directory), served.name
    if isinstance(error, InvalidOption):  # the operator's: a precision that the model lacks
        return InvalidCheckpoint(f"{name} cannot be loaded as asked: {error.message}", error.hint)
    if not isinstance(error, CheckpointError | DeviceUnavailable):
        return InvalidCheckpoint(f"{name} could not be loaded; the server's log says why.")
    return type(error)(error.message.replace(path, name), error.hint.replace(path, name))
