"""Measure what each later trick buys over the lesson's DCGAN on MNIST, at equal images shown.

    python benchmarks/lesson_steps.py --out runs/steps                           the lesson's 20 epochs: hours
    python benchmarks/lesson_steps.py --out runs/steps --kimg 60 --width 0.5     one epoch at half the width

The steps: the lesson as it stands; with an average of the generator (EMA); with labels too; the recommended recipe. The
average does not act on the training, so the first two steps are one run: its generator, and the average of it. Writes
OUT/lesson_steps.md and OUT/lesson-steps.png. Called again, it skips finished work and resumes an interrupted run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan_serve.atomic_files import write_atomically
from gan_serve.images.captions import with_row_names
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, enlarge
from gan_serve.images.png import encode_png
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.config import as_typed
from gan_serve.training.load_run import load_trained
from gan_serve.training.sample_images import sample_images
from gan_serve.training.snapshots import load_snapshot, save_snapshot, snapshots

SEEDS = range(40)  # in the picture, two rows of a step
METRICS = ("fd", "precision", "recall", "confident")
EMA = {"ema_kimg": 10}
LABELS = {"conditional": True, "conditioning": "projection"}
RUNS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "+ EMA": ("lesson-mnist-dcgan", EMA),
    "+ labels": ("lesson-mnist-dcgan", EMA | LABELS),
    "recommended": ("recommended-64", {"resolution": 28}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs, the table and the picture")
    parser.add_argument("--data", default="mnist", help="labelled images, as gan-serve train takes them")
    parser.add_argument("--features", default="cnn-mnist", help="extractor that the images are compared by")
    parser.add_argument("--kimg", type=float, default=1200.0, help="length of each run")
    parser.add_argument("--width", type=float, default=1.0, help="of the lesson's networks")
    parser.add_argument("--images", type=int, default=10_000, help="generated and real images that are compared")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16 where the recipe does not")
    options = parser.parse_args()
    folders = {}
    for step, (recipe, settings) in RUNS.items():
        folder = options.out / step.removeprefix("+ ").lower()
        train(recipe, settings, folder, options)
        if step == "+ EMA":
            folders["lesson"] = without_average(folder, options.out / "lesson")
        folders[step] = folder
    text = table({step: measured(folder, options) for step, folder in folders.items()}, options)
    write_atomically(options.out / "lesson_steps.md", text)
    write_atomically(options.out / "lesson-steps.png", encode_png(picture(folders)))
    print(text)


def train(recipe: str, settings: Mapping[str, Any], folder: Path, options: argparse.Namespace) -> None:
    """Train, or resume an interrupted run."""
    common: dict[str, Any] = {"ticks_per_evaluation": 0, "kimg_per_tick": max(1.0, options.kimg / 12)}
    if recipe.startswith("lesson-"):
        common["width"] = options.width
    if options.bf16:
        common["bf16"] = True
    sets = [word for key, value in (common | dict(settings)).items() for word in ("--set", f"{key}={as_typed(value)}")]
    gan_serve(
        "train", "--recipe", recipe, "--data", options.data, "--run-dir", folder, "--kimg", options.kimg, *sets,
        "--quiet", "--resume",
    )  # fmt: skip


def without_average(run: Path, folder: Path) -> Path:
    """Write the last snapshot of a run as that of a run without EMA, whose average is the generator itself."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(run / "run.json", folder)
    config = json.loads((run / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"ema_kimg": 0}, indent=2) + "\n")
    state = load_snapshot(snapshots(run)[-1])
    save_snapshot(folder, state | {"ema": state["generator"]}, keep=1)
    return folder


def measured(run: Path, options: argparse.Namespace) -> dict[str, float]:
    """Return the metrics of a run, measured once."""
    path = run / f"metrics-{options.images}.json"
    if not path.exists():
        printed = gan_serve(
            "evaluate", run, "--data", options.data, "--features", options.features, "--images", options.images,
            "--no-dial", "--no-pairs", "--json", "--quiet",
        )  # fmt: skip
        path.write_text(printed)
    found: dict[str, float] = json.loads(path.read_text())
    return found


def gan_serve(*words: object) -> str:
    command = [sys.executable, "-m", "gan_serve.cli", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=dict(os.environ)).stdout


def picture(folders: Mapping[str, Path]) -> UInt8Array:
    """Return the same seeds of each step, two rows each."""
    sheets = []
    for folder in folders.values():
        trained = load_trained(folder)
        z = torch.from_numpy(latents_from_seeds(SEEDS, trained.config.z_dim))
        c = torch.tensor(SEEDS) % len(trained.class_names) if trained.class_names else None
        sheets.append(sample_images(trained.generator, z, c))
    names = [name for step in folders for name in (step, "")]
    return with_row_names(enlarge(grid(np.concatenate(sheets), len(SEEDS) // 2), 2), names)


def table(steps: Mapping[str, Mapping[str, float]], options: argparse.Namespace) -> str:
    lines = [
        "# What each trick buys",
        "",
        f"Written by `python benchmarks/lesson_steps.py`: {options.data}, {options.kimg:g} kimg a run, the lesson's",
        f"networks at a width of {options.width:g}{', in bfloat16' if options.bf16 else ''}; one run of each, so small",
        "differences mean nothing.",
        "",
    ]
    first = next(iter(steps.values()))
    names = [name for stem in METRICS for name in first if name.startswith(stem) and name[len(stem)].isdigit()]
    lines += ["| step | " + " | ".join(f"`{name}`" for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for step, metrics in steps.items():
        cells = (f"{metrics[name]:.3g}" if name in metrics else "" for name in names)
        lines.append(f"| {step} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
