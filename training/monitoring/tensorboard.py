"""Write scalars and grids for TensorBoard, where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_serve.images.pixels import UInt8Array


class TensorBoard:
    """Scalars and grids as TensorBoard shows them; a step is a real image."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, record: Mapping[str, Any], sheet: UInt8Array) -> None:
        """Write the scalars of ``record``, the findings of its diagnosis, and the grid ``sheet`` uint8 [H, W, C]."""
        step = round(record["kimg"] * 1000)
        for name, value in record.items():
            if isinstance(value, int | float) and name != "kimg":
                self._writer.add_scalar(name, value, step)
        for finding in record.get("doctor", ()):
            self._writer.add_text("doctor", finding, step)
        self._writer.add_image("grid", sheet, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


def open_tensorboard(run_dir: Path, shown: int) -> TensorBoard | None:
    """Open a writer into ``tensorboard/``; None where TensorBoard is not installed.

    A run that resumes after ``shown`` images hides the events after them.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    folder = str(run_dir / "tensorboard")
    return TensorBoard(SummaryWriter(folder, purge_step=shown + 1 if shown else None))
