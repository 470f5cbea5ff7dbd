"""Render the images of the set `bricks` in shards that survive an interruption, and join them into its files."""

from __future__ import annotations

import csv
import hashlib
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import mitsuba as mi
import numpy as np
import scene
from kinds import KINDS

COUNTS = {"train": 40_000, "test": 6_000}
FIRST = {"train": 0, "test": 40_000}  # the index of an image is its seed
SHARD = 500


def shards_of(split: str, count: int) -> list[range]:
    """Return the indices of each shard of a split's first ``count`` images."""
    end = FIRST[split] + count
    return [range(start, min(start + SHARD, end)) for start in range(FIRST[split], end, SHARD)]


def render_missing(folder: Path, shards: Sequence[range], workers: int) -> None:
    """Render the shards that no earlier call has rendered, in ``workers`` processes, and print the progress."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [indices for indices in shards if not shard_file(folder, indices).is_file()]
    if not missing:
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:  # Mitsuba has threads, so no fork
        for done in as_completed([pool.submit(render_shard, folder, indices) for indices in missing]):
            done.result()
            there = sum(shard_file(folder, indices).is_file() for indices in shards)
            print(f"{there} of {len(shards)} shards are rendered", flush=True)


def render_shard(folder: Path, indices: range) -> None:
    """Write the images of one shard atomically."""
    mi.set_log_level(mi.LogLevel.Error)
    images = np.stack([scene.render(index) for index in indices])
    unfinished = folder / f"{indices.start:05}.{os.getpid()}.part"
    with unfinished.open("wb") as file:
        np.save(file, images)
    unfinished.replace(shard_file(folder, indices))


def shard_file(folder: Path, indices: range) -> Path:
    """Return the path of a shard."""
    return folder / f"{indices.start:05}-{indices.stop:05}.npy"


def shards_folder(out: Path) -> Path:
    """Return the folder of the shards, which is another one for a changed program or another version of a package."""
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("kinds.py", "scene.py"))
    versions = " ".join(version(package) for package in ("mitsuba", "drjit", "manifold3d"))
    return out / f"shards-{hashlib.sha256(code + versions.encode()).hexdigest()[:12]}"


def join(folder: Path, split: str, count: int, out: Path) -> None:
    """Write ``<split>.npz`` (images, labels, class_names) and its table ``<split>.csv``, a row for each image."""
    shards = shards_of(split, count)
    images = np.concatenate([np.load(shard_file(folder, indices)) for indices in shards])
    rows = [{"image": f"bricks/{index:05}", **asdict(scene.view(index))} for indices in shards for index in indices]
    class_names = [kind.name for kind in KINDS]
    labels = np.array([class_names.index(row["kind"]) for row in rows], dtype=np.int64)
    with (out / f"{split}.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    unfinished = out / f"{split}.part.npz"  # np.savez adds the suffix if it is missing
    np.savez(unfinished, images=images, labels=labels, class_names=np.array(class_names))
    unfinished.replace(out / f"{split}.npz")
