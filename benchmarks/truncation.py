"""Measure the effect of truncation-dependent BatchNorm statistics, and their cost at truncation 1.

    python benchmarks/truncation.py fashion-cgan fashion-mnist cnn-fashion      prints the two tables of a checkpoint

Quality: truncated latents with the stored statistics, with all statistics estimated again for the truncation, and with
all except those of the first layer. Cost: a network in which each BatchNorm except the first is followed by a scale and
a shift that depend on ``psi`` (interpolated between eight values, exactly 1 and 0 at ``psi`` 1), compared with the
plain network in fp32 and int8, interleaved.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from timing import describe_cpu, median_ratio, taking_turns
from torch import Tensor, nn

from gan_serve.checkpoint.config import WEIGHTS_FILE
from gan_serve.checkpoint.files import read_config
from gan_serve.exports.graph import copy_of
from gan_serve.exports.quantize import _quantise, ranges
from gan_serve.exports.rewrite import optimize
from gan_serve.exports.to_onnx import serialize, torch_export
from gan_serve.hub.resolve import BUNDLED
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.session import open_session, run_in_batches
from gan_serve.training.data.load import load_images
from gan_serve.training.evaluation.extractor_registry import find_extractor
from gan_serve.training.evaluation.features import Features, extract
from gan_serve.training.evaluation.metrics import feature_statistics, frechet_distance, manifold_metrics
from gan_serve.training.evaluation.pixel_metrics import mean_gradient, random_sample
from gan_serve.training.networks import build_generator
from gan_serve.training.sample_images import sample_images

IMAGES = 2000
TRUNCATIONS = (0.85, 0.7, 0.5)
ESTIMATED_ON = range(2**31, 2**31 + 4096)  # seeds
KNOTS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)  # values of psi with their own statistics, in addition to 1
ROUNDS = 40


def norms_of(generator: nn.Module) -> list[tuple[str, Any]]:
    """Return the BatchNorm layers in the order of the network."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    return [(name, layer) for name, layer in generator.named_modules() if isinstance(layer, kinds)]


@torch.no_grad()
def estimate(generator: nn.Module, truncation: float, first: int) -> None:
    """Estimate the statistics of the BatchNorm layers from number ``first`` on for truncated latents."""
    for _, layer in norms_of(generator)[first:]:
        layer.train()
        layer.momentum = None  # the mean over all batches
        layer.reset_running_stats()
    z = truncation * torch.from_numpy(latents_from_seeds(ESTIMATED_ON, generator.z_dim))
    c = torch.arange(len(z)) % max(generator.c_dim, 1)
    for start in range(0, len(z), 512):
        generator(z[start : start + 512], c[start : start + 512])
    generator.eval()


def quality(directory: Path, data: str, features: str) -> list[str]:
    """Return the rows of the first table."""
    real = load_images(data, split="test")
    chosen = random_sample(len(real), IMAGES)
    extractor = find_extractor(features)
    expected, sharpness = extract(extractor, real.images[chosen]), mean_gradient(real.images[chosen])
    z = torch.from_numpy(latents_from_seeds(range(len(chosen)), generator_of(directory).z_dim))
    c = None if real.labels is None else torch.from_numpy(real.labels[chosen])

    def row(truncation: float, kind: str, generator: nn.Module) -> str:
        images = sample_images(generator, truncation * z, c if generator.c_dim else None)
        found = extract(extractor, images)
        manifolds = manifold_metrics(expected.features, found.features)
        cells = [f"{truncation:g}", kind, f"{distance(expected, found):.3f}"]
        cells += [f"{manifolds.precision:.3f}", f"{manifolds.recall:.3f}", f"{mean_gradient(images) / sharpness:.3f}"]
        return f"| {' | '.join(cells)} |"

    rows = [row(1.0, "stored", generator_of(directory))]
    for truncation in TRUNCATIONS:
        for kind, first in (("stored", None), ("all anew", 0), ("all but the first anew", 1)):
            generator = generator_of(directory)
            if first is not None:
                estimate(generator, truncation, first)
            rows.append(row(truncation, kind, generator))
    return rows


def distance(expected: Features, found: Features) -> float:
    return frechet_distance(feature_statistics(expected.features), feature_statistics(found.features))


class Weights:
    """The weight of each knot for the images of a batch, shared by the layers: float32 [N, len(KNOTS)]."""

    values: Tensor


class Following(nn.Module):
    """A BatchNorm and, behind it, a scale and a shift for each image."""

    def __init__(self, norm: Any, weights: Weights) -> None:
        super().__init__()
        self.norm, self.weights = norm, weights
        for name in ("scale", "shift"):
            self.register_buffer(name, 0.1 * torch.randn(len(KNOTS), norm.num_features))

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, x.shape[1], *[1] * (x.ndim - 2))
        weights = self.weights.values
        return self.norm(x) * (1 + weights @ self.scale).view(shape) + (weights @ self.shift).view(shape)


class FollowingGenerator(nn.Module):
    """A generator whose statistics follow the last number of each latent, psi."""

    truncation_space = "z"

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.weights = Weights()
        self.z_dim, self.c_dim = int(generator.z_dim) + 1, generator.c_dim
        for name, norm in norms_of(generator)[1:]:
            parent, _, own = name.rpartition(".")
            setattr(generator.get_submodule(parent), own, Following(norm, self.weights))

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        z, psi = z[:, :-1], z[:, -1:]
        self.weights.values = torch.relu(1 - (psi - torch.tensor(KNOTS)).abs() / 0.1)  # all 0 at psi 1
        return self.generator(z * psi, c)


def cost(directory: Path) -> list[str]:
    """Return the rows of the second table."""
    plain, following = generator_of(directory), FollowingGenerator(generator_of(directory)).eval()
    latents = latents_from_seeds(range(64), plain.z_dim)
    labels = {"c": np.arange(64) % plain.c_dim} if plain.c_dim else {}
    inputs = [{"z": latents} | labels, {"z": np.pad(latents, ((0, 0), (0, 1)), constant_values=1)} | labels]
    rows = []
    for precision in ("fp32", "int8"):
        sessions = []
        for generator, fed in zip((plain, following), inputs, strict=True):
            model = copy_of(torch_export(generator))
            optimize(model, precision)
            int8 = precision == "int8"
            content = _quantise(model, fed, ranges(model, fed, 1.4), (), 7) if int8 else serialize(model)
            sessions.append(open_session(content, "cpu")[0])
        images = [run_in_batches(session, fed) for session, fed in zip(sessions, inputs, strict=True)]
        difference = int(np.abs(images[0].astype(np.int16) - images[1]).max())
        for batch in (1, 16):
            calls = [partial(run_in_batches, s, f, batch=batch) for s, f in zip(sessions, inputs, strict=True)]
            times = taking_turns(*calls, rounds=ROUNDS)
            rows.append(f"| {precision} | {batch} | {median_ratio(*times):.3f} | {difference} |")
    return rows


def generator_of(directory: Path) -> Any:
    """Return the generator of a checkpoint in eval mode."""
    architecture = read_config(directory).architecture
    generator = build_generator(architecture.family, **architecture.arguments)
    generator.load_state_dict(load_file(directory / WEIGHTS_FILE))
    return generator.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a name of the package, or a directory, with its weights")
    parser.add_argument("data", help="real images, as gan-serve train takes them")
    parser.add_argument("features", help="an extractor")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    directory = BUNDLED / options.checkpoint if (BUNDLED / options.checkpoint).is_dir() else Path(options.checkpoint)
    print(f"## {options.checkpoint}, on {describe_cpu()}\n")
    print("| precision | batch | time at psi 1 beside the plain network | largest difference, grey levels |")
    print("\n".join(["|---|---|---|---|", *cost(directory)]), "\n", flush=True)
    print("| truncation | statistics | FD | precision | recall | sharpness of real |\n|---|---|---|---|---|---|")
    print("\n".join(quality(directory, options.data, options.features)))


if __name__ == "__main__":
    main()
