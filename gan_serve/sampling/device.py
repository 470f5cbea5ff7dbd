"""Choose the device and the precision that a model runs in."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from gan_serve.checkpoint.config import CheckpointConfig, Precision, precisions
from gan_serve.errors import InvalidOption

if TYPE_CHECKING:
    pass

DEVICES = ("auto", "cpu", "cuda")
AUTO = "auto"  # the fastest precision that a checkpoint has for the device
FASTEST: dict[str, tuple[Precision, ...]] = {"cpu": ("int8", "fp32"), "cuda": ("fp16", "fp32")}


def choose_precision(config: CheckpointConfig, precision: str, device: str) -> Precision:
    """The precision that is meant: one that the checkpoint has a file for, or ``auto``, the fastest for the device.

    Raises:
        InvalidOption: the checkpoint does not have it; those that it has are listed.
    """
    check_device(device)
    there = precisions(config)
    wanted = FASTEST["cuda" if wants_cuda(device) else "cpu"] if precision == AUTO else [precision]
    for choice in wanted:
        if choice in there:
            return choice
    raise InvalidOption.unknown("precision", precision, [*there, AUTO])


def check_device(device: str) -> None:
    """Raise ``InvalidOption`` where ``device`` is none of ``DEVICES``."""
    if device not in DEVICES:
        raise InvalidOption.unknown("device", device, DEVICES)


def wants_cuda(device: str) -> bool:
    """Whether CUDA is to be tried: it is asked for, or there is a driver."""
    return device == "cuda" or (device == "auto" and _has_cuda_driver())


def _has_cuda_driver() -> bool:
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False
