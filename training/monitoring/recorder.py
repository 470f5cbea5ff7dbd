"""Record a tick of a run: sample a grid, measure, diagnose, log, and write a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from gan_serve.atomic_files import cannot_write
from gan_serve.errors import RunError
from gan_serve.images.pixels import UInt8Array
from gan_serve.terminal import echo
from gan_serve.training.data.load import ImageSet
from gan_serve.training.data.summary import passes, summary_lines
from gan_serve.training.diagnosis import Diagnosis, find_non_finite
from gan_serve.training.evaluation.pixel_metrics import contrast, diversity, random_sample
from gan_serve.training.monitoring.callbacks import Tick
from gan_serve.training.monitoring.curves import write_curves
from gan_serve.training.monitoring.grids import grid_inputs, write_filmstrip, write_grid, write_progress
from gan_serve.training.monitoring.monitor import Monitor
from gan_serve.training.monitoring.quality import quality
from gan_serve.training.monitoring.run_log import best_kimg, read_log
from gan_serve.training.monitoring.run_options import RunOptions
from gan_serve.training.run_info import RunInfo
from gan_serve.training.sample_images import sample_images
from gan_serve.training.snapshots import save_snapshot
from gan_serve.training.step import Training
from gan_serve.training.tick_means import TickMeans
from gan_serve.training.ticks import FIRST_STEPS, duration

DIVERSITY_IMAGES = 1024  # real images whose diversity is compared with that of generated ones
SLOWER, JUDGED_SECONDS = 1.5, 120.0  # times as long as --minutes; seconds of training after which that is judged


class Recorder:
    """Writes the files of a run. Of several processes, only the first has one.

    Args:
        run_dir: the run's folder. training: as it starts or resumes. data: the training images.
        options: how to measure, what to call, and whether to print; see ``RunOptions``.
        info: the record of the run, with the settings that it has changed so far.
    """

    def __init__(self, run_dir: Path, training: Training, data: ImageSet, options: RunOptions, info: RunInfo) -> None:
        config, quiet = training.config, options.quiet
        self.run_dir = run_dir
        self.stop_requested = False  # a callback has asked to stop the run
        self._minutes = (options.length or {}).get("minutes")  # None once a message has said that the run takes longer
        self._observers = options.observers
        self._evaluate = (options.evaluate or quality(data, config.features)) if config.ticks_per_evaluation else None
        self._inputs = grid_inputs(config.z_dim, training.c_dim)
        chosen = random_sample(len(data), DIVERSITY_IMAGES)
        labels = data.labels[chosen] if config.conditional and data.labels is not None else None
        real_diversity = diversity(data.images[chosen], labels)
        if not quiet:  # above the progress bar
            echo("\n".join(summary_lines(data, conditional=bool(config.conditional))))
            echo(f"Machine: {info.machines[-1]}.")
            left = config.kimg - training.shown / 1000
            rate = (options.length or {}).get("images_per_s_measured")
            until = f"about {duration(1000 * left / rate)} at {rate:g} images/s" if rate else "see the bar for the time"
            times = passes(1000 * left, data)
            echo(f"Length: {left:g} kimg (thousands of real images), {times} over the images; {until}.")
            echo(
                f"Grids: {run_dir / 'grids'}, the first after {FIRST_STEPS} steps, then at least one every "
                f"{config.seconds_per_tick:g} s."
            )
        self._epoch_kimg = epoch = len(data) / 1000
        wandb = options.observers.wandb
        self._monitor = Monitor(run_dir, config, training.shown, epoch_kimg=epoch, quiet=quiet, wandb=wandb)
        names = data.class_names if config.conditional else ()
        self._monitor.add_picture(partial(write_progress, run_dir, class_names=names, epoch_kimg=epoch))
        self._monitor.add_picture(partial(write_filmstrip, run_dir, by_class=bool(names), epoch_kimg=epoch))
        self._monitor.add_picture(partial(write_curves, run_dir, loss=config.loss, data_diversity=real_diversity))
        self._doctor = Diagnosis(
            real_diversity,
            data_contrast=contrast(data.images[chosen]),
            wasserstein=config.loss == "wasserstein",
            class_names=data.class_names,
            levels=training.levels,
            settings=config.model_dump(),
            run_dir=run_dir,
        )
        self._doctor.read(read_log(run_dir))
        self._changes = [change for change in info.changes if change.kimg == training.shown / 1000]
        for change in self._changes:
            self._monitor.say(f"From {change.kimg:g} kimg on: {change}")
        if training.final_level is not None and training.final_level < training.levels:
            self._monitor.say(
                f"In {config.kimg:g} kimg the networks grow to level {training.final_level:.2g} of {training.levels}: "
                "the images stay coarse. Set a smaller stage_kimg and fade_kimg, or more kimg."
            )

    def begin(self, training: Training, note: str = "") -> None:
        """Write a grid before the first step, for a run that starts from a checkpoint, and print ``note``."""
        with cannot_write(self.run_dir):
            write_grid(self.run_dir, training.shown / 1000, self._sample(training))
        if note:
            self._monitor.say(note)

    def step(self, training: Training) -> None:
        """Move the progress bar."""
        self._monitor.step(training.shown, training.tick_means)

    def tick(self, training: Training, record: dict[str, Any], *, measure: bool) -> Path:
        """Sample, measure, write, call the callbacks, and return the snapshot's path. ``measure``: the quality is due.

        Raises:
            CannotWrite: a file could not be written; earlier snapshots are untouched.
        """
        config = training.config
        images = self._sample(training)
        record["epoch"] = round(record["kimg"] / self._epoch_kimg, 4)
        record["diversity"] = round(diversity(images, self._inputs[1]), 3)
        record["contrast"] = round(contrast(images), 3)
        if self._evaluate and measure:
            figures = self._evaluate(training.ema.generator)
            record |= figures
            record["quality"] = next(iter(figures.values()))
        if self._changes:
            record["changed"] = [str(change) for change in self._changes]
            self._changes = []
        if findings := self._doctor.examine(record):
            record["doctor"] = [str(finding) for finding in findings]
        with cannot_write(self.run_dir):
            sheet = self._monitor.tick(record, images)
            snapshot = save_snapshot(
                self.run_dir, training.state(), keep=config.keep_snapshots, best=best_kimg(self.run_dir)
            )
        self._compare_with_minutes(training)
        self.stop_requested = self._observers.notify(Tick(record["kimg"], record, sheet, self.run_dir, snapshot))
        return snapshot

    def _compare_with_minutes(self, training: Training) -> None:
        """Say once if the run will take much longer than the user's minutes."""
        if self._minutes is None or training.seconds < JUDGED_SECONDS:
            return
        planned, rate = training.config.kimg, training.shown / training.seconds
        expected = planned * 1000 / rate
        if expected > SLOWER * 60 * self._minutes:
            self._monitor.say(
                f"The machine is busier than when its speed was measured: {rate:.1f} images/s. The run will take "
                f"about {duration(expected)} instead of {self._minutes:g} min, since its schedules end at {planned:g} "
                "kimg. Ctrl-C ends it earlier, with a snapshot that gan-serve export takes."
            )
            self._minutes = None

    def close(self) -> None:
        """Bring curves and animation up to date."""
        self._monitor.close()

    def _sample(self, training: Training) -> UInt8Array:
        """Return the images of the run's grid, see ``grid_inputs``, by the averaged generator."""
        return sample_images(training.ema.generator, *self._inputs)


class Watched(Protocol):
    """The state of a run that ``check_finite`` looks at."""

    shown: int
    tick_means: TickMeans

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """All networks by a name for messages."""
        ...


def check_finite(training: Watched) -> None:
    """Raise RunError before the snapshot of a diverged run replaces a good one.

    Raises:
        RunError: a scalar of the tick or a weight is not a finite number; the message says which, and since when.
    """
    began = training.tick_means.first_not_finite()
    wrong = find_non_finite(training.networks, training.tick_means.latest())
    if not began and not wrong:
        return
    where = f" It began with {began[1]} in the step after {began[0] / 1000:g} kimg." if began else ""
    raise RunError(
        f"Training diverged before {training.shown / 1000:g} kimg: not finite: {wrong}.{where}",
        "No snapshot was written since then. Start again, or resume from the last one, with lower learning rates "
        "(--set g_lr=..., --set d_lr=...), a penalty (gp_weight, r1) or spectral_norm=true.",
    )
