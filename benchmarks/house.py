"""Measure the code itself: lines, modules that a call passes, import circles, what an install brings, import time.

    python benchmarks/house.py

It writes ``benchmarks/house.md``. Modules are those of the package whose functions run, counted with ``sys.setprofile``
in every thread, after a first call has loaded everything.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FOLDERS = ("gan_serve", "training", "exports")
GENERATED = ROOT / "gan_serve" / "client" / "sync_client.py"  # from async_client.py
MODEL = "fashion-dcgan"
LONGEST, MOST = 400, 7  # lines of a file, parameters of a function
STARTS = 7  # of Python, of which the fastest counts


def sources() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if path != GENERATED]


def many_parameters() -> int:
    """Functions with more than seven parameters: all of them are public ones and commands, or ``make lint`` fails."""
    words = ["check", "--isolated", "--select", "PLR0913", "--config", f"lint.pylint.max-args={MOST}"]
    command = [sys.executable, "-m", "ruff", *words, "--output-format", "json", *FOLDERS]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return sum(Path(row["filename"]) != GENERATED for row in json.loads(found))


def circles() -> int:
    """Groups of modules that import each other, imports inside functions included."""
    import grimp
    import networkx

    subprocess.run(["make", "--silent", "build/tree"], cwd=ROOT, check=True)
    sys.path.insert(0, str(ROOT / "build" / "tree"))
    graph = grimp.build_graph("gan_serve", exclude_type_checking_imports=True)
    edges = [(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)]
    edges = [edge for edge in edges if "gan_serve" not in edge]  # the names of the public face are imported when used
    return sum(len(group) > 1 for group in networkx.strongly_connected_components(networkx.DiGraph(edges)))


@contextmanager
def passing(modules: set[str]) -> Iterator[None]:
    """Add the modules of the package whose functions run in the block."""

    def note(frame: Any, event: str, _: object) -> None:
        name = str(frame.f_globals.get("__name__", ""))
        if event == "call" and name.startswith("gan_serve."):
            modules.add(name)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def passed(call: Callable[[], object]) -> int:
    call()
    modules: set[str] = set()
    with passing(modules):
        call()
    return len(modules)


def of_a_request() -> int:
    from starlette.testclient import TestClient

    os.environ |= {"GAN_SERVE_MODELS": MODEL, "GAN_SERVE_LOG": "off"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        from gan_serve.service.app import create

        modules: set[str] = set()
        with passing(modules), TestClient(create(), base_url="http://localhost") as client:
            for seed in (2, 3):  # the first loads what is imported late
                modules.clear()
                client.post("/sample", json={"model": MODEL, "seed": seed}).raise_for_status()
            return len(modules)


def of_a_training_step() -> int:
    from gan_serve.training.config import make_config
    from gan_serve.training.loop import train
    from gan_serve.training.step import Training

    counts, advance = [], Training.advance
    with tempfile.TemporaryDirectory() as folder:

        def counted(self: Training, loader: Any) -> None:
            modules: set[str] = set()
            with passing(modules):
                advance(self, loader)
            counts.append(len(modules))

        Training.advance = counted  # type: ignore[method-assign]
        images = np.random.RandomState(0).randint(0, 256, (64, 8, 8, 1)).astype(np.uint8)
        np.savez(Path(folder) / "noise.npz", images=images)
        settings = {"data": f"{folder}/noise.npz", "resolution": 8, "width": 0.125, "batch_size": 16, "kimg": 0.1}
        train(make_config("dcgan-28", settings | {"ticks_per_evaluation": 0}), Path(folder) / "run", quiet=True)
    return counts[-1]


def installed() -> tuple[int, float]:
    """The packages that ``pip install gan-serve`` brings, in the versions of this environment, and their megabytes."""
    found, left = set(), ["gan-serve"]
    while left:
        name = re.sub("[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:
            print(f"not installed, so not counted: {name}")
            continue
        found.add(name)
        for requirement in map(Requirement, requirements):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(requirement.name)
    size = 0
    for name in found - {"gan-serve"}:
        for file in distribution(name).files or []:
            path = Path(str(file.locate()))
            size += path.stat().st_size if path.is_file() else 0
    return len(found) - 1, size / 1e6


def start_seconds(code: str) -> float:
    """Seconds of the processor that a program takes beyond an empty one."""
    fastest = []
    for program in ("pass", code):
        costs = []
        for _ in range(STARTS):
            before = os.times()
            subprocess.run([sys.executable, "-c", program], check=True)
            after = os.times()
            costs.append(after.children_user + after.children_system - before.children_user - before.children_system)
        fastest.append(min(costs))
    return fastest[1] - fastest[0]


def main() -> None:
    from gan_serve import generate

    lengths = {path: len(path.read_text().splitlines()) for path in sources()}
    packages, megabytes = installed()
    rows = {
        "lines of product code, without tests and the generated client": f"{sum(lengths.values()):,}",
        f"files over {LONGEST} lines": sum(length > LONGEST for length in lengths.values()),
        f"functions over {MOST} parameters, public ones and commands": many_parameters(),
        "modules that import each other": circles(),
        "modules passed by `generate()`": passed(lambda: generate(MODEL, seed=3, device="cpu")),
        "modules passed by a request (`POST /sample`)": of_a_request(),
        "modules passed by a training step (`dcgan-28`)": of_a_training_step(),
        "packages of `pip install gan-serve`": packages,
        "their megabytes, unpacked": f"{megabytes:.0f}",
        "seconds of the processor of `import gan_serve`": f"{start_seconds('import gan_serve'):.2f}",
        "with `gan_serve.generate`, which is imported when it is first used": (
            f"{start_seconds('import gan_serve; gan_serve.generate'):.2f}"
        ),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    text = f"# The code in figures\n`python benchmarks/house.py`\n\n| | |\n|---|---|\n{table}\n"
    (ROOT / "benchmarks" / "house.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
