"""The functions of the package. A model is loaded on first use and kept for later calls."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal, overload

import numpy.typing as npt

from gan_serve.generator import Generator
from gan_serve.hub.resolve import locate_once
from gan_serve.images.pixels import UInt8Array
from gan_serve.keywords import suggest_keywords
from gan_serve.progress import Progress
from gan_serve.sampling.labels import Labels
from gan_serve.sampling.receipt import GeneratedImage
from gan_serve.sampling.result import Output, check_output
from gan_serve.sampling.seeds_and_latents import Keys


@overload
def generate(
    model: str | Path, n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
    latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., label: Labels | None = ...,
    truncation: float = ..., output: Literal["pil"] = ..., progress: Progress = ..., device: str = ...,
    precision: str = ...,
) -> list[GeneratedImage]: ...  # fmt: skip


@overload
def generate(
    model: str | Path, n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
    latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., label: Labels | None = ...,
    truncation: float = ..., output: Literal["numpy"], progress: Progress = ..., device: str = ...,
    precision: str = ...,
) -> UInt8Array: ...  # fmt: skip


@suggest_keywords
def generate(
    model: str | Path,
    n: int | None = None,
    *,
    seed: int | None = None,
    seeds: Keys | None = None,
    latents: npt.ArrayLike | None = None,
    offsets: npt.ArrayLike | None = None,
    label: Labels | None = None,
    truncation: float = 1.0,
    output: Output = "pil",
    progress: Progress = False,
    device: str = "auto",
    precision: str = "fp32",
) -> list[GeneratedImage] | UInt8Array:
    """Sample images from a model. The image of a seed does not depend on the other images of the call.

    Args:
        model: a name of ``list_models()``, a directory that contains a checkpoint, or a repository on the Hugging Face
            Hub, ``org/name`` or ``org/name@revision``. The last four models stay loaded.
        n: the number of images, 1 to 100,000; 1 if neither n nor seeds nor latents are given.
        seed: the first of n consecutive seeds; random if None.
        seeds: the seeds themselves, instead of n and seed: a list of ints, an int, or text such as ``"0-3,10"``. A seed
            is a whole number from 0 to 2**32-1; its latent is ``RandomState(seed).standard_normal(z_dim)``. A list may
            also have latents, each a list or an array of z_dim numbers.
        latents: float32 [N, z_dim] instead of seeds, finite; or [N, z_dim + w_dim], see ``Generator.generate``.
        offsets: how far to move the latents along each of ``Generator.directions``, from -20 to 20: a list of numbers
            for all images, or such a list for each image.
        label: a class name or index for all images, or a list of one for each image. If None, the class of a seed is
            seed modulo c_dim, and that of latent number i is i modulo c_dim.
        truncation: ψ from 0 to 1. 1 leaves the latents unchanged; smaller values move them towards their mean: less
            variety, more typical images.
        output: ``pil`` or ``numpy``.
        progress: True for a bar, or a function that is called with the images done and all images.
        device: ``cpu``, ``cuda`` (an error if CUDA does not work), or ``auto`` (CUDA if it works, else the CPU).
        precision: ``fp32``, ``int8`` (fast on CPUs) or ``fp16`` (for GPUs) if the checkpoint has a file for it, or
            ``auto``: the fastest of these for the device.

    Returns:
        For ``pil``, a list of Pillow images (mode L or RGB), each with its receipt in ``info["gan_serve"]``; for
        ``numpy``, uint8 [N, H, W, C], C of 1 or 3.

    Raises:
        UnknownModel: no checkpoint in the package, no directory and no repository has this name.
        InvalidSeeds, InvalidLatents, InvalidTruncation: a value is malformed or out of range.
        UnknownLabel: the model does not have the label; the message lists those that it has.
        InvalidOption: unknown output, device or precision, or both latents and seeds.
        CheckpointError, HubError, DeviceUnavailable: the model cannot be loaded, as for ``Generator.from_pretrained``.
        TypeError: unknown keyword; the message names the nearest one.

    >>> [image] = generate("fashion-cgan", seed=7, label="Sneaker", truncation=0.8)
    >>> image.size, image.info["gan_serve"]["seed"]
    ((28, 28), 7)
    >>> generate("fashion-cgan", seeds="0-3,10", label=["Bag", "Coat", 0, 1, 2], output="numpy").shape
    (5, 28, 28, 1)
    """
    check_output(output)
    samples = _load(model, device, precision).sample(
        n,
        seed=seed,
        seeds=seeds,
        latents=latents,
        offsets=offsets,
        label=label,
        truncation=truncation,
        progress=progress,
    )
    return samples.to_output(output)


@overload
def condition(
    model: str | Path, n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
    latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., labels: Labels | None = ...,
    truncation: float = ..., output: Literal["pil"] = ..., progress: Progress = ..., device: str = ...,
    precision: str = ...,
) -> dict[str, list[GeneratedImage]]: ...  # fmt: skip


@overload
def condition(
    model: str | Path, n: int | None = ..., *, seed: int | None = ..., seeds: Keys | None = ...,
    latents: npt.ArrayLike | None = ..., offsets: npt.ArrayLike | None = ..., labels: Labels | None = ...,
    truncation: float = ..., output: Literal["numpy"], progress: Progress = ..., device: str = ...,
    precision: str = ...,
) -> dict[str, UInt8Array]: ...  # fmt: skip


@suggest_keywords
def condition(
    model: str | Path,
    n: int | None = None,
    *,
    seed: int | None = None,
    seeds: Keys | None = None,
    latents: npt.ArrayLike | None = None,
    offsets: npt.ArrayLike | None = None,
    labels: Labels | None = None,
    truncation: float = 1.0,
    output: Output = "pil",
    progress: Progress = False,
    device: str = "auto",
    precision: str = "fp32",
) -> dict[str, list[GeneratedImage]] | dict[str, UInt8Array]:
    """Sample the same latents under each label of a conditional model.

    Args:
        model, device, precision: as for ``generate``.
        n, seed, seeds, latents, offsets, truncation: choose the latents as for ``generate``.
        labels: class names or indices, each once; all classes if None.
        output: ``pil`` or ``numpy``.
        progress: True for a bar, or a function that is called with the images done and all images.

    Returns:
        The images of each label by class name, in the order of the labels: for ``pil``, lists of N Pillow images, each
        with its receipt in ``info["gan_serve"]``; for ``numpy``, uint8 [N, H, W, C].

    Raises:
        UnknownLabel: the model does not have a label, has no labels at all, or a label is given twice.
        TooManyImages: more than 100,000 images in all.
        Other errors: as for ``generate``.

    >>> sheet = condition("fashion-cgan", seeds="0-7", labels=["Bag", "Coat"])
    >>> [(name, len(images)) for name, images in sheet.items()]
    [('Bag', 8), ('Coat', 8)]
    """
    check_output(output)
    samples = _load(model, device, precision).sample_condition(
        n,
        seed=seed,
        seeds=seeds,
        latents=latents,
        offsets=offsets,
        labels=labels,
        truncation=truncation,
        progress=progress,
    )
    return samples.to_output_by_label(output)


@overload
def interpolate(
    model: str | Path, seeds: Keys, *, steps: int = ..., method: str = ..., loop: bool = ...,
    label: Labels | None = ..., truncation: float = ..., start: int = ..., stop: int | None = ...,
    output: Literal["pil"] = ..., progress: Progress = ..., device: str = ..., precision: str = ...,
) -> list[GeneratedImage]: ...  # fmt: skip


@overload
def interpolate(
    model: str | Path, seeds: Keys, *, steps: int = ..., method: str = ..., loop: bool = ...,
    label: Labels | None = ..., truncation: float = ..., start: int = ..., stop: int | None = ...,
    output: Literal["numpy"], progress: Progress = ..., device: str = ..., precision: str = ...,
) -> UInt8Array: ...  # fmt: skip


@suggest_keywords
def interpolate(
    model: str | Path,
    seeds: Keys,
    *,
    steps: int = 16,
    method: str = "slerp",
    loop: bool = False,
    label: Labels | None = None,
    truncation: float = 1.0,
    start: int = 0,
    stop: int | None = None,
    output: Output = "pil",
    progress: Progress = False,
    device: str = "auto",
    precision: str = "fp32",
) -> list[GeneratedImage] | UInt8Array:
    """Sample the frames of a walk through latents: those of seeds, or given ones.

    Args:
        model, device, precision: as for ``generate``.
        seeds: k keys, 2 or more: a list of seeds and latents, or text such as ``"0,5,9"``. Their images are frames of
            the walk, bit-equal to those of ``generate``.
        steps: frames from one key seed to the next, 1 or more.
        method: ``slerp`` (spherical, keeps the norm of the latents) or ``lerp`` (linear).
        loop: return to the first key seed.
        label: a class name or index for all frames, or a list of one for each key: a frame has that of the nearer
            key. If None, the class of the first seed, as in ``generate``; of a latent, the first class.
        truncation: ψ from 0 to 1, as for ``generate``.
        start, stop: return only the frames start to stop-1, which equal those of the whole walk; if stop is None, up
            to its end.
        output: ``pil`` or ``numpy``.
        progress: True for a bar, or a function that is called with the images done and all images.

    Returns:
        (k-1)·steps + 1 frames, or k·steps if looped: for ``pil``, a list of Pillow images, each with its receipt in
        ``info["gan_serve"]``; for ``numpy``, uint8 [N, H, W, C].

    Raises:
        InvalidOption: steps, method, loop, start, stop or output is out of range, or there are fewer than two seeds or
            more than 100,000 frames in one call.
        Other errors: as for ``generate``.

    >>> len(interpolate("fashion-dcgan", [0, 5], steps=8))
    9
    """
    check_output(output)
    samples = _load(model, device, precision).sample_walk(
        seeds,
        steps=steps,
        method=method,
        loop=loop,
        label=label,
        truncation=truncation,
        start=start,
        stop=stop,
        progress=progress,
    )
    return samples.to_output(output)


def _load(model: str | Path, device: str, precision: str) -> Generator:
    return _load_directory(*locate_once(model, device, precision), device, precision)


@functools.lru_cache(maxsize=4)
def _load_directory(directory: Path, _changed: int, device: str, precision: str) -> Generator:
    return Generator(directory, device=device, precision=precision)
