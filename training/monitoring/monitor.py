"""Write the log, grids and pictures of a run of any task, and show its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gan_serve.images.pixels import UInt8Array
from gan_serve.training.monitoring.grids import write_grid
from gan_serve.training.monitoring.progress_bar import ProgressBar
from gan_serve.training.monitoring.run_log import append_record
from gan_serve.training.monitoring.tensorboard import TensorBoard, open_tensorboard
from gan_serve.training.monitoring.wandb_log import WandbLog
from gan_serve.training.settings import RunSettings
from gan_serve.training.tick_means import TickMeans

INTERVAL = 50  # a picture is written again after 50 times its last duration: 2 % of the run's time
FIRST_DURATION = 0.2  # seconds, assumed before the first measurement


class Monitor:
    """Writes a run's log, grids and pictures, and moves its progress bar.

    A tick costs a record of the log and a grid; the pictures take at most 2 % of the time each, and are brought up to
    date at the end.

    Args:
        run_dir: the run's folder, with the log of earlier ticks.
        config: of the run. shown: real images shown so far.
        epoch_kimg: thousands of images in an epoch; 0 if unknown.
        quiet: no progress bar, and nothing on the terminal.
        wandb: a project of Weights & Biases to log to as well; see ``WandbLog`` for the errors.
    """

    def __init__(
        self,
        run_dir: Path,
        config: RunSettings,
        shown: int,
        *,
        epoch_kimg: float = 0.0,
        quiet: bool,
        wandb: str | None = None,
    ) -> None:
        self.run_dir = run_dir
        self.config = config
        self._is_resumed = bool(shown)
        self._pictures: list[Throttled] = []
        tensorboard = open_tensorboard(run_dir, shown)
        self._loggers: list[TensorBoard | WandbLog] = [tensorboard] if tensorboard else []
        if wandb:  # before the bar, whose line an error would end
            self._loggers.append(WandbLog(wandb, run_dir, config.model_dump()))
        self._bar = ProgressBar(config.kimg, shown, config.batch_size, epoch_kimg=epoch_kimg, quiet=quiet)

    def add_picture(self, write: Callable[[], object]) -> None:
        """Let ``write`` make a picture from the log or the grids after ticks, and at the end of the run."""
        picture = Throttled(write)
        picture.is_stale = self._is_resumed  # a killed run may have left a picture older than its log
        self._pictures.append(picture)

    def step(self, shown: int, means: TickMeans) -> None:
        """Move the progress bar to ``shown`` images."""
        self._bar.step(shown, means)

    def tick(self, record: Mapping[str, Any], images: UInt8Array) -> UInt8Array:
        """Write ``record`` to the log and a grid of ``images`` uint8 [N, H, W, C]; print the findings in the record.

        Returns the grid, uint8 [H, W, C].
        """
        append_record(self.run_dir, record)
        sheet = write_grid(self.run_dir, record["kimg"], images)
        for finding in record.get("doctor", ()):
            self.say(f"{record['kimg']:.1f} kimg: {finding}")
        for logger in self._loggers:
            logger.write(record, sheet)
        for picture in self._pictures:
            picture.update()
        return sheet

    def say(self, text: str) -> None:
        """Print a line above the progress bar."""
        self._bar.say(text)

    def close(self) -> None:
        """Bring the pictures up to date and leave the progress bar in place."""
        if any(picture.is_stale for picture in self._pictures):
            self.say("Writing the curves and the animation.")  # they take a minute on a busy machine
        self._bar.close()
        for logger in self._loggers:
            logger.close()
        for picture in self._pictures:
            picture.finish()


class Throttled:
    """A function that is called so seldom that it takes at most 2 % of the time, and at the end if anything is new."""

    def __init__(self, function: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> None:
        self._function = function
        self._clock = clock
        self._duration, self._last = FIRST_DURATION, clock()
        self.is_stale = False

    def update(self) -> None:
        """Note that something is new, and call the function if the last call is long enough ago."""
        self.is_stale = True
        if self._clock() - self._last >= INTERVAL * self._duration:
            self.finish()

    def finish(self) -> None:
        """Call the function now, unless nothing is new."""
        if not self.is_stale:
            return
        self.is_stale = False
        started = self._clock()
        self._function()
        self._last = self._clock()
        self._duration = self._last - started
