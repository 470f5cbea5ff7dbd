"""Choose the device and the precision that a model runs in."""

from __future__ import annotations

import ctypes

from gan_serve.checkpoint.config import AnyConfig, Precision, precisions
from gan_serve.errors import InvalidOption

DEVICES = ("auto", "cpu", "cuda")
AUTO = "auto"  # the fastest precision that a checkpoint has for the device
FASTEST: dict[str, tuple[Precision, ...]] = {"cpu": ("int8", "fp32"), "cuda": ("fp16", "fp32")}


def choose_precision(config: AnyConfig, precision: str, device: str) -> Precision:
    """Return the precision to use: ``precision`` itself, or for ``auto`` the fastest one that the checkpoint has.

    Raises:
        InvalidOption: the checkpoint does not have it; the message lists those that it has.
    """
    check_device(device)
    available = precisions(config)
    wanted = FASTEST["cuda" if wants_cuda(device) else "cpu"] if precision == AUTO else [precision]
    for choice in wanted:
        if choice in available:
            return choice
    raise InvalidOption.unknown("precision", precision, [*available, AUTO])


def check_device(device: str) -> None:
    """Raise ``InvalidOption`` unless ``device`` is one of ``DEVICES``."""
    if device not in DEVICES:
        raise InvalidOption.unknown("device", device, DEVICES)


def wants_cuda(device: str) -> bool:
    """Return True if CUDA should be tried: for ``cuda``, and for ``auto`` if there is a driver."""
    return device == "cuda" or (device == "auto" and _has_cuda_driver())


def _has_cuda_driver() -> bool:
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False
