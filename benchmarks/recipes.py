"""Compare recipes at equal CPU time: each candidate trains for the same CPU time, then its images are measured.

The length of a run in kimg follows from its speed, measured in CPU seconds on one thread before it starts, so that
schedules end with the time. `gan-serve train` and `gan-serve evaluate` do the work. Called again with the same --out,
it skips finished work and resumes an interrupted run.

    python benchmarks/recipes.py --out runs/compare           four candidates x two seeds x 15 core-minutes
    python benchmarks/recipes.py --out runs/compare --minutes 8 --seeds 1 --candidates recommended,hinge
    python benchmarks/recipes.py --out runs/avatars --data avatars --resolution 64 --features cnn-avatars --minutes 30
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from gan_serve.training.config import as_typed, make_config
from gan_serve.training.data.batch_loader import Loader
from gan_serve.training.data.load import load_images
from gan_serve.training.distributed import Processes
from gan_serve.training.loop import pick_device, resolve_settings
from gan_serve.training.run_info import describe_machine
from gan_serve.training.step import Training

LABELS = {"conditional": True, "conditioning": "projection"}
# A recipe and additional settings for each candidate. "zoo" has the settings of fashion-cgan in 0.1.0.
CANDIDATES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "zoo": ("dcgan-28", LABELS | {"minibatch": "std"}),
    "hinge": ("sngan-hinge", LABELS),
    "r1": ("dcgan-64", LABELS),
    "recommended": ("recommended-64", LABELS),
    "recommended-batch-32": ("recommended-64", LABELS | {"batch_size": 32}),
    "recommended-std": ("recommended-64", LABELS | {"minibatch": "std"}),
}
MEASURED_STEPS = 16  # a multiple of every r1_every above


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and table.md")
    parser.add_argument("--data", default="fashion-mnist", help="labelled images, as gan-serve train takes them")
    parser.add_argument("--resolution", type=int, default=28)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--features", default="cnn-fashion", help="extractor that the images are compared by")
    parser.add_argument("--minutes", type=float, default=15.0, help="CPU time of a run on one thread")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, default=5000, help="generated and real images that are compared")
    parser.add_argument("--candidates", default="zoo,hinge,r1,recommended", help=f"of {', '.join(CANDIDATES)}")
    options = parser.parse_args()

    names = options.candidates.split(",")
    unknown = [name for name in names if name not in CANDIDATES]
    if unknown:
        parser.error(f"there is no candidate {unknown[0]!r}; there are {', '.join(CANDIDATES)}")
    results = []
    for seed in range(options.seeds):
        for name in names:
            results.append(compared(name, seed, options))
            (options.out / "table.md").write_text(table(results, options))
    print((options.out / "table.md").read_text())


def compared(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure a candidate, or read an earlier result."""
    folder = options.out / f"{name}-{seed}-{options.minutes:g}min"
    folder.mkdir(parents=True, exist_ok=True)
    recipe, settings = CANDIDATES[name]
    common = {"resolution": options.resolution, "width": options.width, "seed": seed, "threads": 1, "device": "cpu"}
    settings = common | {"ticks_per_evaluation": 0} | settings
    plan = _once(folder / "plan.json", lambda: _planned(recipe, settings, options))
    spent = _once(folder / "training.json", lambda: _trained(recipe, settings, plan, folder, options))
    figures = _once(folder / "metrics.json", lambda: _measured(folder / "run", options))
    return {"name": name, "seed": seed} | plan | spent | figures


def _once(path: Path, work: Any) -> dict[str, Any]:
    """Read the result of finished work, or do it and store its result."""
    if not path.exists():
        found = work()
        path.write_text(json.dumps(found, indent=1) + "\n")
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def _planned(recipe: str, settings: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        rate = pool.submit(images_per_core_second, recipe, dict(settings), options.data).result()
    return {"images_per_core_s": round(rate, 1), "kimg": round(rate * 60 * options.minutes / 1000, 3)}


def images_per_core_second(recipe: str, settings: Mapping[str, Any], data: str) -> float:
    """Measure a recipe's speed in CPU time; to be called in a new process."""
    config = make_config(recipe, {"data": data} | settings)
    images = load_images(data, resolution=config.resolution)
    device = pick_device("cpu")
    config = resolve_settings(config, images, device)
    training = Training.start(config, device, c_dim=len(images.class_names) if config.conditional else 0)
    loader = Loader(images, seed=config.seed, labels=bool(config.conditional), device=device)

    def steps(n: int) -> int:
        first = training.shown
        for _ in range(n):
            shown, size = training.shown, config.batch_size
            batches = [loader.batch(start, size) for start in range(shown, shown + training.images_a_step, size)]
            training.step(batches, loader.fresh_batch(shown, size) if training.needs_fresh_batch else None)
        return training.shown - first

    steps(4)
    started = time.process_time()
    return steps(MEASURED_STEPS) / (time.process_time() - started)


def _trained(
    recipe: str, settings: Mapping[str, Any], plan: Mapping[str, Any], folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pairs = settings | {"kimg_per_tick": max(1.0, plan["kimg"] / 8)}
    sets = [word for key, value in pairs.items() for word in ("--set", f"{key}={as_typed(value)}")]
    _gan_serve(
        "train", "--recipe", recipe, "--data", options.data, "--run-dir", folder / "run", "--kimg", plan["kimg"],
        *sets, "--quiet", "--resume",
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"core_minutes": round(seconds / 60, 2)}  # of the last call, if the run was interrupted


def _measured(run: Path, options: argparse.Namespace) -> dict[str, Any]:
    printed = _gan_serve(
        "evaluate", run, "--data", options.data, "--features", options.features, "--images", options.images,
        "--no-dial", "--no-pairs", "--json", "--quiet",
    )  # fmt: skip
    figures: dict[str, Any] = json.loads(printed)
    return figures


def _gan_serve(*words: object) -> str:
    command = [sys.executable, "-m", "gan_serve.cli", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def table(results: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> str:
    """Return the results as Markdown, the best distance first."""
    figures = [key for key in results[0] if key.startswith(("fd", "precision", "recall", "label_agreement"))]
    other = ("_at_", "floor", "class", "balanced", "of_real")  # parts of the names of what the table leaves out
    figures = [key for key in figures if isinstance(results[0][key], float) and not any(part in key for part in other)]
    distance = next(key for key in figures if key.startswith("fd"))
    columns = ("name", "seed", "kimg", "images_per_core_s", "core_minutes", *figures)
    rows = sorted(results, key=lambda result: result.get(distance, float("inf")))
    lines = [
        f"{options.data} {options.resolution}x{options.resolution}, width {options.width:g}, {options.minutes:g} "
        f"core-minutes a run on {describe_machine(pick_device('cpu'), Processes())}; "
        f"`{' '.join(['python', 'benchmarks/recipes.py', *sys.argv[1:]])}`",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
