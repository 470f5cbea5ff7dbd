"""Describe checkpoints for a terminal: ``gan-serve models`` and ``info``."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gan_serve.checkpoint.bundled import manifest
from gan_serve.checkpoint.config import PRECISION_FILES, AnyConfig, TranslatorConfig, describe, precisions

SPEED_SECONDS = 0.3  # duration of a measurement, about
SPEED_BATCH = 16
LABELS_SHOWN = 6
LARGEST_METRIC = 1e9  # a checkpoint of others may claim anything
# A word for each range of the ratio of the Fréchet distance to its floor, with the upper limit of the range.
WORDS = ((2.0, "close to real images"), (10.0, "good"), (50.0, "fair"), (float("inf"), "weak"))


def facts_of(config: AnyConfig) -> dict[str, Any]:
    """Return the facts that ``gan-serve models`` shows of a checkpoint."""
    entry = manifest().get(config.name)
    text = entry.description.partition(". ")[0].rstrip(".") + "." if entry else ""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)  # a link of Markdown, as its text
    return {
        "name": config.name,
        "description": text,
        "img_resolution": config.img_resolution,
        "img_channels": config.img_channels,
        "class_names": [] if isinstance(config, TranslatorConfig) else list(config.class_names),
        "precisions": list(precisions(config)),
        "megabytes": round(config.files[PRECISION_FILES["fp32"]].size / 1e6, 1),
        "license": config.license,
    }


def table_of_models(configs: Iterable[AnyConfig]) -> list[str]:
    """Return the lines of an aligned table, a line for each checkpoint."""
    rows = []
    for config in configs:
        facts = facts_of(config)
        classes = len(facts["class_names"])
        labels = f"{classes} labels" if classes else "no labels"
        kind = describe(config).partition(",")[0]
        size = f"{facts['megabytes']} MB"
        rows.append(
            [config.name, kind, labels, ",".join(facts["precisions"]), size, facts["license"], facts["description"]]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def summary(config: AnyConfig, directory: Path, metrics: Mapping[str, Any], model: str) -> list[str]:
    """Return ten lines about a checkpoint: its images, size, speed on this machine, licence, quality, what to try."""
    facts = facts_of(config)
    class_names = facts["class_names"]
    names = ", ".join(class_names[:LABELS_SHOWN]) + (", ..." if len(class_names) > LABELS_SHOWN else "")
    sizes = ", ".join(
        f"{precision} {config.files[PRECISION_FILES[precision]].size / 1e6:.1f} MB" for precision in precisions(config)
    )
    data = config.training_data
    label = f' --label "{class_names[0]}"' if class_names else ""
    rows = {
        config.name: facts["description"] or f"{describe(config)}, family {config.architecture.family}",
        "Images": describe(config),
        "Labels": names or "none",
        "Size": sizes,
        "Speed here": "" if isinstance(config, TranslatorConfig) else speed(directory),
        "Trained on": data.name if data else "not recorded",
        "Licence": config.license,
        "Quality": quality(metrics),
        "Try": f"gan-serve generate {model} --seeds 0-15{label} --out grid.png",
        "More": f"gan-serve info {model} --all",
    }
    if isinstance(config, TranslatorConfig):
        del rows["Labels"], rows["Speed here"], rows["Quality"]
        rows["Try"] = f"gan-serve translate {model} IMAGE --out-dir translated"
    width = max(map(len, rows))
    return [f"{name:<{width}}  {value}" for name, value in rows.items()]


def speed(directory: Path) -> str:
    """Return the images per second of a checkpoint on this machine, measured in less than a second."""
    from gan_serve.errors import GanServeError
    from gan_serve.generator import Generator

    try:
        generator = Generator.from_pretrained(directory, device="cpu")
    except GanServeError as error:
        return f"not measured: {error.message}"
    generator.sample(SPEED_BATCH, seed=0)
    images, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < SPEED_SECONDS:
        generator.sample(SPEED_BATCH, seed=0)
        images += SPEED_BATCH
    return f"{images / seconds:,.0f} images per second on one thread (fp32)"


def quality(metrics: Mapping[str, Any]) -> str:
    """Return the quality in words, from the metrics of ``gan-serve evaluate``.

    The word rates the ratio of the Fréchet distance to its floor, the distance between two sets of real images.

    >>> quality({"fd10k_cnn-a_test": 0.2, "fd_floor10k_cnn-a_test": 0.05, "precision10k_cnn-a_test": 0.8})
    'good: FD 0.2 (between real images: 0.05), precision 0.8 (cnn-a, 10k images, test)'
    """
    found: dict[str, float] = {}
    protocol = ""
    for name, value in metrics.items():
        match = re.fullmatch(r"(fd|fd_floor|kd|precision|recall|coverage)(\d+k?)_([\w-]+?)_(test|holdout|train)", name)
        if match and isinstance(value, int | float) and abs(value) < LARGEST_METRIC:  # no NaN either
            found[match[1]] = float(value)
            protocol = f"{match[3]}, {match[2]} images, {match[4]}"
    parts = []
    if "fd" in found and found.get("fd_floor", 0) > 0:
        ratio = found["fd"] / found["fd_floor"]
        word = next((text for limit, text in WORDS if ratio < limit), WORDS[-1][1])
        parts.append(f"{word}: FD {found['fd']:.2g} (between real images: {found['fd_floor']:.2g})")
    else:
        parts += [f"{stem.upper()} {found[stem]:.2g}" for stem in ("fd", "kd") if stem in found]
    parts += [f"{stem} {found[stem]:.2g}" for stem in ("precision", "recall", "coverage") if stem in found]
    return f"{', '.join(parts)} ({protocol})" if parts else "not measured; run gan-serve evaluate"
