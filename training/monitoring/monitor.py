"""Write the log, grids, curves and animation of a run, and show its progress."""

from __future__ import annotations

import importlib.util
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import nn

from gan_serve.atomic_files import write_atomically
from gan_serve.images.animation import encode_animation
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, from_pil
from gan_serve.images.png import encode_png
from gan_serve.training.config import TrainConfig
from gan_serve.training.monitoring.grids import ROW_SEEDS, grid_inputs
from gan_serve.training.monitoring.run_log import read_log
from gan_serve.training.sample_images import sample_images
from gan_serve.training.tick_means import TickMeans

GIF_FRAMES = 60
GIF_WIDTH = 544  # pixels; a row of eight images of 64 fits as it is
GIF_FPS = 8

ROOM = 50  # a picture is written again after 50 times its last duration: 2 % of the run's time
FIRST_COST = 0.2  # seconds, assumed before the first measurement

Record = Mapping[str, Any]


class Monitor:
    """Writes a run's log, grids, curves and animation, and moves its progress bar.

    A tick costs a record of the log and a grid; curves and animation take at most 2 % of the time, and are brought up
    to date at the end.

    Args:
        run_dir: the run's folder, with the log of earlier ticks.
        config: of the run. shown: real images shown so far.
        data_diversity: of the training images, for the curves; 0 if unknown.
        quiet: no progress bar, and nothing on the terminal.
    """

    def __init__(
        self, run_dir: Path, config: TrainConfig, shown: int, *, data_diversity: float = 0.0, quiet: bool
    ) -> None:
        self.run_dir = run_dir
        self.config = config
        self._quiet = quiet
        self._pictures = [Throttled(lambda: write_progress(run_dir))]
        if importlib.util.find_spec("matplotlib") is not None:
            curves = Throttled(lambda: write_curves(run_dir, loss=config.loss, data_diversity=data_diversity))
            self._pictures.append(curves)
        if shown:  # a killed run may have left pictures older than its log
            for picture in self._pictures:
                picture.is_stale = True
        self._tensorboard = _tensorboard(run_dir, shown)
        self._bar = None if quiet else _progress_bar(config.kimg, shown / 1000)

    def step(self, shown: int, means: TickMeans, every: int = 10) -> None:
        """Move the progress bar; losses are read from the device only every few steps."""
        if self._bar is None:
            return
        self._bar.update(min(shown / 1000, self.config.kimg) - self._bar.n)
        if (shown // self.config.batch_size) % every == 0:
            latest = means.latest()
            names = [name for name in ("d_loss", "c_loss", "g_loss") if name in latest]
            self._bar.set_postfix({name: f"{latest[name]:.3f}" for name in names}, refresh=False)

    def sample(self, generator: nn.Module) -> UInt8Array:
        """Return the images of the run's grid from ``generator``: see ``grid_inputs`` and ``sample_images``."""
        return sample_images(generator, *grid_inputs(self.config.z_dim, _classes(generator)))

    def tick(self, record: Record, images: UInt8Array) -> None:
        """Write ``record`` to the log and a grid of ``images`` from ``sample``; print the findings in the record."""
        with open(self.run_dir / "log.jsonl", "a") as log:
            log.write(json.dumps(record) + "\n")
        sheet = self.grid(record["kimg"], images)
        for finding in record.get("doctor", ()):
            self.say(f"{record['kimg']:.1f} kimg: {finding}")
        if self._tensorboard is not None:
            self._tensorboard.write(record, sheet)
        for picture in self._pictures:
            picture.update()

    def grid(self, kimg: float, images: UInt8Array) -> UInt8Array:
        """Write and return the grid of ``images`` from ``sample`` after ``kimg`` thousand images."""
        sheet = grid(images, len(ROW_SEEDS))
        write_atomically(self.run_dir / "grids" / f"kimg{kimg:010.3f}.png", encode_png(sheet))
        return sheet

    def say(self, text: str) -> None:
        """Print a line above the progress bar."""
        if self._bar is not None:
            self._bar.write(text)
        elif not self._quiet:
            print(text)

    def close(self) -> None:
        """Bring the pictures up to date and leave the progress bar as it stands."""
        if self._bar is not None:
            self._bar.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        for picture in self._pictures:
            picture.finish()


def _progress_bar(kimg: float, shown: float) -> Any:
    """Return a progress bar over thousands of images; None where tqdm is not installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(
        total=kimg, initial=shown, unit="kimg", dynamic_ncols=True,
        bar_format="{percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]",
    )  # fmt: skip


class Throttled:
    """A function that is called so seldom that it takes at most 2 % of the time, and at the end if anything is new."""

    def __init__(self, function: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> None:
        self._function = function
        self._clock = clock
        self._cost, self._last = FIRST_COST, clock()
        self.is_stale = False

    def update(self) -> None:
        """Note that something is new, and call the function if the last call is long enough ago."""
        self.is_stale = True
        if self._clock() - self._last >= ROOM * self._cost:
            self.finish()

    def finish(self) -> None:
        """Call the function now, unless nothing is new."""
        if not self.is_stale:
            return
        self.is_stale = False
        started = self._clock()
        self._function()
        self._last = self._clock()
        self._cost = self._last - started


# Pictures


def write_progress(run_dir: Path) -> None:
    """Write ``progress.gif``: the run's grids in order, at most 60 of them, the first and the last included."""
    paths = sorted((run_dir / "grids").glob("kimg*.png"))
    if not paths:
        return
    chosen = sorted({round(at) for at in np.linspace(0, len(paths) - 1, min(len(paths), GIF_FRAMES))})
    frames = np.stack([_frame(paths[number]) for number in chosen])
    write_atomically(run_dir / "progress.gif", encode_animation(frames, "gif", fps=GIF_FPS))


def _frame(path: Path) -> UInt8Array:
    with Image.open(path) as image:
        if image.width > GIF_WIDTH:
            height = round(image.height * GIF_WIDTH / image.width)
            return from_pil(image.resize((GIF_WIDTH, height), Image.Resampling.LANCZOS))
        return from_pil(image)


def _classes(generator: nn.Module) -> int:
    c_dim = getattr(generator, "c_dim", 0)
    return c_dim if isinstance(c_dim, int) else 0


# Curves


class Panel(NamedTuple):
    """One pair of axes of ``curves.png``: the values to plot, and a level for comparison."""

    label: str
    names: tuple[str, ...]
    level: float | None = None
    level_label: str = ""
    limits: tuple[float, float | None] | None = None


def panels(records: Sequence[Record], *, loss: str, data_diversity: float) -> list[Panel]:
    """Return the panels with values in a run: losses, accuracies, penalties, diversity, gradients, quality."""
    is_bce = loss in ("non-saturating", "saturating", "relativistic")
    equilibrium = math.log(2) if is_bce else None
    every_name = sorted({name for record in records for name in record})
    quality = tuple(name for name in every_name if name.startswith(("swd", "fid", "fd")) and not name.endswith("px"))
    found = [
        Panel("loss", ("d_loss", "c_loss", "c_wass_loss", "g_loss"), equilibrium, "equilibrium, ln 2"),
        Panel(
            "accuracy",
            ("d_real_acc", "d_fake_acc", *(["d_acc"] if loss == "relativistic" else []), "g_acc"),
            0.5,
            "equilibrium, 0.5",
            (0, 1),
        ),
        Panel("penalty", ("c_gp", "d_gp", "d_r1", "d_r2")),
        Panel("diversity, grey levels", ("diversity",), data_diversity or None, "training images", (0, None)),
        Panel("gradient norm", ("d_grad_norm", "g_grad_norm")),
        Panel("quality, lower is better", quality),
    ]
    return [panel for panel in found if any(name in every_name for name in panel.names)]


def write_curves(run_dir: Path, *, loss: str = "non-saturating", data_diversity: float = 0.0) -> None:
    """Plot ``curves.png`` from the log.

    Args:
        run_dir: of the run.
        loss: that of the config; the cross-entropies have an equilibrium at ln 2.
        data_diversity: diversity of the training images, plotted with the generator's; 0 if unknown.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = read_log(run_dir)
    shown = panels(records, loss=loss, data_diversity=data_diversity)
    if not shown:
        return
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
        axes.set_ylabel(panel.label)
        axes.legend()
    write_atomically(run_dir / "curves.png", lambda file: figure.savefig(file, format="png", dpi=100))


# TensorBoard


class _TensorBoard:
    """Scalars and grids as TensorBoard shows them; a step is a real image."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, record: Record, sheet: UInt8Array) -> None:
        step = round(record["kimg"] * 1000)
        for name, value in record.items():
            if isinstance(value, int | float) and name != "kimg":
                self._writer.add_scalar(name, value, step)
        for finding in record.get("doctor", ()):
            self._writer.add_text("doctor", finding, step)
        self._writer.add_image("grid", sheet, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


def _tensorboard(run_dir: Path, shown: int) -> _TensorBoard | None:
    """Return a writer into ``tensorboard/``; None without TensorBoard. A resumed run hides replaced values."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    folder = str(run_dir / "tensorboard")
    return _TensorBoard(SummaryWriter(folder, purge_step=shown + 1 if shown else None))
