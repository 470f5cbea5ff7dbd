"""How much residual blocks cost in training, beside strided convolutions: the forms take turns, step by step.

    python benchmarks/residual_forms.py [--rounds 5] [--out benchmarks/residual_forms.md]

All forms train on the same 64x64 RGB images with the same settings, at half width: what is timed is a whole step of
both networks. Ratios are medians of the rounds, so that what slows the machine for a while does not count.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
from timing import describe_cpu, median_ratio, taking_turns

from gan_serve.training.config import make_config
from gan_serve.training.data.image_set import ImageSet
from gan_serve.training.data.loader import Loader
from gan_serve.training.step import Training

BATCH, CLASSES = 16, 10
COMMON = {
    "data": "noise", "resolution": 64, "channels": 3, "width": 0.5, "z_dim": 120, "batch_size": BATCH, "kimg": 100,
    "loss": "hinge", "conditional": True, "conditioning": "projection", "device": "cpu",
}  # fmt: skip
DCGAN = {"recipe": "wgan-gp", "gp_weight": 0, "n_critic": 1, "family": "dcgan", "d_norm": "none", "activation": "relu"}
RESNET = {"recipe": "biggan", "n_critic": 1, "skip_z": False, "spectral_norm": False, "g_spectral_norm": False}
R3GAN = {"block": "r3gan", "g_conditioning": "concat"}
FORMS = {
    "dcgan, transposed": DCGAN,
    "dcgan, nearest": DCGAN | {"upsampling": "nearest"},
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
    """A run that makes one step at a time."""

    def __init__(self, settings: dict[str, object], *, bf16: bool, threads: int) -> None:
        values = COMMON | {"bf16": bf16, "threads": threads} | settings
        config = make_config(str(values.pop("recipe")), values)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (4 * BATCH, 64, 64, 3), np.uint8)
        data = ImageSet("noise", images, np.arange(len(images)) % CLASSES, tuple(map(str, range(CLASSES))))
        device = torch.device("cpu")
        self.training = Training.start(config, device, c_dim=CLASSES)
        self.loader = Loader(data, seed=0, labels=True, device=device)

    def step(self) -> None:
        self.training.step([self.loader.batch(self.training.shown, BATCH)])

    def parameters(self) -> str:
        networks = self.training.generator, self.training.discriminator
        return " / ".join(f"{sum(w.numel() for w in network.parameters()) / 1e6:.2f}" for network in networks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    forms = {name: Form(settings, bf16=options.bf16, threads=options.threads) for name, settings in FORMS.items()}
    for form in forms.values():
        form.step()  # chooses kernels, allocates
    seconds = taking_turns(*(form.step for form in forms.values()), rounds=options.rounds)
    rows = [
        f"| {name} | {BATCH / statistics.median(own):.0f} | {median_ratio(own, seconds[0]):.2f} | {form.parameters()} |"
        for (name, form), own in zip(forms.items(), seconds, strict=True)
    ]
    lines = [
        "# What residual blocks cost in training",
        "",
        f"Written by `benchmarks/residual_forms.py` on {options.threads} CPU thread(s) ({describe_cpu()}), "
        f"torch {torch.__version__}, {'bfloat16' if options.bf16 else 'float32'}.",
        "",
        f"64x64 RGB, {CLASSES} classes, width 0.5, batch {BATCH}, hinge loss, one step of each network without "
        f"penalties; the forms take turns, medians of {options.rounds} rounds.",
        "",
        "| form | images/s | ratio to the first | parameters of G / D, millions |",
        "|---|---|---|---|",
        *rows,
    ]
    options.out.write_text("\n".join(lines) + "\n")
    print(options.out.read_text())


if __name__ == "__main__":
    main()
