"""Which checkpoints the project has, and which of them the wheel and the bento hold: their manifest says it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from gan_serve.checkpoint.bundled import manifest
from gan_serve.checkpoint.config import WEIGHTS_FILE

ROOT = Path(__file__).parents[1]
CHECKPOINTS = ROOT / "gan_serve" / "checkpoints"
ZOO = tomllib.loads((ROOT / "docs" / "zoo.toml").read_text())
IN_WHEEL = {name for name, entry in manifest().items() if entry.in_wheel}
NOT_IN_WHEEL = set(manifest()) - IN_WHEEL
PACKED = {name for name in IN_WHEEL if (CHECKPOINTS / name).is_dir()}  # of those, what lies in the checkout


def packed_files() -> set[Path]:
    """The files of checkpoints that the wheel and the bento hold, as paths in the checkout."""
    return {
        path.relative_to(ROOT)
        for name in PACKED
        for path in (CHECKPOINTS / name).iterdir()
        if path.name != WEIGHTS_FILE
    }
