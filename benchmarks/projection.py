"""Measure how near projection comes: ``python benchmarks/projection.py``.

For each bundled model, ten images of its own (without their labels), and four real images that its training did
not see. Each picture is one call on one thread; seconds are those of the processor, so that other programs on the
machine do not count. Memory is the largest resident size of ``gan-serve project`` with one picture. Results are kept in
build/projection, and a later call continues there; those of another checkpoint of the same name are measured again. At
the end the figures go to benchmarks/projection.md and docs/project.md, the pictures to docs/projection/, and the
medians to training/projection/known_psnr.json, which ``gan-serve project`` shows.

    python benchmarks/projection.py --data celeba64=FOLDER --data bricks64_zoom=FILE.npz
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gan_serve
from gan_serve.checkpoint.config import PRECISION_FILES
from gan_serve.errors import DataError
from gan_serve.images.captions import enlarge_small, with_row_names
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, to_pil
from gan_serve.training.data.image_set import ImageSet
from gan_serve.training.data.load import load_images
from gan_serve.training.projection.known import KNOWN_FILE, KnownPsnr
from gan_serve.training.projection.project import project
from gan_serve.training.projection.sheet import STEPS, shown_steps

ROOT = Path(__file__).parents[1]
STATE = ROOT / "build" / "projection"
DOCUMENT = ROOT / "docs" / "project.md"
MEASURED = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- end of measured -->)", re.DOTALL)
GENERATED, REAL = 10, 4
FIRST_SEED = 50_000  # far from those of the starts
GOAL = 30.0  # decibels
NOT_SHOWN = ("bricks64_zoom", "celeba64")  # their pictures may not be shared: figures only


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=gan_serve.list_models())
    parser.add_argument(
        "--data", action="append", default=[], metavar="NAME=SOURCE", help="where the images of a name are"
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="start no picture after this many seconds")
    parser.add_argument("--report", action="store_true", help="only write the files, from the results so far")
    options = parser.parse_args()
    torch.set_num_threads(1)
    STATE.mkdir(parents=True, exist_ok=True)
    sources = dict(each.split("=", 1) for each in options.data)
    end = time.monotonic() + options.seconds
    for model in () if options.report else options.models:
        measure(model, sources, end)
    report()


def measure(model: str, sources: dict[str, str], end: float) -> None:
    generator = gan_serve.Generator.from_pretrained(model)
    own = generator.sample(seeds=range(FIRST_SEED, FIRST_SEED + GENERATED))
    jobs = [("generated", place, own.pixels[place], own.labels and own.labels[place]) for place in range(GENERATED)]
    data = held_out(generator, sources)
    if data is not None:
        rows = np.linspace(0, len(data) - 1, REAL).astype(int)
        names = [data.class_names[data.labels[row]] if data.labels is not None else None for row in rows]
        jobs += [("real", place, data.images[row], names[place]) for place, row in enumerate(rows)]
    for kind, place, picture, label in jobs:
        path = STATE / f"{model}-{kind}-{place}.npz"
        if path.exists() and read(path)[0]["digest"] == generator.digest:
            continue
        if time.monotonic() > end:
            return
        start = time.process_time()
        found = project(model, picture)
        seconds = time.process_time() - start
        facts = {
            "model": model, "kind": kind, "psnr": float(found.psnr[0]), "seconds": seconds, "label": label,
            "found": found.labels and found.labels[0], "digest": found.digest, "data": data.name if data else "",
            "norm": float(np.linalg.norm(found.latents[0, : generator.z_dim])), "notes": found.notes,
        }  # fmt: skip
        way = np.stack([found.targets[0], *found.ways[0][shown_steps(len(found.ways[0]))]])
        np.savez_compressed(path, facts=json.dumps(facts), way=way)
        print(f"{model} {kind} {place}: {found.psnr[0]:.1f} dB, {seconds:.1f} s", flush=True)
    path = STATE / f"{model}.json"
    if not path.exists() or json.loads(path.read_text())["digest"] != generator.digest:
        megabytes = memory_of(model, own.pixels[0])
        path.write_text(json.dumps({"digest": generator.digest, "megabytes": megabytes}))
        print(f"{model}: {megabytes:.0f} MB", flush=True)


def memory_of(model: str, picture: UInt8Array) -> float:
    """Return the largest resident size of ``gan-serve project`` with one picture, on one thread, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        to_pil(picture).save(Path(folder, "picture.png"))
        command = [sys.executable, "-m", "gan_serve.cli", "project", model, "picture.png", "--out", "found.npz"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed.")
        return usage.ru_maxrss * 1024 / 1e6  # kilobytes on Linux


def read(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Return what was measured for a picture, and the images on the way to it."""
    with np.load(path) as arrays:
        return json.loads(str(arrays["facts"])), arrays["way"]


def held_out(generator: gan_serve.Generator, sources: dict[str, str]) -> ImageSet | None:
    """Return real images that the training of a model did not see; None where they are not on this machine."""
    trained_on = generator.config.training_data
    if trained_on is None:
        return None
    name, holdout = trained_on.name, trained_on.holdout
    try:
        return load_images(
            sources.get(name, name),
            split="holdout" if holdout else "test",
            resolution=generator.img_resolution,
            channels=generator.img_channels,
            labels=trained_on.labels,
            holdout=holdout,
        ).with_(name=name)
    except DataError as error:
        print(f"{generator.name}: no real images. {error.message}")
        return None


def report() -> None:
    results: dict[str, dict[str, list[tuple[dict[str, Any], np.ndarray]]]] = {}
    for model in gan_serve.list_models():
        for path in sorted(STATE.glob(f"{model}-*-*.npz"), key=lambda each: int(each.stem.rpartition("-")[2])):
            facts, way = read(path)
            results.setdefault(model, {}).setdefault(facts["kind"], []).append((facts, way))
    lines = [
        "| model | own images: median, least | at 30 dB or more | label found | seconds | real images: median, range "
        "| label found | seconds | MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    known = {}
    pictures = ROOT / "docs" / "projection"
    pictures.mkdir(exist_ok=True)
    for model, kinds in results.items():
        own, real = ([facts for facts, _ in kinds.get(kind, [])] for kind in ("generated", "real"))
        memory = STATE / f"{model}.json"
        megabytes = f"{json.loads(memory.read_text())['megabytes']:.0f}" if memory.exists() else ""
        lines.append(f"| {' | '.join([model, *cells_of_own(own), *cells_of_real(real), megabytes])} |")
        if len(own) == GENERATED:
            known[model] = known_psnr(model, own, real if len(real) == REAL else [])
        for kind, found in kinds.items():
            shown = found[:3] if kind == "generated" else found
            sheet = grid(np.concatenate([way for _, way in shown]), STEPS + 1)
            names = [f"{facts['psnr']:.1f} dB" for facts, _ in shown]
            picture = with_row_names(enlarge_small(sheet, shown[0][1].shape[2]), names)
            if kind == kind_shown(real):
                to_pil(picture).save(pictures / f"{model}-{kind}.webp", quality=90)
    table = "\n".join(lines)
    Path(__file__).with_suffix(".md").write_text(
        "# Projection\n\n"
        f"`python benchmarks/projection.py`: {GENERATED} images of each model and {REAL} held-out real ones.\n"
        "The search does not get the labels.\n"
        f"One thread of {processor()}, torch {torch.__version__}, ONNX Runtime {runtime()}.\n"
        "Seconds are those of the processor for a picture, the median.\n"
        f"MB are the largest resident size of `gan-serve project` with one picture.\n\n{table}\n"
    )
    DOCUMENT.write_text(MEASURED.sub(lambda _: f"\n{table}\n\n", DOCUMENT.read_text()))
    as_json = {name: each.model_dump(exclude_none=True) for name, each in known.items()}
    KNOWN_FILE.write_text(json.dumps(as_json, indent=2) + "\n")
    print(table)


def kind_shown(real: list[dict[str, Any]]) -> str:
    """Return which pictures of a model are written: real ones where they may be shared, else its own images."""
    return "real" if real and real[0]["data"] not in NOT_SHOWN else "generated"


def cells_of_own(facts: list[dict[str, Any]]) -> list[str]:
    values = [each["psnr"] for each in facts]
    if not values:
        return ["not measured", "", "", ""]
    reached = f"{sum(value >= GOAL for value in values)} of {len(values)}"
    return [f"{np.median(values):.1f}, {min(values):.1f} dB", reached, labels_found(facts), seconds(facts)]


def cells_of_real(facts: list[dict[str, Any]]) -> list[str]:
    values = [each["psnr"] for each in facts]
    if not values:
        return ["not measured", "", ""]
    decibels = f"{np.median(values):.1f}, {min(values):.1f} to {max(values):.1f} dB ({len(values)} images)"
    return [decibels, labels_found(facts), seconds(facts)]


def known_psnr(model: str, own: list[dict[str, Any]], real: list[dict[str, Any]]) -> KnownPsnr:
    config = gan_serve.Generator.from_pretrained(model).config
    return KnownPsnr(
        digest=f"sha256:{config.files[PRECISION_FILES['fp32']].sha256}",
        generated=round(float(np.median([each["psnr"] for each in own])), 1),
        real=round(float(np.median([each["psnr"] for each in real])), 1) if real else None,
        data=config.training_data.name if real and config.training_data else "",
        images=len(real) or len(own),
    )


def labels_found(facts: list[dict[str, Any]]) -> str:
    labelled = [each for each in facts if each["label"] is not None and each["found"] is not None]
    return f"{sum(each['label'] == each['found'] for each in labelled)} of {len(labelled)}" if labelled else ""


def seconds(facts: list[dict[str, Any]]) -> str:
    return f"{np.median([each['seconds'] for each in facts]):.0f}" if facts else ""


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def runtime() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


if __name__ == "__main__":
    main()
