"""Log a run to Weights & Biases with its own client, where a project is named."""

from __future__ import annotations

import importlib.util
import math
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_serve.atomic_files import write_atomically
from gan_serve.errors import InvalidOption
from gan_serve.images.pixels import UInt8Array

ID_FILE = "wandb-id"  # a resumed run continues under the same id


def check_wandb() -> None:
    """Raise ``InvalidOption`` where the client is not installed, before anything takes time."""
    if importlib.util.find_spec("wandb") is None:
        raise InvalidOption("Weights & Biases needs wandb, which is not installed.", "pip install wandb")


class WandbLog:
    """Figures and grids of a run in a project of Weights & Biases; the horizontal axis is ``images``.

    Args:
        project: the name of the project. run_dir: the folder of the run; the client writes to ``wandb/`` in it.
        config: the settings of the run.

    Raises:
        InvalidOption: wandb is not installed, or its server is not reached.
    """

    def __init__(self, project: str, run_dir: Path, config: Mapping[str, Any]) -> None:
        check_wandb()
        import wandb

        known = run_dir / ID_FILE
        if not known.exists():
            write_atomically(known, secrets.token_hex(4))
        try:
            self._run = wandb.init(
                project=project,
                name=run_dir.name,
                id=known.read_text(),
                resume="allow",
                dir=str(run_dir),  # wandb 0.19 takes no path
                config=dict(config),
            )
        except (wandb.errors.Error, OSError) as error:
            raise InvalidOption(
                f"Weights & Biases refuses the run: {error}", "Run `wandb login` first, or set WANDB_MODE=offline."
            ) from error
        self._run.define_metric("*", step_metric="images")
        self._image = wandb.Image

    def write(self, record: Mapping[str, Any], sheet: UInt8Array) -> None:
        """Write the finite figures of ``record``, and the grid ``sheet`` uint8 [H, W, C]."""
        figures = {
            name: value for name, value in record.items() if isinstance(value, int | float) and math.isfinite(value)
        }
        pixels = sheet[:, :, 0] if sheet.shape[2] == 1 else sheet
        self._run.log(figures | {"images": round(record["kimg"] * 1000), "grid": self._image(pixels)})
        for finding in record.get("doctor", ()):
            self._run.alert("doctor", finding)

    def close(self) -> None:
        """Wait until everything is written or sent."""
        self._run.finish()
