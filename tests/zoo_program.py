"""docs/zoo.py as a module, and a zoo of two checkpoints for it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from click.testing import CliRunner, Result
from conditional_checkpoint import write_conditional
from tiny_checkpoint import seal, write_checkpoint

from gan_serve.images.png import encode_png

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "docs" / "zoo.py"

TOML = """
[tiny]
data = "photos"
recipe = "dcgan-28"
kimg = 3
set = { width = 0.5, flip = true, holdout = 0.1 }
export = { snapshot = "best" }
licence = "MIT"
in_wheel = true
note = "Noise."
must = [
    { metric = "precision10k_cnn_test", at_least = 0.7 },
    { metric = "sharp_seeds", over = "sharp_train", at_least = 0.9, at_most = 1.1 },
    { metric = "never_measured", at_least = 1 },
]
must_see = ["nothing at all"]

[conditional]
data = "photos with spaces"
labels = "labels.csv:kind"
recipe = "cgan"
licence = "none"
in_wheel = false
note = "Grey."

[absent]
data = "photos"
recipe = "cgan"
licence = "none"
in_wheel = false
note = "Nothing."
"""


def load_program() -> ModuleType:
    """Return docs/zoo.py as a module; it imports its neighbours as a program does."""
    sys.path.insert(0, str(PROGRAM.parent))
    spec = importlib.util.spec_from_file_location("zoo", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["zoo"] = module  # pydantic looks there for the names in annotations
    spec.loader.exec_module(module)
    return module


def write_zoo(folder: Path) -> Path:
    """Write a zoo of two checkpoints, and one that is not there."""
    (folder / "zoo.toml").write_text(TOML)
    tiny = write_checkpoint(folder / "checkpoints" / "tiny")
    metrics = {"fd10k_cnn_test": 12.5, "precision10k_cnn_test": 0.5, "sharp_seeds": 10.0, "sharp_train": 10.5}
    (tiny / "metrics.json").write_text(json.dumps(metrics | {"fd2k_cnn_test_truncation0.5": 99.0}))
    (tiny / "neighbours.png").write_bytes(encode_png(np.full((20, 30, 1), 7, np.uint8)))
    card = "---\nlicense: mit\n---\n# tiny\n\n## Training\n- Two hours on a toaster.\n\n## Figures\nnone\n"
    (tiny / "README.md").write_text(card)
    seal(tiny)
    (folder / "checkpoints" / "conditional").mkdir()
    write_conditional(folder / "checkpoints" / "conditional")
    return folder


def run(zoo: ModuleType, *words: object) -> Result:
    return CliRunner().invoke(zoo.main, [str(word) for word in words])
