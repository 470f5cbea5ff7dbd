"""Plot ``curves.png`` from the log of a run. Needs matplotlib, which is imported when a plot is made."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_serve.atomic_files import write_atomically
from gan_serve.training.monitoring.run_log import read_log


class Panel(NamedTuple):
    """One pair of axes of ``curves.png``: the scalars to plot, and a horizontal line to compare them with."""

    label: str
    names: tuple[str, ...]
    level: float | None = None
    level_label: str = ""
    limits: tuple[float, float | None] | None = None


def panels(records: Sequence[Mapping[str, Any]], *, loss: str, data_diversity: float) -> list[Panel]:
    """Return the panels for which the log has values."""
    is_bce = loss in ("non-saturating", "saturating", "relativistic")
    equilibrium = math.log(2) if is_bce else None
    every_name = sorted({name for record in records for name in record})
    quality = tuple(name for name in every_name if name.startswith(("swd", "fid", "fd")) and not name.endswith("px"))
    found = [
        Panel("loss", ("d_loss", "c_loss", "c_wass_loss", "g_loss"), equilibrium, "equilibrium, ln 2"),
        Panel("value V(D, G)", ("value",), -math.log(4), "equilibrium, -log 4"),
        Panel("accuracy", ("d_real_acc", "d_fake_acc", "d_acc", "g_acc"), 0.5, "equilibrium, 0.5", (0, 1)),
        Panel("penalty", ("c_gp", "d_gp", "d_r1", "d_r2")),
        Panel("diversity, grey levels", ("diversity",), data_diversity or None, "training images", (0, None)),
        Panel("gradient norm", ("d_grad_norm", "g_grad_norm")),
        Panel("quality, lower is better", quality),
    ]
    return [panel for panel in found if any(name in every_name for name in panel.names)]


def write_curves(run_dir: Path, *, loss: str = "non-saturating", data_diversity: float = 0.0) -> None:
    """Plot ``curves.png`` from the log; without matplotlib, do nothing.

    Args:
        run_dir: the run's folder.
        loss: as in the config; the cross-entropies have an equilibrium at ln 2.
        data_diversity: diversity of the training images in grey levels, plotted beside the generator's; 0 if unknown.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = read_log(run_dir)
    shown = panels(records, loss=loss, data_diversity=data_diversity)
    if not shown:
        return
    epoch_kimg = next((record["kimg"] / record["epoch"] for record in reversed(records) if record.get("epoch")), 0.0)
    rows = math.ceil(len(shown) / 2)
    figure = Figure(figsize=(10, 3.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for number, panel in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, 2, number)
        for name in panel.names:
            points = [(record["kimg"], record[name]) for record in records if name in record]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, marker="o" if len(points) == 1 else None)
        if panel.level is not None:
            axes.axhline(panel.level, color="gray", linestyle="--", label=panel.level_label)
        if panel.limits is not None:
            axes.set_ylim(*panel.limits)
        axes.set_xlabel("kimg (thousands of real images shown)")
        if epoch_kimg:
            both_ways = (lambda kimg: np.asarray(kimg) / epoch_kimg, lambda epoch: np.asarray(epoch) * epoch_kimg)
            epochs = axes.secondary_xaxis("top", functions=both_ways)
            epochs.set_xlabel("epochs")
        axes.set_ylabel(panel.label)
        axes.legend(loc="upper right")
    write_atomically(run_dir / "curves.png", lambda file: figure.savefig(file, format="png", dpi=100))
