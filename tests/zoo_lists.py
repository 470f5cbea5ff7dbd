"""The checkpoints of the project, and those in the wheel and the bento, from their manifest."""

from __future__ import annotations

import tomllib
from pathlib import Path

from gan_serve.checkpoint.bundled import manifest
from gan_serve.checkpoint.config import WEIGHTS_FILE

ROOT = Path(__file__).parents[1]
CHECKPOINTS = ROOT / "gan_serve" / "checkpoints"
ENTRIES = tomllib.loads((ROOT / "docs" / "zoo.toml").read_text())
ZOO = {name: entry for name, entry in ENTRIES.items() if (CHECKPOINTS / name).is_dir()}  # not those yet to be trained
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
