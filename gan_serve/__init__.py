"""Small image generators, pretrained: ``generate("fashion-dcgan", n=4, seed=7)`` gives pictures; no GPU, no torch."""

from gan_serve._version import __version__
from gan_serve.api import generate, interpolate
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
from gan_serve.hub import list_models
from gan_serve.samples import Samples

__all__ = [
    "CheckpointError",
    "DeviceUnavailable",
    "DigestMismatch",
    "GanServeError",
    "Generator",
    "GoldenSampleMismatch",
    "InvalidCheckpoint",
    "InvalidRequest",
    "ReceiptError",
    "Samples",
    "UnknownLabel",
    "UnknownModel",
    "__version__",
    "generate",
    "interpolate",
    "list_models",
]
