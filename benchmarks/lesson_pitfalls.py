"""Show what goes wrong in the lessons: short runs on MNIST, and what is measured of their images.

    python benchmarks/lesson_pitfalls.py --out runs/pitfalls                some ten core-minutes
    python benchmarks/lesson_pitfalls.py --out runs/pitfalls --kimg 10      a quick look
    python benchmarks/lesson_pitfalls.py --out docs/lessons --quick         what needs no run of minutes

All runs have the networks and settings of ``lesson-mnist-dcgan`` at a quarter of its width and with a batch of 64; one
setting differs at a time. It writes OUT/lesson_pitfalls.md and OUT/pitfalls-*.png. Called again, it skips what is done.
"clipped" is Keras' cross-entropy, which the brick lessons have: probabilities stay in [1e-7, 1 - 1e-7].
"""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gan_serve.atomic_files import write_atomically
from gan_serve.checkpoint.config import WEIGHTS_FILE
from gan_serve.checkpoint.files import read_config
from gan_serve.hub.resolve import BUNDLED
from gan_serve.images.captions import with_row_names
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, enlarge
from gan_serve.images.png import encode_png
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training import regularizers
from gan_serve.training.config import make_config
from gan_serve.training.evaluation.extractor_registry import find_extractor
from gan_serve.training.evaluation.features import extract
from gan_serve.training.evaluation.metrics import confident_share
from gan_serve.training.evaluation.pixel_metrics import diversity
from gan_serve.training.learn.densities import quantiles
from gan_serve.training.learn.lipschitz import DISTANCE, GRID, train_critic
from gan_serve.training.load_run import Trained, load_trained
from gan_serve.training.loop import train
from gan_serve.training.monitoring.run_log import read_log
from gan_serve.training.networks import build_generator, to_pixels
from gan_serve.training.sample_images import sample_images

IMAGES = 2000
SHOWN = 32
ENLARGED = 3

SHORT = {"width": 0.25, "batch_size": 64, "ticks_per_evaluation": 0, "threads": 1, "device": "cpu"}
CRITIC = {
    "loss": "wasserstein", "gp_weight": 10.0, "n_critic": 3, "critic_reuses_batch": True, "simultaneous": False
}  # fmt: skip
RUNS: dict[str, Mapping[str, Any]] = {
    "plain targets": {},
    "outward by 0.1": {"real_target": [1.0, 1.1], "fake_target": [-0.1, 0.0]},
    "1 + 0.1 + U": {"real_target": [1.1, 2.1], "fake_target": [-0.1, 0.0]},
    "1 + 0.1 + U, clipped": {"real_target": [1.1, 2.1], "fake_target": [-0.1, 0.0], "bce_eps": 1e-7},
    "penalty, uniform": CRITIC,
    "penalty, normal": CRITIC,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs, the table and the figures")
    parser.add_argument("--data", default="mnist", help="as gan-serve train takes it")
    parser.add_argument("--features", default="cnn-mnist", help="classifier that recognises the images")
    parser.add_argument("--kimg", type=float, default=60.0, help="length of a run")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="some of the runs; default: all")
    parser.add_argument("--quick", action="store_true", help="only training mode, on fashion-dcgan, and critics")
    options = parser.parse_args()
    if options.quick:
        quick(options.out)
        return
    rows: list[tuple[str, float, float, float, float]] = []
    targets: dict[str, UInt8Array] = {}
    neighbours = None
    for name in options.runs:
        settings = RUNS[name]
        folder = options.out / name.replace(" ", "").replace(",", "-").replace("+", "_")
        trained = trained_run(name, folder, settings, options)
        rows.append((name, *measured(trained, folder, options.features)))
        if name == "plain targets":
            plot_sum(folder, options.out / "pitfalls-sum.png")
            path = options.out / "pitfalls-neighbours.png"
            neighbours = neighbours_in_training_mode(trained.generator, trained.config.z_dim, path)
        if settings is not CRITIC:
            targets[name] = sample_images(trained.generator, latents(trained, SHOWN))
    if targets:
        picture(targets, options.out / "pitfalls-targets.png")
    text = table(rows, neighbours, options)
    write_atomically(options.out / "lesson_pitfalls.md", text)
    print(text)


def trained_run(name: str, folder: Path, settings: Mapping[str, Any], options: argparse.Namespace) -> Trained:
    """Train, unless it was done before."""
    length = {"kimg": options.kimg, "kimg_per_tick": max(1.0, options.kimg / 12)}
    config = make_config("lesson-mnist-dcgan", {"data": options.data} | SHORT | length | dict(settings))
    with normal_mixing() if name == "penalty, normal" else contextlib.nullcontext():
        train(config, folder, resume=True, quiet=True)
    return load_trained(folder)


@contextlib.contextmanager
def normal_mixing() -> Iterator[None]:
    """Draw the mixing weight of the gradient penalty from N(0, 1) instead of U(0, 1), as the chapter's code does."""
    uniform = regularizers.gradient_penalty

    def normal(critic: regularizers.Critic, real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
        return uniform(critic, real, fake, torch.special.ndtri(weight.clamp(1e-6, 1 - 1e-6)))

    with patch.object(regularizers, "gradient_penalty", normal):
        yield


def measured(trained: Trained, folder: Path, features: str) -> tuple[float, float, float, float]:
    """Return diversity, the share of recognised images, and the last losses of discriminator and generator."""
    images = sample_images(trained.generator, latents(trained, IMAGES))
    recognised = confident_share(extract(find_extractor(features), images).logits)
    last = read_log(folder)[-1]
    return diversity(images), recognised, last.get("d_loss", last.get("c_wass_loss", math.nan)), last["g_loss"]


def quick(out: Path) -> None:
    """Sample fashion-dcgan in training mode; train a critic with either mixing weight."""
    directory = BUNDLED / "fashion-dcgan"
    config = read_config(directory)
    generator = build_generator(config.architecture.family, **config.architecture.arguments)
    generator.load_state_dict(load_file(directory / WEIGHTS_FILE))
    both = neighbours_in_training_mode(generator, config.z_dim, out / "pitfalls-neighbours.png")
    print(f"fashion-dcgan, largest difference of a pixel: {both[0]} in training mode, {both[1]} in inference mode")
    for normal in (False, True):
        critic = train_critic("penalty", 500, normal_mixing=normal)
        x = GRID[:, None].clone().requires_grad_()
        (slopes,) = torch.autograd.grad(critic(x).sum(), x)
        between = slopes.abs()[(x[:, 0] >= 0) & (x[:, 0] <= DISTANCE)]
        with torch.no_grad():
            real, fake = (critic(quantiles(mean, 512).float()[:, None]).mean() for mean in (0.0, DISTANCE))
        print(
            f"mixing weight {'normal' if normal else 'uniform'}: slope between the means {between.min():.3f} to "
            f"{between.max():.3f}, largest {slopes.abs().max():.3f}, distance {real - fake:.3f} of {DISTANCE:g}"
        )


def neighbours_in_training_mode(generator: nn.Module, z_dim: int, path: Path) -> tuple[int, int]:
    """Sample seeds 0 to 7 with two sets of neighbours, in training and in inference mode, and write a picture.

    Returns:
        The largest difference of a pixel in grey levels, in training and in inference mode.
    """
    state = {name: value.clone() for name, value in generator.state_dict().items()}
    rows: list[UInt8Array] = []
    differences = []
    for training in (True, False):
        generator.train(training)
        pair = []
        for others in (range(8, 16), range(16, 24)):
            z = torch.from_numpy(latents_from_seeds([*range(8), *others], z_dim))
            with torch.no_grad():
                pair.append(to_pixels(generator(z))[:8].numpy())
        rows += pair
        differences.append(int(np.abs(pair[0].astype(int) - pair[1]).max()))
    generator.load_state_dict(state)  # training mode has moved the statistics of BatchNorm
    generator.eval()
    write_atomically(path, encode_png(enlarge(grid(np.concatenate(rows), 8), ENLARGED)))
    return differences[0], differences[1]


def plot_sum(folder: Path, path: Path) -> None:
    """Plot the sum of the discriminator's two losses beside ln 2 and 2 ln 2."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = read_log(folder)
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    kimg = [record["kimg"] for record in records]
    axes.plot(kimg, [2 * record["d_loss"] for record in records], label="real loss + fake loss")
    axes.plot(kimg, [record["g_loss"] for record in records], label="generator's loss")
    axes.axhline(2 * math.log(2), color="gray", linestyle="--", label="2 ln 2, equilibrium of the sum")
    axes.axhline(math.log(2), color="gray", linestyle=":", label="ln 2, equilibrium of one loss")
    axes.set(xlabel="kimg", ylabel="loss", ylim=(0, None))
    axes.legend()
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=100))


def latents(trained: Trained, n: int) -> Tensor:
    """Return the latents of seeds 0 to n - 1, float32 [n, z_dim]."""
    return torch.from_numpy(latents_from_seeds(range(n), trained.config.z_dim))


def picture(images: Mapping[str, UInt8Array], path: Path) -> None:
    """Write the images of each run, uint8 [32, H, W, C], in two rows with its name."""
    sheet = enlarge(grid(np.concatenate(list(images.values())), SHOWN // 2), 2)
    write_atomically(path, encode_png(with_row_names(sheet, [word for name in images for word in (name, "")])))


def table(rows: list[Any], neighbours: tuple[int, int] | None, options: argparse.Namespace) -> str:
    lines = [
        "# What goes wrong in the lessons, measured",
        "",
        f"Written by `python benchmarks/lesson_pitfalls.py` ({options.data}, {options.kimg:g} kimg a run,",
        f"{IMAGES:,} images, classifier `{options.features}`). `recognised`: its largest probability exceeds 0.9.",
        "Losses are means of the last tick; the discriminator's is half of the sum (of critics: without the penalty).",
        "",
        "| run | diversity, grey levels | recognised | loss of D | loss of G |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {name} | {a:.1f} | {b:.3f} | {c:.3f} | {d:.3f} |" for name, a, b, c, d in rows]
    if neighbours:
        lines += [
            "",
            "Seeds 0 to 7 among two sets of neighbours, `plain targets`: the largest difference of a pixel is "
            f"{neighbours[0]} grey levels in training mode and {neighbours[1]} in inference mode.",
        ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
