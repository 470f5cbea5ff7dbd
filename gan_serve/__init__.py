"""Small image generators, pretrained: ``generate("fashion-dcgan", n=4, seed=7)`` returns images; no GPU, no torch."""

from typing import TYPE_CHECKING

from gan_serve._version import __version__
from gan_serve.api import condition, generate, interpolate
from gan_serve.checkpoint.bundled import list_models
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
from gan_serve.generator import Generator
from gan_serve.sampling.result import Samples
from gan_serve.translation.api import translate
from gan_serve.translation.translator import Translator

if TYPE_CHECKING:
    from gan_serve.client.async_client import AsyncClient
    from gan_serve.client.sync_client import Client

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


def __getattr__(name: str) -> object:
    # Imported on first use: a client imports asyncio, which takes time and which sampling does not need.
    if name == "AsyncClient":
        from gan_serve.client.async_client import AsyncClient

        return AsyncClient
    if name == "Client":
        from gan_serve.client.sync_client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
