"""Find directions in the latent space that change the images, and the smallest useful truncation.

The method is GANSpace (Härkönen et al. 2020, arXiv:2004.02546): principal components of w, or of the activations of the
first layer for a generator without a w space. A direction in z is the regression of the latents on a component.

Add the file to a checkpoint that was exported without it: ``python -m gan_serve.exports.latent_space DIR``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gan_serve.atomic_files import write_atomically
from gan_serve.checkpoint.config import CONFIG_FILE, LATENT_SPACE_FILE, CheckpointConfig
from gan_serve.checkpoint.files import config_json, digest_files, read_config, read_verified
from gan_serve.checkpoint.latent_space import Direction, LatentSpace
from gan_serve.generator import Generator
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.latents import FloatArray, latents_from_seeds
from gan_serve.sampling.session import Int64Array, Session
from gan_serve.training.evaluation.pixel_metrics import mean_gradient
from gan_serve.training.load_checkpoint import load_generator

SAMPLES = 4096  # latents for the principal components
COMPONENTS = 20  # of which the directions are chosen
DIRECTIONS = 6
SEEDS = 64  # images that measure a direction, or a truncation
STEP = 2.0  # standard deviations, in both senses
SHARPNESS = 0.15  # share by which truncated images may be sharper or softer than the others
TRUNCATIONS = np.round(np.arange(0, 1.0, 0.05), 2)

Images = Callable[[FloatArray, "Int64Array | None", float], UInt8Array]


def measure_latent_space(generator: nn.Module, images: Images) -> LatentSpace:
    """Return the directions that change the images most, and the truncation floor.

    Args:
        generator: see ``training/networks``; its activations give the components.
        images: samples as ``Session.run`` does, with the exported network.
    """
    z_dim, c_dim = int(generator.z_dim), int(generator.c_dim)  # type: ignore[arg-type]
    latents = latents_from_seeds(range(SEEDS), z_dim)
    classes = np.arange(SEEDS) % c_dim if c_dim else None
    measured = []
    for vector in _directions(generator, z_dim, c_dim):
        up, down = (images(latents + sign * STEP * vector, classes, 1.0).astype(np.float32) for sign in (1, -1))
        measured.append(Direction(vector=[round(float(x), 6) for x in vector], change=_rms(up - down)))
    measured.sort(key=lambda each: each.change, reverse=True)
    space = "w" if generator.truncation_space == "w" else "the first layer"
    return LatentSpace(
        method=f"GANSpace (arXiv:2004.02546), principal components of {space}, {SAMPLES} latents",
        truncation_floor=truncation_floor(lambda truncation: images(latents, classes, truncation)),
        directions=measured[:DIRECTIONS],
    )


def truncation_floor(images: Callable[[float], UInt8Array]) -> float:
    """Return the smallest truncation down to which images stay as sharp, for their contrast, as without truncation.

    Close to the mean latent some generators give noise or an empty image: it shows in the mean gradient divided by the
    standard deviation of the pixels, which then differs by more than ``SHARPNESS``.
    """
    whole = _relative_gradient(images(1.0))
    floor = 1.0
    for truncation in TRUNCATIONS[::-1]:
        if abs(_relative_gradient(images(float(truncation))) / whole - 1) > SHARPNESS:
            break
        floor = float(truncation)
    return floor


def _relative_gradient(images: UInt8Array) -> float:
    return mean_gradient(images) / max(1.0, float(images.std(axis=(1, 2)).mean()))


def _rms(difference: FloatArray) -> float:
    return round(float(np.sqrt((difference**2).mean())), 2)


@torch.no_grad()
def _directions(generator: nn.Module, z_dim: int, c_dim: int) -> FloatArray:
    """Return the directions in z of the principal components, float32 [K, z_dim], each of norm 1.

    Components that no latent moves are left out; K is 0 if the activations do not depend on the latents.
    """
    z = latents_from_seeds(range(SAMPLES), z_dim)
    classes = np.arange(SAMPLES) % c_dim if c_dim else None
    activations = _first_activations(generator, torch.from_numpy(z), classes)
    for number in range(max(1, c_dim)):  # within a class: the label moves the activations too
        rows = slice(None) if classes is None else classes == number
        activations[rows] -= activations[rows].mean(0)
    count = min(COMPONENTS, z_dim)
    if activations.shape[1] <= SAMPLES:
        _, components = torch.linalg.eigh(activations.T @ activations)
        coordinates = (activations @ components[:, -count:]).numpy()
    else:  # the Gram matrix of the samples has the same components, and is smaller
        values, left = torch.linalg.eigh(activations @ activations.T)
        coordinates = (left[:, -count:] * values[-count:].clamp_min(0).sqrt()).numpy()
    vectors: npt.NDArray[np.float64] = np.linalg.lstsq(coordinates, z - z.mean(0), rcond=None)[0]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    moved = lengths[:, 0] > np.finfo(np.float32).eps
    units: FloatArray = (vectors[moved] / lengths[moved]).astype(np.float32)
    return units


def _first_activations(generator: nn.Module, z: Tensor, classes: Int64Array | None) -> Tensor:
    """Return w, or the activations of the first layer with weights that the latents pass: float64 [N, features]."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        found.append(output)

    mapping = getattr(generator, "mapping", None)
    layers = [mapping] if isinstance(mapping, nn.Module) else _layers(generator)
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    activations = []
    try:
        for start in range(0, len(z), 64):
            found.clear()
            c = None if classes is None else torch.from_numpy(classes[start : start + 64])
            generator(z[start : start + 64], c)
            activations.append(found[0].flatten(1).double())
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(activations)


def _layers(generator: nn.Module) -> list[nn.Module]:
    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    return [module for module in generator.modules() if isinstance(module, kinds)]


def add_latent_space(directory: Path) -> LatentSpace:
    """Measure the latent space of an exported checkpoint, and write it and the new ``config.json``.

    The networks, their digests and the golden sample stay as they are.
    """
    config = read_config(directory)
    generator = load_generator(directory).generator
    session = Session(read_verified(directory, config, "generator.onnx"), config, device="cpu")
    space = measure_latent_space(generator, session.run)
    write_latent_space(directory, space)
    digests = {LATENT_SPACE_FILE: digest_files(directory)[LATENT_SPACE_FILE]}
    files = dict(sorted((config.files | digests).items()))
    updated = CheckpointConfig.model_validate(config.model_copy(update={"files": files}).model_dump())
    write_atomically(directory / CONFIG_FILE, config_json(updated))
    Generator.from_pretrained(directory)
    return space


def write_latent_space(directory: Path, space: LatentSpace) -> None:
    """Write ``latent_space.json``."""
    (directory / LATENT_SPACE_FILE).write_text(space.model_dump_json() + "\n")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        found = add_latent_space(Path(argument))
        changes = ", ".join(f"{each.change:g}" for each in found.directions)
        print(f"{argument}: floor {found.truncation_floor:g}, changes {changes} grey levels")
