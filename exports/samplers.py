"""Sample images for an evaluation: from a checkpoint with its ONNX file, from a run with its averaged network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from gan_serve.checkpoint.config import TrainingData
from gan_serve.errors import RunError
from gan_serve.generator import Generator
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.session import network_inputs
from gan_serve.training.data.image_set import Int64Array
from gan_serve.training.load_run import load_trained
from gan_serve.training.sample_images import sample_images


class CheckpointSampler:
    """Samples with the ONNX file of a checkpoint."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.class_names = tuple(generator.class_names)
        self.img_resolution, self.img_channels = generator.img_resolution, generator.img_channels
        self.training_data = generator.config.training_data

    def sample(self, seeds: Sequence[int], labels: Int64Array | None, truncation: float) -> UInt8Array:
        """Return the images of seeds, see ``gan_serve.training.evaluation.evaluate.Sampler``."""
        label = None if labels is None else [int(label) for label in labels]
        return self.generator.generate(seeds=list(seeds), label=label, truncation=truncation, output="numpy")


class NetworkSampler:
    """Samples with a network of torch."""

    def __init__(
        self,
        generator: nn.Module,
        img_resolution: int,
        img_channels: int,
        class_names: Sequence[str] = (),
        training_data: TrainingData | None = None,
    ) -> None:
        self.generator = generator
        self.class_names = tuple(class_names)
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.training_data = training_data

    def sample(self, seeds: Sequence[int], labels: Int64Array | None, truncation: float) -> UInt8Array:
        """Return the images of seeds, see ``gan_serve.training.evaluation.evaluate.Sampler``."""
        latents = latents_from_seeds(seeds, int(self.generator.z_dim))  # type: ignore[arg-type]
        inputs = network_inputs(latents, labels, truncation, self.generator.truncation_space)  # type: ignore[arg-type]
        return sample_images(self.generator, **{name: torch.from_numpy(values) for name, values in inputs.items()})


def run_sampler(run_dir: Path, snapshot: str | Path | None = None) -> NetworkSampler:
    """Return a sampler for the averaged generator of a run; see ``load_trained`` for the arguments and errors."""
    trained = load_trained(run_dir, snapshot)
    if trained.diverged:
        raise RunError("The generator has weights that are not finite; the training diverged.", "Train again.")
    data, seen = trained.info.data, trained.training_data
    return NetworkSampler(trained.generator, data.img_resolution, data.img_channels, trained.class_names, seen)
