"""``gan_serve.translate``: models by name, each loaded once."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal, overload

from gan_serve.checkpoint.config import CONFIG_FILE
from gan_serve.hub.file_sets import network_files
from gan_serve.hub.resolve import find_local, resolve
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.device import check_device
from gan_serve.sampling.receipt import GeneratedImage
from gan_serve.sampling.result import Output
from gan_serve.translation.translator import Translator


@overload
def translate(
    model: str | Path,
    images: Any,
    *,
    fit: str = "crop",
    precision: str = "fp32",
    device: str = "auto",
    output: Literal["pil"] = "pil",
) -> list[GeneratedImage]: ...


@overload
def translate(
    model: str | Path,
    images: Any,
    *,
    fit: str = "crop",
    precision: str = "fp32",
    device: str = "auto",
    output: Literal["numpy"],
) -> UInt8Array: ...


def translate(
    model: str | Path,
    images: Any,
    *,
    fit: str = "crop",
    precision: str = "fp32",
    device: str = "auto",
    output: Output = "pil",
) -> list[GeneratedImage] | UInt8Array:
    """Translate images with a model, such as one that enlarges them. The model is loaded once and kept.

    Args:
        model: a name of ``list_models()``, a directory, or a repository on the Hub, of a translator.
        images, fit, output: see ``Translator.translate``.
        precision, device: see ``Translator.from_pretrained``.

    Returns:
        For ``pil``, a list of Pillow images with receipts; for ``numpy``, uint8 [N, H, W, C].

    Raises:
        UnknownModel, CheckpointError, HubError, DeviceUnavailable: the model cannot be used, or it is a generator.
        InvalidImage, InvalidOption, TooManyImages: the images or the options do not fit.
    """
    check_device(device)
    local = find_local(model)
    directory = local.resolve() if local else _fetch(model, device, precision)
    config = directory / CONFIG_FILE
    changed = config.stat().st_mtime_ns if config.exists() else 0
    return _load(directory, device, precision, changed).translate(images, fit=fit, output=output)


@functools.lru_cache(maxsize=64)
def _fetch(model: str | Path, device: str, precision: str) -> Path:
    """Return the directory of a repository. A process asks the Hub once which commit a branch is at."""
    return resolve(model, files=network_files(precision, device))


@functools.lru_cache(maxsize=4)
def _load(directory: Path, device: str, precision: str, _changed: int) -> Translator:
    return Translator(directory, device=device, precision=precision)
