"""Compare translators with simpler ways to do the same, on held-out images; the figures go to translation.md.

    python benchmarks/translation.py "Super-resolution" "pixel loss alone=RUN:SNAPSHOT" "then adversarial=RUN"
    python benchmarks/translation.py "Outlines to avatars" "L1 alone=runs/paint-l1" "pix2pix=runs/avatars-paint"
    python benchmarks/translation.py "Style" "cyclegan=runs/avatars-style"

Each run is measured as ``gan-serve export`` measures it, at its last snapshot or at the file after the colon (a run
with ``--set keep_snapshots=1000`` keeps those of its first phase). Inputs of as many channels as the targets are also
compared, resized by repeating pixels and bicubically. docs/zoo.toml has the settings of the runs; "L1 alone" is the
run of avatars-paint with ``--set gan_weight=0``.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch

from gan_serve.exports.export_translator import evaluate_trained
from gan_serve.exports.report import table
from gan_serve.training.translation.load import TrainedTranslator, load_trained_translator

REPORT = Path(__file__).with_name("translation.md")
HEADING = "# Translators compared\n\nWritten by translation.py, which explains the measurements.\n\n"
NAME = re.compile(r"(?P<metric>.+?)_(?P<images>\d+)_(?P<split>train|test|holdout)(?:_(?P<of>\w+))?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("title", help="of the section in translation.md, which is replaced")
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN[:SNAPSHOT]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, float]] = {}
    lines = []
    for each in options.runs:
        name, _, place = each.partition("=")
        run, _, snapshot = place.partition(":")
        trained = load_trained_translator(Path(run), snapshot or None)
        metrics, _ = evaluate_trained(trained)
        for of, found in by_image(metrics).items():
            rows[of or name] = found
        lines.append(f"- {name}: {described(trained, metrics)}")
    columns = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    cells = [
        (name, *(f"{row[metric]:.4g}" if metric in row else "" for metric in columns)) for name, row in rows.items()
    ]
    section = "\n".join([*lines, "", table(("", *columns), cells)])
    print(section)
    write_section(options.title, section)


def by_image(metrics: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return metrics by what they were measured on (the outputs: an empty name), then by their name.

    >>> by_image({"psnr_9_test": 25.0, "psnr_9_test_bicubic": 21.0})
    {'': {'psnr': 25.0}, 'bicubic': {'psnr': 21.0}}
    """
    rows: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        if match := NAME.fullmatch(name):
            rows.setdefault(match["of"] or "", {})[match["metric"]] = value
    return rows


def described(trained: TrainedTranslator, metrics: dict[str, float]) -> str:
    """Return the data, the length and the machines of a run, and the images that it was measured on."""
    match = NAME.fullmatch(next(iter(metrics)))
    assert match
    return (
        f"recipe {trained.config.recipe}, {trained.shown / 1000:,.1f} thousand images of {trained.info.data.name} in "
        f"{trained.seconds / 60:.0f} minutes on {', then '.join(trained.info.machines)}; measured on {match['images']} "
        f"images ({match['split']})."
    )


def write_section(title: str, text: str) -> None:
    """Replace the section of this title in the report, or append it."""
    before = REPORT.read_text() if REPORT.exists() else ""
    sections = dict(section.split("\n", 1) for section in before.split("\n## ")[1:])
    sections[title] = text
    REPORT.write_text(HEADING + "\n\n".join(f"## {name}\n\n{part.strip()}" for name, part in sections.items()) + "\n")


if __name__ == "__main__":
    main()
