"""Small image generators, pretrained: ``generate("fashion-dcgan", n=4, seed=7)`` returns images; no GPU, no torch."""

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
from gan_serve.lazy_names import import_on_use as _import_on_use

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
__getattr__ = _import_on_use(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
