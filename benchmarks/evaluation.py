"""Measure the duration of an evaluation of 10,000 images of 28x28, with and without real features in the cache.

`make bench-evaluation` writes the result to benchmarks/evaluation.md. It needs Fashion-MNIST.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import onnxruntime
import torch
from timing import describe_cpu

from gan_serve.exports.evaluate_model import RealImages, evaluate_model
from gan_serve.training.evaluation.evaluate import EvaluationOptions

MODEL, DATA = "fashion-dcgan", "fashion-mnist"
ROUNDS = 2


def main() -> None:
    rows = []
    for what, options in (
        ("all metrics", EvaluationOptions(truncations=False, quiet=True)),
        ("all metrics, also over truncation (8,000 images more)", EvaluationOptions(quiet=True)),
    ):
        first, again = [], []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as cache:
                os.environ["XDG_CACHE_HOME"] = cache
                first.append(seconds(options))
                again.append(seconds(options))
        rows.append(f"| {what} | {spread(first)} | {spread(again)} |")
    lines = [
        "# Evaluation",
        "",
        f"Written by `make bench-evaluation` (benchmarks/evaluation.py): `gan-serve evaluate {MODEL} --data {DATA}`, "
        "10,000 images of 28x28 against 10,000 real ones, features `cnn-fashion`; "
        f"{os.cpu_count()} cores of {describe_cpu()}; ONNX Runtime {onnxruntime.__version__}, "
        f"torch {torch.__version__}. Fastest and slowest of {ROUNDS} rounds.",
        "",
        "| | the first time, s | features of the real images in the cache, s |",
        "|---|---|---|",
        *rows,
    ]
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "evaluation.md").write_text(text)
    print(text)


def seconds(options: EvaluationOptions) -> float:
    started = time.perf_counter()
    evaluate_model(MODEL, RealImages(DATA), options=options)
    return time.perf_counter() - started


def spread(times: list[float]) -> str:
    return f"{min(times):.0f} to {max(times):.0f}"


if __name__ == "__main__":
    main()
