"""The functions of the package: a model by its name, directory or repository on the Hub, loaded once and kept."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal, TypedDict, Unpack, overload

from gan_serve.checkpoint.config import CONFIG_FILE, PRECISION_FILES
from gan_serve.errors import InvalidOption
from gan_serve.generator import Generator, Output, by_label, check_output, in_form
from gan_serve.hub.resolve import find_local, network, resolve
from gan_serve.images.encoding import UInt8Array
from gan_serve.images.receipt import GeneratedImage
from gan_serve.sampling.latents import Seeds
from gan_serve.sampling.request import ConditionOptions, SampleOptions, WalkOptions
from gan_serve.sampling.session import AUTO, check_device


class _LoadOptions(TypedDict, total=False):
    device: str
    precision: str


class GenerateOptions(SampleOptions, _LoadOptions, total=False):
    """What ``generate`` takes beside the model and ``n``."""


class _ConditionOptions(ConditionOptions, _LoadOptions, total=False):
    pass


class InterpolateOptions(WalkOptions, _LoadOptions, total=False):
    """What ``interpolate`` takes beside the model and ``seeds``."""


@overload
def generate(
    model: str | Path, n: int | None = None, *, output: Literal["pil"] = "pil", **options: Unpack[GenerateOptions]
) -> list[GeneratedImage]: ...


@overload
def generate(
    model: str | Path, n: int | None = None, *, output: Literal["numpy"], **options: Unpack[GenerateOptions]
) -> UInt8Array: ...


def generate(
    model: str | Path,
    n: int | None = None,
    *,
    output: Output = "pil",
    device: str = "auto",
    precision: str = "fp32",
    **options: Unpack[SampleOptions],
) -> list[GeneratedImage] | UInt8Array:
    """Draw images with a model by its name, directory or repository; it stays loaded for the next call.

    Args:
        model, device, precision: as for ``Generator.from_pretrained``.
        n, output, options: as for ``Generator.generate``.

    >>> generate("fashion-dcgan", n=2, seed=7)[0].size
    (28, 28)
    """
    check_output(output)
    return in_form(output, _loaded(model, device, precision).sample(n, **options))


@overload
def interpolate(
    model: str | Path, seeds: Seeds, *, output: Literal["pil"] = "pil", **options: Unpack[InterpolateOptions]
) -> list[GeneratedImage]: ...


@overload
def interpolate(
    model: str | Path, seeds: Seeds, *, output: Literal["numpy"], **options: Unpack[InterpolateOptions]
) -> UInt8Array: ...


def interpolate(
    model: str | Path,
    seeds: Seeds,
    *,
    output: Output = "pil",
    device: str = "auto",
    precision: str = "fp32",
    **options: Unpack[WalkOptions],
) -> list[GeneratedImage] | UInt8Array:
    """Draw the frames of a walk through key seeds with a model by its name, directory or repository.

    Args:
        model, device, precision: as for ``Generator.from_pretrained``.
        seeds, output, options: as for ``Generator.interpolate``.

    >>> len(interpolate("fashion-dcgan", [0, 5], steps=8))
    9
    """
    check_output(output)
    return in_form(output, _loaded(model, device, precision).sample_walk(seeds, **options))


@overload
def condition(
    model: str | Path, n: int | None = None, *, output: Literal["pil"] = "pil", **options: Unpack[_ConditionOptions]
) -> dict[str, list[GeneratedImage]]: ...


@overload
def condition(
    model: str | Path, n: int | None = None, *, output: Literal["numpy"], **options: Unpack[_ConditionOptions]
) -> dict[str, UInt8Array]: ...


def condition(
    model: str | Path,
    n: int | None = None,
    *,
    output: Output = "pil",
    device: str = "auto",
    precision: str = "fp32",
    **options: Unpack[ConditionOptions],
) -> dict[str, list[GeneratedImage]] | dict[str, UInt8Array]:
    """Draw the same latents under each label with a model by its name, directory or repository.

    Args:
        model, device, precision: as for ``Generator.from_pretrained``.
        n, output, options: as for ``Generator.condition``.
    """
    check_output(output)
    return by_label(output, _loaded(model, device, precision).sample_condition(n, **options))


def _loaded(model: str | Path, device: str, precision: str) -> Generator:
    check_device(device)
    if not isinstance(precision, str):
        raise InvalidOption.unknown("precision", precision, [*PRECISION_FILES, AUTO])
    local = find_local(model)
    directory = local or _fetched(model, device, precision)
    if local is None and not (directory / CONFIG_FILE).exists():  # somebody emptied the cache
        _fetched.cache_clear()
        directory = _fetched(model, device, precision)
    config = directory / CONFIG_FILE
    changed = config.stat().st_mtime_ns if config.exists() else 0
    return _load(directory.resolve(), device, precision, changed)


@functools.lru_cache(maxsize=64)
def _fetched(model: str | Path, device: str, precision: str) -> Path:
    """A repository's directory; the Hub is asked once in a process where a branch stands."""
    return resolve(model, files=network(precision, device))


@functools.lru_cache(maxsize=4)
def _load(directory: Path, device: str, precision: str, _changed: int) -> Generator:
    return Generator(directory, device=device, precision=precision)
