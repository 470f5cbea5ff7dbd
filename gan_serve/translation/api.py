"""``gan_serve.translate``: models by name, each loaded once."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal, overload

from gan_serve.hub.resolve import locate_once
from gan_serve.images.pixels import UInt8Array
from gan_serve.keywords import suggest_keywords
from gan_serve.sampling.receipt import GeneratedImage
from gan_serve.sampling.result import Output, check_output
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


@suggest_keywords
def translate(
    model: str | Path,
    images: Any,
    *,
    fit: str = "crop",
    precision: str = "fp32",
    device: str = "auto",
    output: Output = "pil",
) -> list[GeneratedImage] | UInt8Array:
    """Translate images with a model, such as one that enlarges them. The last four models stay loaded.

    Args:
        model: a name of ``list_models()``, a directory, or a repository on the Hub, of a translator.
        images, fit, output: see ``Translator.translate``.
        precision, device: see ``Translator.from_pretrained``.

    Returns:
        For ``pil``, a list of Pillow images with receipts; for ``numpy``, uint8 [N, H, W, C].

    Raises:
        UnknownModel, CheckpointError, HubError, DeviceUnavailable: the model cannot be used, or it is a generator.
        InvalidImage, InvalidOption, TooManyImages: as for ``Translator.translate``.
        TypeError: unknown keyword; the message names the nearest one.

    >>> translate("org/name", "photo.jpg")[0].save("large.png")  # doctest: +SKIP
    """
    check_output(output)
    return _load(*locate_once(model, device, precision), device, precision).translate(images, fit=fit, output=output)


@functools.lru_cache(maxsize=4)
def _load(directory: Path, _changed: int, device: str, precision: str) -> Translator:
    return Translator(directory, device=device, precision=precision)
