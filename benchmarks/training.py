"""Compare training with an eager loop like that of PyTorch's DCGAN tutorial. ``make bench-train`` writes training.md.

The two loops train the same networks from the same weights on the same images and take turns in one process; on a
shared machine, only the ratios are meaningful. Memory and the speed of each recipe are measured in separate processes.

    python benchmarks/training.py                 speed, memory, every recipe
    python benchmarks/training.py --quality 40    and quality of both after 40 kimg (minutes to hours)
    python benchmarks/training.py --all           and torch.compile
    python benchmarks/training.py --quick         see whether it runs; nothing is written
    python benchmarks/training.py --brief         short turns of everything; each table is printed, nothing is written
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from training_loops import Loop, Ours, Tutorial

from gan_serve.errors import DataError
from gan_serve.training.config import TrainConfig, make_config
from gan_serve.training.data.image_set import fit
from gan_serve.training.data.load import ImageSet, load_images
from gan_serve.training.distributed import Processes
from gan_serve.training.evaluation.swd import SlicedWasserstein
from gan_serve.training.loop import pick_device, resolve_settings
from gan_serve.training.networks import to_pixels
from gan_serve.training.recipes import recipes
from gan_serve.training.run_info import describe_machine

THREADS = 2
COMPARED = ("dcgan-28", "dcgan-64")
BATCH = 128
NARROW = 0.25  # width of the networks for images of 64 pixels, on the CPU
QUALITY_IMAGES = 1024


@dataclass(frozen=True)
class Effort:
    """The duration of the measurements."""

    rounds: int = 7  # turns of each loop
    seconds: float = 2.0  # of a turn of the tutorial's loop; the others take as many steps
    images: int | None = None  # of the data set; None: all
    recipe_steps: int = 4  # steps that are measured in a separate process
    recipes: int | None = None  # how many; None: all
    data: str | None = None  # as gan-serve train takes it; None: see benchmark_data


THOROUGH = Effort()
BRIEF = Effort(rounds=3, seconds=0.3, images=4096)
QUICK = Effort(rounds=2, seconds=0.0, images=1024, recipe_steps=1, recipes=2)


class Variant(NamedTuple):
    """Our loop with some settings."""

    name: str
    settings: Mapping[str, Any]
    channels_last: bool | None = None  # None: the choice of the trainer


def variants(device: torch.device, *, compiled: bool) -> list[Variant]:
    """Return our loops: first that of the trainer, then one with each setting changed."""
    bf16 = _recorded_bf16(device)
    found = [
        Variant("ours", {}),
        Variant(f"... bf16 {'off' if bf16 else 'on'}", {"bf16": not bf16}),
        Variant("... NCHW", {}, channels_last=False),
    ]
    if compiled:
        found.append(Variant("... torch.compile", {"compile": True}))
    return found


# Report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few small steps; nothing is written")
    parser.add_argument("--all", action="store_true", help="torch.compile too, which takes minutes to begin on a CPU")
    parser.add_argument("--quality", type=float, metavar="KIMG", help="train both loops for so long, and measure both")
    parser.add_argument("--every", type=float, metavar="KIMG", default=4.0, help="between two measurements of quality")
    parser.add_argument("--seeds", type=int, default=1, help="of the runs whose quality is measured")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--brief", action="store_true", help="short turns of everything; nothing is written")
    parser.add_argument("--data", help="images, as gan-serve train takes them; default: Fashion-MNIST or digits")
    options = parser.parse_args()

    torch.set_num_threads(THREADS)
    device = pick_device(options.device)
    effort = replace(QUICK if options.quick else BRIEF if options.brief else THOROUGH, data=options.data)
    lines = shown(introduction(device, effort))
    for recipe in COMPARED[:1] if options.quick else COMPARED:
        lines += shown(comparison(recipe, device, effort, compiled=options.all))
    lines += shown(recipe_table(device, effort))
    if options.quality:
        lines += shown(quality_table(device, effort, options.quality, options.every, options.seeds))
    if not options.quick and not options.brief:
        (Path(__file__).parent / "training.md").write_text("\n".join(lines) + "\n")


def shown(lines: list[str]) -> list[str]:
    """Print lines at once, so that what was measured is not lost if the rest takes too long."""
    print("\n".join(lines), flush=True)
    return lines


def introduction(device: torch.device, effort: Effort) -> list[str]:
    data = benchmark_data(8, effort)
    load = os.getloadavg()[0]
    return [
        "# Training",
        "",
        f"Written by `make bench-train` (benchmarks/training.py) on {describe_machine(device, Processes())}, "
        f"with {data.name}. Load average before it began: {load:.1f}.",
        "",
        "The tutorial's loop is written as PyTorch's DCGAN tutorial writes it: two loader workers, float32, NCHW, real "
        "and generated images one after the other, `.item()` each step, no average of the generator. Ours is "
        "`Training.step` with `Loader`, the average included. Same networks, same batch, same images.",
    ]


def comparison(recipe: str, device: torch.device, effort: Effort, *, compiled: bool) -> list[str]:
    config = benchmark_config(recipe, device, batch_size=BATCH)
    data = benchmark_data(config.resolution, effort)
    chosen = variants(device, compiled=compiled)
    loops: list[Loop] = [Tutorial(config, data)]
    loops += [
        Ours(config.model_copy(update=dict(variant.settings)), data, channels_last=variant.channels_last)
        for variant in chosen
    ]
    speeds = taking_turns(loops, effort)
    memory = [
        in_new_process(peak_memory_mb, kind, config, effort) if kind else None
        for kind in ("tutorial", "ours", *[""] * (len(chosen) - 1))
    ]
    rows = []
    names = ["tutorial", *(variant.name for variant in chosen)]
    for name, own, used in zip(names, speeds, memory, strict=True):
        ratios = [ours / theirs for ours, theirs in zip(own, speeds[0], strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        cells = [name, f"{statistics.median(own):.0f}", f"**{ratio}**" if name == "ours" else ratio]
        rows.append("| " + " | ".join([*cells, f"{used:.0f}" if used else ""]) + " |")
    return [
        "",
        f"## {recipe}, batch {BATCH}, width {config.width:g}",
        "",
        f"Medians of {effort.rounds} turns each, and the least and the greatest ratio. Ours has bf16 "
        f"{'on' if _recorded_bf16(device) else 'off'}, as the trainer finds it here.",
        "",
        f"| | images/s | ratio to the tutorial | {_memory_name(device)}, MB |",
        "|---|---|---|---|",
        *rows,
    ]


def recipe_table(device: torch.device, effort: Effort) -> list[str]:
    rows = []
    for name in list(recipes())[: effort.recipes]:
        config = benchmark_config(name, device)
        images_per_s, memory = in_new_process(recipe_cost, config, effort)
        rows.append(
            f"| {name} | {config.resolution} | {config.batch_size} | {config.n_critic} | {config.width:g} "
            f"| {images_per_s:.0f} | {images_per_s / 1000:.3f} | {memory:.0f} |"
        )
    return [
        "",
        "## Every recipe",
        "",
        f"At the recipe's own batch, progressive grown whole; images are real ones shown. Medians of "
        f"{effort.recipe_steps} steps in a process each.",
        "",
        f"| recipe | pixels | batch | n_critic | width | images/s | kimg/s | {_memory_name(device)}, MB |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
    ]


def quality_table(device: torch.device, effort: Effort, kimg: float, every: float, seeds: int) -> list[str]:
    lines = [
        "",
        f"## Quality after {kimg:g} kimg of dcgan-28",
        "",
        f"Sliced Wasserstein distance ({QUALITY_IMAGES:,} images of each generator in eval mode, the same latents, to "
        f"as many training images; less is better), measured every {every:g} kimg outside the clock. Both loops begin "
        "with the same weights and take turns.",
        "",
        "| seed | generator | distance at the end | least | training time | until the tutorial's last distance |",
        "|---|---|---|---|---|---|",
    ]
    for seed in range(seeds):
        floor, curves = quality_curves(device, effort, kimg, every, seed)
        goal = curves["tutorial, last weights"][-1].distance
        for name, curve in curves.items():
            reached = next((point for point in curve if point.distance <= goal), None)
            time_to = f"{reached.seconds:.0f} s, {reached.kimg:.0f} kimg" if reached else "not reached"
            lines.append(
                f"| {seed} | {name} | {curve[-1].distance:.0f} | {min(point.distance for point in curve):.0f} "
                f"| {curve[-1].seconds:.0f} s | {time_to} |"
            )
        lines.append(f"| {seed} | other training images | {floor:.0f} | | | |")
    return lines


# Measurements


class Point(NamedTuple):
    kimg: float
    seconds: float  # of training alone
    distance: float


def quality_curves(
    device: torch.device, effort: Effort, kimg: float, every: float, seed: int
) -> tuple[float, dict[str, list[Point]]]:
    """Return the distance between two sets of training images, and the curve of distances of each generator."""
    config = benchmark_config("dcgan-28", device, batch_size=BATCH, seed=seed)
    data = benchmark_data(config.resolution, effort)
    order = np.random.RandomState(0).permutation(len(data))
    n = min(QUALITY_IMAGES, len(data) // 2)
    metric = SlicedWasserstein(data.images[order[:n]])
    floor = metric.measure(data.images[order[n : 2 * n]])[metric.name]
    z = torch.randn(n, config.z_dim, generator=torch.Generator().manual_seed(0)).to(device)

    loops: list[Loop] = [Tutorial(config, data), Ours(config, data)]
    shown, seconds = [0] * len(loops), [0.0] * len(loops)
    curves: dict[str, list[Point]] = {}
    while shown[0] < kimg * 1000 or shown[1] < kimg * 1000:
        goal = min(kimg * 1000, min(shown) + every * 1000)
        for i, loop in enumerate(loops):
            started = time.perf_counter()
            while shown[i] < goal:
                shown[i] += loop.step()
            synchronise(device)
            seconds[i] += time.perf_counter() - started
            for name, generator in loop.generators().items():
                distance = metric.measure(sampled(generator, z))[metric.name]
                curves.setdefault(name, []).append(Point(shown[i] / 1000, seconds[i], distance))
                print(f"seed {seed}: {name}: {curves[name][-1]}", flush=True)
    return floor, curves


@torch.no_grad()
def sampled(generator: nn.Module, z: Tensor) -> np.ndarray:
    """Return images uint8 [N, H, W, C] sampled in eval mode; then restore the generator's mode."""
    training = generator.training
    generator.eval()
    pixels = torch.cat([to_pixels(generator(part)) for part in z.split(128)])
    generator.train(training)
    return pixels.cpu().numpy()


def taking_turns(loops: Sequence[Loop], effort: Effort) -> list[list[float]]:
    """Return the images/s of each loop in each round, over equal numbers of steps; the order alternates."""
    for loop in loops:  # warm-up: allocators, cuDNN's choice of algorithms, optimiser state, compilation
        speed(loop, 3)
    steps = max(2, round(effort.seconds * speed(loops[0], 3) / BATCH))
    speeds: list[list[float]] = [[] for _ in loops]
    for number in range(effort.rounds):
        turn = list(zip(loops, speeds, strict=True))
        for loop, measured in turn if number % 2 == 0 else reversed(turn):
            measured.append(speed(loop, steps))
    return speeds


def speed(loop: Loop, steps: int) -> float:
    """Return the real images shown per second."""
    synchronise(loop.device)
    started = time.perf_counter()
    shown = sum(loop.step() for _ in range(steps))
    synchronise(loop.device)
    return shown / (time.perf_counter() - started)


def recipe_cost(config: TrainConfig, effort: Effort) -> tuple[float, float]:
    """Return images/s and peak memory of a recipe; call it in a new process."""
    # Labels and pixels matter here, not how many there are.
    ours = Ours(config, benchmark_data(config.resolution, replace(effort, images=min(effort.images or 4096, 4096))))
    ours.training.shown = round(config.kimg * 1000)  # a growing network has grown
    speed(ours, 2)
    return statistics.median(speed(ours, 1) for _ in range(effort.recipe_steps)), _peak_mb(ours.device)


def peak_memory_mb(kind: str, config: TrainConfig, effort: Effort) -> float:
    """Return the peak memory of a loop without its loader's workers; call it in a new process."""
    data = benchmark_data(config.resolution, effort)
    loop: Loop = Tutorial(config, data) if kind == "tutorial" else Ours(config, data)
    speed(loop, 4)
    return _peak_mb(loop.device)


def in_new_process(function: Callable[..., Any], *arguments: object) -> Any:
    """Return the result of ``function`` from a new process, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin) as pool:
        return pool.submit(function, *arguments).result()


def _begin() -> None:
    torch.set_num_threads(THREADS)


# Set-up


def benchmark_config(recipe: str, device: torch.device, **settings: object) -> TrainConfig:
    """Return a recipe at full width on a GPU, and at a smaller width for 64 pixels on a CPU."""
    narrow = device.type == "cpu" and recipes()[recipe].config["resolution"] >= 64
    width = {"width": NARROW} if narrow else {}
    common = {"data": "fashion-mnist", "device": device.type, "threads": THREADS}
    return make_config(recipe, common | width | settings)


def benchmark_data(resolution: int, effort: Effort) -> ImageSet:
    """Return ``effort.data``, else Fashion-MNIST if it is installed, else scikit-learn's digits, at a resolution."""
    try:
        data = load_images(effort.data or "fashion-mnist")
    except DataError:
        if effort.data:
            raise
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (digits.images * (255 / 16)).round().astype(np.uint8)[..., None]
        names = tuple(map(str, range(10)))
        data = ImageSet("scikit-learn digits", images, digits.target.astype(np.int64), names)
    n = effort.images or len(data)
    labels = None if data.labels is None else data.labels[:n]
    return fit(replace(data, images=data.images[:n], labels=labels, names=data.names[:n]), resolution, None)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _recorded_bf16(device: torch.device) -> bool:
    """Return True if the trainer chooses bfloat16 here."""
    data = ImageSet("one pixel", np.zeros((1, 8, 8, 1), np.uint8))
    return bool(resolve_settings(benchmark_config("dcgan-28", device), data, device).bf16)


def _memory_name(device: torch.device) -> str:
    return "GPU memory" if device.type == "cuda" else "peak memory of the process"


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Not getrusage, whose maximum is inherited from the parent process.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024  # Linux counts in KiB


if __name__ == "__main__":
    main()
