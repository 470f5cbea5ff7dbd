"""Measure the images per core-second of every recipe in two versions of the code, which take turns.

    git worktree add ../before v0.1.0
    python benchmarks/recipe_speed.py ../before .           writes benchmarks/recipe_speed.md

Both train on the same images with one thread, and with the batch, precision and networks of their version; recipes of
64 pixels have half width. CPU time is measured, so that other work on the machine has little effect.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# Runs in both versions. Prints images per core-second, or nothing if there is no such recipe.
MEASURE = """
import sys, time
# An editable install would find modules of this checkout first.
sys.meta_path = [finder for finder in sys.meta_path if "Editable" not in getattr(finder, "__name__", "")]
from gan_serve.training import loop
from gan_serve.training.config import make_config
from gan_serve.training.data.load import load_images
from gan_serve.training.data.batch_loader import Loader
from gan_serve.training.recipes import recipes
from gan_serve.training.step import Training
name, steps, source = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if name not in recipes():
    sys.exit()
wide = recipes()[name].config["resolution"] < 64
settings = {"data": source, "device": "cpu", "threads": 1} | ({} if wide else {"width": 0.5})
config = make_config(name, settings)
data = load_images(source, resolution=config.resolution)
device = loop.pick_device("cpu")
resolve_settings = getattr(loop, "resolve_settings", None) or getattr(loop, "found_here", None) or loop._found_here
config = resolve_settings(config, data, device)
training = Training.start(config, device, c_dim=10 if config.conditional else 0)
training.shown = round(config.kimg * 1000 / 2) // config.batch_size * config.batch_size
loader = Loader(data, seed=0, labels=bool(config.conditional), device=device)
def step():
    shown, size = training.shown, config.batch_size
    batches = [loader.batch(start, size) for start in range(shown, shown + training.images_a_step, size)]
    fresh = [loader.fresh_batch(shown, size)] if getattr(training, "needs_fresh_batch", False) else []
    training.step(batches, *fresh)
step()
started, first = time.process_time(), training.shown
for _ in range(steps):
    step()
print((training.shown - first) / (time.process_time() - started), config.bf16)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout")
    parser.add_argument("after", type=Path, help="another one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--steps", type=int, default=8, help="steps of a turn; a multiple of r1_every includes its penalties"
    )
    parser.add_argument("--data", default="fashion-mnist", help="labelled images of ten classes")
    parser.add_argument("--recipes", default="", help="names, joined by commas; all of the second checkout if left out")
    options = parser.parse_args()

    names = options.recipes.split(",") if options.recipes else recipe_names(options.after)
    rows = []
    for name in names:
        speeds: list[list[float]] = [[], []]
        for turn in range(options.rounds):
            order = (0, 1) if turn % 2 == 0 else (1, 0)
            for side in order:
                measured = measure((options.before, options.after)[side], name, options)
                if measured is not None:
                    speeds[side].append(measured)
        cells = [f"{statistics.median(values):.0f}" if values else "-" for values in speeds]
        ratios = [after / before for before, after in zip(*speeds, strict=False)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
        rows.append(f"| {name} | {cells[0]} | {cells[1]} | {ratio} |")
        print(rows[-1], flush=True)
    command = " ".join(["python", "benchmarks/recipe_speed.py", "BEFORE", "AFTER", *sys.argv[3:]])
    lines = [
        "# Images a core-second of every recipe, before and after",
        "",
        f"Written by `{command}`; medians of {options.rounds} turns of {options.steps} steps, and the least and the "
        f"greatest ratio. Load average at the end: {os.getloadavg()[0]:.1f}.",
        "",
        "| recipe | before | after | ratio |",
        "|---|---|---|---|",
        *rows,
    ]
    (Path(__file__).parent / "recipe_speed.md").write_text("\n".join(lines) + "\n")


def recipe_names(checkout: Path) -> list[str]:
    return sorted(path.stem for path in (checkout / "training" / "recipes").glob("*.toml"))


def measure(checkout: Path, recipe: str, options: argparse.Namespace) -> float | None:
    """Return images a core-second of a recipe in a checkout; None where it has no such recipe."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "gan_serve")  # the tree as it is installed; pyproject.toml maps the folders like this
        package.mkdir()
        for entry in (checkout / "gan_serve").resolve().iterdir():
            (package / entry.name).symlink_to(entry)
        for name in ("training", "exports"):
            (package / name).symlink_to((checkout / name).resolve())
        environment = os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-c", MEASURE, recipe, str(options.steps), options.data]
        printed = subprocess.run(
            words, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        ).stdout
    return float(printed.split()[0]) if printed else None


if __name__ == "__main__":
    main()
