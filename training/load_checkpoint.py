"""Load the generator of a checkpoint as a torch module, from its weights file or, without one, from its ONNX file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from gan_serve.checkpoint.config import PRECISION_FILES, WEIGHTS_FILE, AnyConfig, CheckpointConfig
from gan_serve.checkpoint.files import read_config, read_verified
from gan_serve.errors import InvalidCheckpoint, shorten
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.networks import build_generator, find_family, to_pixels
from gan_serve.training.networks.fitting import build_fitting, planned_shapes
from gan_serve.training.networks.options import arguments_of
from gan_serve.training.snapshots import all_finite
from gan_serve.training.torch_files import NoTensors, load_safetensors


class LoadedGenerator(NamedTuple):
    """The generator of a checkpoint, on the CPU and in eval mode.

    config: that of the checkpoint. digest: ``sha256:...`` of the file that the weights were read from.
    """

    generator: nn.Module
    config: CheckpointConfig
    digest: str


def weight_files(config: AnyConfig) -> list[str]:
    """Return the files that ``load_generator`` needs beside ``config.json``, for ``resolve``."""
    return [WEIGHTS_FILE if WEIGHTS_FILE in config.files else PRECISION_FILES["fp32"]]


def load_generator(directory: Path) -> LoadedGenerator:
    """Return the generator of a checkpoint as a module that can be trained.

    Without ``generator.safetensors``, as in the wheel, the weights are read from ``generator.onnx``. The images are the
    same, within one grey level, which the golden sample checks. The statistics of BatchNorm are then those of 10,000
    latents, which takes seconds.

    Args:
        directory: a checkpoint; ``gan_serve.hub.resolve.resolve`` finds it by name.

    Raises:
        InvalidCheckpoint: a file is missing or damaged, this gan-serve does not know the network, or its weights cannot
            be read from its ONNX file. DigestMismatch, FormatTooNew: see ``read_verified`` and ``read_config``.

    >>> from gan_serve.hub.resolve import resolve
    >>> loaded = load_generator(resolve("mnist-mlp"))
    >>> loaded.generator(torch.zeros(1, loaded.config.z_dim)).shape
    torch.Size([1, 1, 28, 28])
    """
    config = read_config(directory)
    _check_arguments(config)
    # A broken link counts as present, so that it is reported as damaged.
    name = WEIGHTS_FILE if os.path.lexists(directory / WEIGHTS_FILE) else PRECISION_FILES["fp32"]
    content = read_verified(directory, config, name)
    # The random weights of a new network are not used: a run gets the same numbers without it.
    with torch.random.fork_rng(devices=[]):
        if name == WEIGHTS_FILE:
            generator = _from_safetensors(config, content, directory / name)
        else:
            generator = _from_onnx(config, content)
    if not all_finite(generator.state_dict()):
        raise InvalidCheckpoint(f"The weights of {config.name} are not all finite.", "Use another checkpoint.")
    return LoadedGenerator(generator, config, f"sha256:{config.files[name].sha256}")


def _check_arguments(config: CheckpointConfig) -> None:
    """Raise ``InvalidCheckpoint`` for arguments of the network that are unknown, or differ from the config's fields."""
    architecture = config.architecture
    known = arguments_of(find_family(architecture.family).generator)
    if unknown := architecture.arguments.keys() - known.keys():
        raise InvalidCheckpoint(
            f"The network of {config.name} has {', '.join(map(shorten, sorted(unknown)))}, which this gan-serve does "
            "not know.",
            f"Install gan-serve {config.gan_serve_version}, which wrote it.",
        )
    for name in ("z_dim", "c_dim", "img_resolution", "img_channels"):
        if architecture.arguments.get(name, getattr(config, name)) != getattr(config, name):
            raise InvalidCheckpoint(
                f"The network of {config.name} has another {name} than its config.", "Export the checkpoint again."
            )


def _from_safetensors(config: CheckpointConfig, content: bytes, path: Path) -> nn.Module:
    try:
        weights = load_safetensors(content)
        generator = build_fitting(config.architecture.family, config.architecture.arguments, weights)
        generator.load_state_dict(weights)
    except NoTensors as error:
        raise InvalidCheckpoint(f"{path} does not contain weights: {error}.", "Export it again.") from error
    except (ValueError, RuntimeError) as error:
        raise InvalidCheckpoint(
            f"{path} does not have the weights of the network that its config describes.",
            "Export the checkpoint again.",
        ) from error
    return generator.eval()


def _from_onnx(config: CheckpointConfig, content: bytes) -> nn.Module:
    # Imported here, because runs that start from random weights do not need onnx.
    from gan_serve.training.weights_from_onnx import load_weights_from_onnx

    family, arguments = config.architecture.family, config.architecture.arguments
    try:
        shapes = planned_shapes(family, arguments) or {}
        if 4 * sum(map(math.prod, shapes.values())) > 2 * len(content) + 2**20:
            raise ValueError("it has more weights than the file")
        generator = build_generator(family, **arguments).eval()
    except ValueError as error:
        raise InvalidCheckpoint(
            f"The network of {config.name} does not fit its ONNX file: {error}.", "Export the checkpoint again."
        ) from error
    load_weights_from_onnx(content, generator)
    _check_golden_sample(generator, config)
    return generator


@torch.no_grad()
def _check_golden_sample(generator: nn.Module, config: CheckpointConfig) -> None:
    golden = config.golden_sample
    z = torch.from_numpy(latents_from_seeds([golden.seed], config.z_dim))
    pixels = to_pixels(generator(z, None if golden.label is None else torch.tensor([golden.label])))[0].numpy()
    difference = int(np.abs(pixels.astype(int) - golden.pixels()).max())
    if difference > 1:
        raise InvalidCheckpoint(
            f"The weights of {config.name} cannot be read from {PRECISION_FILES['fp32']}: the images would differ by "
            f"{difference} grey levels.",
            f"Use the directory of a checkpoint that has {WEIGHTS_FILE}.",
        )
