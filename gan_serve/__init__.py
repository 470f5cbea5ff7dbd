"""Small image generators, pretrained: ``generate("fashion-dcgan", n=4, seed=7)`` returns images; no GPU, no torch."""

import importlib
from typing import TYPE_CHECKING

from gan_serve._version import __version__
from gan_serve.errors import (
    CheckpointError,
    DeviceUnavailable,
    DigestMismatch,
    GanServeError,
    GoldenSampleMismatch,
    InvalidCheckpoint,
    InvalidRequest,
    ReceiptError,
    UnknownLabel,
    UnknownModel,
)

if TYPE_CHECKING:
    from gan_serve.api import condition, generate, interpolate
    from gan_serve.checkpoint.bundled import list_models
    from gan_serve.client.async_client import AsyncClient
    from gan_serve.client.sync_client import Client
    from gan_serve.generator import Generator
    from gan_serve.sampling.result import Samples
    from gan_serve.translation.api import translate
    from gan_serve.translation.translator import Translator

__all__ = [
    "AsyncClient",
    "CheckpointError",
    "Client",
    "DeviceUnavailable",
    "DigestMismatch",
    "GanServeError",
    "Generator",
    "GoldenSampleMismatch",
    "InvalidCheckpoint",
    "InvalidRequest",
    "ReceiptError",
    "Samples",
    "Translator",
    "UnknownLabel",
    "UnknownModel",
    "__version__",
    "condition",
    "generate",
    "interpolate",
    "list_models",
    "translate",
]


# Imported on first use, since most commands, and what reads images for training, need little of it and start sooner.
_MODULES = {
    "AsyncClient": "client.async_client",
    "Client": "client.sync_client",
    "Generator": "generator",
    "Samples": "sampling.result",
    "Translator": "translation.translator",
    "condition": "api",
    "generate": "api",
    "interpolate": "api",
    "list_models": "checkpoint.bundled",
    "translate": "translation.api",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
