"""Measure how much residual blocks and a convolution at the full size cost, beside strided convolutions.

    python benchmarks/residual_forms.py [--rounds 5] [--out benchmarks/residual_forms.md]

All forms train on the same 64x64 RGB images with the same settings, at half width, on one thread, and take turns after
each step. A step of both networks is measured in CPU time, which other processes affect less. Ratios are medians of the
rounds. Sampling is measured likewise, with the exported fp32 file in ONNX Runtime on one thread, 16 images at a time.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from timing import describe_cpu, median_ratio

from gan_serve.exports.to_onnx import to_onnx
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.session import network_inputs, open_session
from gan_serve.training.config import make_config
from gan_serve.training.data.batch_loader import Loader
from gan_serve.training.data.image_set import ImageSet
from gan_serve.training.step import Training

BATCH, CLASSES = 16, 10
COMMON = {
    "data": "noise", "resolution": 64, "channels": 3, "width": 0.5, "z_dim": 120, "batch_size": BATCH, "kimg": 100,
    "loss": "hinge", "conditional": True, "conditioning": "projection", "device": "cpu",
}  # fmt: skip
DCGAN = {
    "recipe": "wgan-gp",
    "gp_weight": 0,
    "n_critic": 1,
    "family": "dcgan",
    "d_norm": "none",
    "activation": "relu",
    "upsampling": "transposed",
}
RESNET = {"recipe": "biggan", "n_critic": 1, "skip_z": False, "spectral_norm": False, "g_spectral_norm": False}
R3GAN = {"block": "r3gan", "g_conditioning": "concat"}
FORMS = {
    "dcgan, transposed": DCGAN,
    "dcgan, nearest": DCGAN | {"upsampling": "nearest"},
    "dcgan, nearest, full_size_channels=32": DCGAN | {"upsampling": "nearest", "full_size_channels": 32},
    "dcgan, nearest, conditional BatchNorm": DCGAN | {"upsampling": "nearest", "g_conditioning": "batchnorm"},
    "resnet, sngan, blocks to 8": RESNET | {"block": "sngan", "block_size": 8},
    "resnet, sngan, blocks to 16": RESNET | {"block": "sngan"},
    "resnet, biggan, blocks to 8": RESNET | {"block_size": 8},
    "resnet, biggan, blocks to 16": RESNET,
    "resnet, biggan, blocks to 16, skip_z, spectral norm": RESNET
    | {"skip_z": True, "spectral_norm": True, "g_spectral_norm": True},
    "resnet, biggan, blocks to 64": RESNET | {"block_size": 64},
    "resnet, r3gan, blocks to 8": RESNET | R3GAN | {"block_size": 8},
    "resnet, r3gan, blocks to 16": RESNET | R3GAN,
    "resnet, r3gan, blocks to 64": RESNET | R3GAN | {"block_size": 64},
}


class Form:
    """A form that trains one step at a time."""

    def __init__(self, settings: dict[str, object], *, bf16: bool) -> None:
        values = COMMON | {"bf16": bf16, "threads": 1} | settings
        config = make_config(str(values.pop("recipe")), values)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (4 * BATCH, 64, 64, 3), np.uint8)
        data = ImageSet("noise", images, np.arange(len(images)) % CLASSES, tuple(map(str, range(CLASSES))))
        device = torch.device("cpu")
        self.training = Training.start(config, device, c_dim=CLASSES)
        self.loader = Loader(data, seed=0, labels=True, device=device)

    def step(self) -> None:
        self.training.step([self.loader.batch(self.training.shown, BATCH)])

    def sampler(self) -> Sampler:
        return Sampler(copy.deepcopy(self.training.generator).eval())

    def parameters(self) -> str:
        networks = self.training.generator, self.training.discriminator
        return " / ".join(f"{sum(w.numel() for w in network.parameters()) / 1e6:.2f}" for network in networks)


class Sampler:
    """The exported generator of a form, which samples one batch at a time."""

    def __init__(self, generator: torch.nn.Module) -> None:
        self.session, _ = open_session(to_onnx(generator), "cpu")
        latents = latents_from_seeds(range(BATCH), generator.z_dim)
        self.inputs = network_inputs(latents, np.arange(BATCH) % CLASSES, 1.0, "z")

    def step(self) -> None:
        self.session.run(None, self.inputs)


def core_seconds(forms: Sequence[Form | Sampler], rounds: int) -> list[list[float]]:
    """Return the CPU seconds of a step of each form in each round, after one that chooses kernels and allocates."""
    for form in forms:
        form.step()

    seconds: list[list[float]] = [[] for _ in forms]
    for _ in range(rounds):
        for times, form in zip(seconds, forms, strict=True):
            started = time.process_time()
            form.step()
            times.append(time.process_time() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns: list[list[str]] = []

    def measure(steps: Sequence[Form | Sampler], rounds: int) -> None:
        seconds = core_seconds(steps, rounds)
        columns.append([f"{BATCH / statistics.median(own):.0f}" for own in seconds])
        columns.append([f"{median_ratio(own, seconds[0]):.2f}" for own in seconds])

    for bf16 in (False, True):
        forms = [Form(settings, bf16=bf16) for settings in FORMS.values()]
        measure(forms, options.rounds)
    measure([form.sampler() for form in forms], 4 * options.rounds)
    parameters = [form.parameters() for form in forms]
    lines = [
        "# What residual blocks and a convolution at the full size cost",
        "",
        f"Written by `benchmarks/residual_forms.py` on one CPU thread ({describe_cpu()}), torch {torch.__version__}.",
        "",
        f"64x64 RGB, {CLASSES} classes, width 0.5, batch {BATCH}, hinge loss, one step of each network without "
        f"penalties; the forms take turns, medians of {options.rounds} rounds, of sampling "
        f"{4 * options.rounds}. Speeds are images a core-second. "
        f"Sampling: the exported fp32 file in ONNX Runtime, {BATCH} images at a time.",
        "",
        "| form | training in float32 | ratio to the first | in bfloat16 | ratio | sampling | ratio | "
        "parameters of G / D, millions |",
        "|---|---|---|---|---|---|---|---|",
        *(f"| {' | '.join(cells)} |" for cells in zip(FORMS, *columns, parameters, strict=True)),
    ]
    options.out.write_text("\n".join(lines) + "\n")
    print(options.out.read_text())


if __name__ == "__main__":
    main()
