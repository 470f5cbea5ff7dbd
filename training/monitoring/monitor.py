"""What a run shows of itself: a progress bar, log.jsonl, a grid each tick, curves.png, progress.gif, TensorBoard."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from gan_serve.atomic_files import write_atomically
from gan_serve.images.animation import encode_animation
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, from_pil
from gan_serve.images.png import encode_png
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.training.config import TrainConfig
from gan_serve.training.networks import to_pixels
from gan_serve.training.tick_means import TickMeans

GRID_SEEDS = range(64)
ROW_SEEDS = range(8)  # of a conditional run: the same latents in the row of every class
MAX_ROWS = 16
CHUNK = 64  # images drawn at a time

GIF_FRAMES = 60
GIF_WIDTH = 544  # pixels; a row of eight images of 64 fits as it is
GIF_FPS = 8

ROOM = 50  # curves and animation wait 50 times as long as they last took: 2 % of the run's time
FIRST_COST = 0.2  # seconds that a picture is taken to cost before it is known

Record = Mapping[str, Any]


class Monitor:
    """Writes a run's log, grids, curves and animation, and draws its progress bar.

    A tick costs a line of the log and a grid; curves and animation follow at most 2 % of the time, and at the end.

    Args:
        run_dir: the run's folder, with the log of what went before.
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
        self._pictures = (
            Sparingly(lambda: write_curves(run_dir, loss=config.loss, data_diversity=data_diversity)),
            Sparingly(lambda: write_progress(run_dir)),
        )
        if shown:  # a killed run may have left pictures older than its log
            for picture in self._pictures:
                picture.is_stale = True
        self._tensorboard = _tensorboard(run_dir, shown)
        self._bar = tqdm(
            total=config.kimg, initial=shown / 1000, unit="kimg", disable=quiet, dynamic_ncols=True,
            bar_format="{percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]",
        )  # fmt: skip

    def step(self, shown: int, means: TickMeans, every: int = 10) -> None:
        """Move the progress bar; losses are read from the device only every few steps."""
        if self._bar.disable:
            return
        self._bar.update(min(shown / 1000, self.config.kimg) - self._bar.n)
        if (shown // self.config.batch_size) % every == 0:
            latest = means.latest()
            names = [name for name in ("d_loss", "c_loss", "g_loss") if name in latest]
            self._bar.set_postfix({name: f"{latest[name]:.3f}" for name in names}, refresh=False)

    def draw(self, generator: nn.Module) -> UInt8Array:
        """The images of the run's grid as ``generator`` draws them now: see ``grid_inputs`` and ``draw_images``."""
        return draw_images(generator, *grid_inputs(self.config.z_dim, _classes(generator)))

    def tick(self, record: Record, images: UInt8Array) -> None:
        """Write a line of the log and the grid of ``images``, from ``draw``; say what ``record["doctor"]`` found."""
        with open(self.run_dir / "log.jsonl", "a") as log:
            log.write(json.dumps(record) + "\n")
        sheet = self.grid(record["kimg"], images)
        for finding in record.get("doctor", ()):
            self.say(f"{record['kimg']:.1f} kimg: {finding}")
        if self._tensorboard is not None:
            self._tensorboard.write(record, sheet)
        for picture in self._pictures:
            picture.maybe()

    def grid(self, kimg: float, images: UInt8Array) -> UInt8Array:
        """Write the grid of ``images``, from ``draw``, after ``kimg`` thousand images; it is returned."""
        sheet = grid(images, len(ROW_SEEDS))
        write_atomically(self.run_dir / "grids" / f"kimg{kimg:010.3f}.png", encode_png(sheet))
        return sheet

    def say(self, text: str) -> None:
        """Write a line above the progress bar."""
        if not self._quiet:
            self._bar.write(text)

    def close(self) -> None:
        """Bring the pictures up to date and leave the progress bar as it stands."""
        self._bar.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        for picture in self._pictures:
            picture.finish()


class Sparingly:
    """Calls a function so seldom that it takes at most 2 % of the time, and at the end if anything is new."""

    def __init__(self, function: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> None:
        self._function = function
        self._clock = clock
        self._cost, self._last = FIRST_COST, clock()
        self.is_stale = False

    def maybe(self) -> None:
        """There is something new: call, if the last call is long enough ago."""
        self.is_stale = True
        if self._clock() - self._last >= ROOM * self._cost:
            self.finish()

    def finish(self) -> None:
        """Call now, unless nothing is new."""
        if not self.is_stale:
            return
        self.is_stale = False
        started = self._clock()
        self._function()
        self._last = self._clock()
        self._cost = self._last - started


# Grids


def grid_inputs(z_dim: int, c_dim: int = 0) -> tuple[Tensor, Tensor | None]:
    """What a run's grid is drawn from: z float32 [N, z_dim] and, for a conditional generator, c int64 [N].

    Seeds 0 to 63 without classes; else the seeds 0 to 7 under each of the first 16 classes, a row for each.
    """
    if not c_dim:
        return torch.from_numpy(latents_from_seeds(GRID_SEEDS, z_dim)), None
    rows = min(c_dim, MAX_ROWS)
    latents = torch.from_numpy(latents_from_seeds(ROW_SEEDS, z_dim))
    return latents.repeat(rows, 1), torch.arange(rows).repeat_interleave(len(ROW_SEEDS))


@torch.no_grad()
def draw_images(generator: nn.Module, z: Tensor, c: Tensor | None = None, psi: Tensor | None = None) -> UInt8Array:
    """The images uint8 [N, H, W, C] that ``generator`` draws in eval mode from z [N, z_dim] and labels c [N].

    ``psi`` float32 [N] is for generators that truncate in w by themselves.

    It works on the generator's device, 64 images at a time, and leaves the generator's mode as it was.
    """
    device = next(generator.parameters()).device
    was_training = generator.training
    generator.eval()
    drawn = []
    for start in range(0, len(z), CHUNK):
        inputs = [None if x is None else x[start : start + CHUNK].to(device) for x in (z, c)]
        styles = {} if psi is None else {"psi": psi[start : start + CHUNK].to(device)}
        drawn.append(to_pixels(generator(*inputs, **styles).float()).cpu().numpy())
    generator.train(was_training)
    return np.concatenate(drawn)


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


# The log


def read_log(run_dir: Path) -> list[dict[str, Any]]:
    """The records of ``log.jsonl``; a line cut off by a kill is left out."""
    path = run_dir / "log.jsonl"
    if not path.exists():
        return []
    return list(_whole_records(path.read_text().splitlines()))


def best_kimg(run_dir: Path) -> float | None:
    """When the run's averaged generator was best: the kimg of the lowest ``quality`` in the log; None if unmeasured."""
    measured = [
        (record["quality"], record["kimg"])
        for record in read_log(run_dir)
        if math.isfinite(record.get("quality", math.nan))
    ]
    return min(measured)[1] if measured else None


def rewind_log(run_dir: Path, kimg: float) -> None:
    """Drop what was logged and drawn after the snapshot that a run resumes from, so that no tick is there twice."""
    kept = [json.dumps(record) + "\n" for record in read_log(run_dir) if record["kimg"] <= kimg]
    write_atomically(run_dir / "log.jsonl", "".join(kept))
    for path in (run_dir / "grids").glob("kimg*.png"):
        if path.stem > f"kimg{kimg:010.3f}":
            path.unlink()


def _whole_records(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "kimg" in record:
            yield record


# Curves


class Panel(NamedTuple):
    """One pair of axes of ``curves.png``: what is drawn, and a level to hold it against."""

    label: str
    names: tuple[str, ...]
    level: float | None = None
    level_label: str = ""
    limits: tuple[float, float | None] | None = None


def panels(records: Sequence[Record], *, loss: str, data_diversity: float) -> list[Panel]:
    """What there is to draw of a run: losses, accuracies or the penalty, diversity, gradients, quality."""
    is_bce = loss in ("non-saturating", "saturating")
    equilibrium = math.log(2) if is_bce else None
    every_name = sorted({name for record in records for name in record})
    quality = tuple(name for name in every_name if name.startswith(("swd", "fid", "fd")) and not name.endswith("px"))
    found = [
        Panel("loss", ("d_loss", "c_loss", "c_wass_loss", "g_loss"), equilibrium, "equilibrium, ln 2"),
        Panel("accuracy", ("d_real_acc", "d_fake_acc", "g_acc"), 0.5, "equilibrium, 0.5", (0, 1)),
        Panel("penalty", ("c_gp", "d_gp", "d_r1")),
        Panel("diversity, grey levels", ("diversity",), data_diversity or None, "training images", (0, None)),
        Panel("gradient norm", ("d_grad_norm", "g_grad_norm")),
        Panel("quality, lower is better", quality),
    ]
    return [panel for panel in found if any(name in every_name for name in panel.names)]


def write_curves(run_dir: Path, *, loss: str = "non-saturating", data_diversity: float = 0.0) -> None:
    """Draw ``curves.png`` from the log.

    Args:
        run_dir: of the run.
        loss: as in the config; the cross-entropies have an equilibrium at ln 2.
        data_diversity: of the training images, drawn beside the generator's; 0 if unknown.
    """
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
    """A writer into ``tensorboard/``; None where TensorBoard is not installed. A resumed run hides what it redoes."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    folder = str(run_dir / "tensorboard")
    return _TensorBoard(SummaryWriter(folder, purge_step=shown + 1 if shown else None))
