"""Record a tick of a run: sample a grid, measure, diagnose, log, and write a snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gan_serve.atomic_files import cannot_write
from gan_serve.errors import RunError
from gan_serve.terminal import echo
from gan_serve.training.data.load import ImageSet
from gan_serve.training.data.summary import summary_lines
from gan_serve.training.diagnosis import Diagnosis, find_non_finite
from gan_serve.training.evaluation.pixel_metrics import diversity, random_sample
from gan_serve.training.monitoring.grids import grid_inputs, write_grid
from gan_serve.training.monitoring.monitor import Monitor
from gan_serve.training.monitoring.quality import Measure, quality
from gan_serve.training.monitoring.run_log import best_kimg, read_log
from gan_serve.training.snapshots import save_snapshot
from gan_serve.training.step import Training

DIVERSITY_IMAGES = 1024  # real images whose diversity is compared with that of generated ones


class Recorder:
    """Writes the files of a run. Of several processes, only the first has one.

    Args:
        run_dir: the run's folder. training: as it starts or resumes. data: the training images.
        evaluate: measures the averaged generator, see ``train``; None: ``quality``.
        quiet: no progress bar, and nothing on the terminal.
    """

    def __init__(
        self, run_dir: Path, training: Training, data: ImageSet, evaluate: Measure | None, *, quiet: bool
    ) -> None:
        config = training.config
        self.run_dir = run_dir
        self._every = config.ticks_per_evaluation
        self._evaluate = (evaluate or quality(data, config.features)) if self._every else None
        self._c = grid_inputs(config.z_dim, training.c_dim)[1]
        chosen = random_sample(len(data), DIVERSITY_IMAGES)
        labels = data.labels[chosen] if config.conditional and data.labels is not None else None
        real_diversity = diversity(data.images[chosen], labels)
        if not quiet:  # above the progress bar
            echo("\n".join(summary_lines(data, conditional=bool(config.conditional))))
        self._epoch_kimg = len(data) / 1000
        self._monitor = Monitor(
            run_dir,
            config,
            training.shown,
            data_diversity=real_diversity,
            class_names=data.class_names if config.conditional else (),
            epoch_kimg=self._epoch_kimg,
            quiet=quiet,
        )
        self._doctor = Diagnosis(
            real_diversity,
            wasserstein=config.loss == "wasserstein",
            class_names=data.class_names,
            levels=training.levels,
            settings=config.model_dump(),
        )
        earlier = read_log(run_dir)
        self._doctor.read(earlier)
        self._ticks = len(earlier)
        if training.final_level is not None and training.final_level < training.levels:
            self._monitor.say(
                f"In {config.kimg:g} kimg the networks grow to level {training.final_level:.2g} of {training.levels}: "
                "the images stay coarse. Set a smaller stage_kimg and fade_kimg, or more kimg."
            )

    def begin(self, training: Training, note: str = "") -> None:
        """Write a grid before the first step, for a run that starts from a checkpoint, and print ``note``."""
        with cannot_write(self.run_dir):
            write_grid(self.run_dir, training.shown / 1000, self._monitor.sample(training.ema.generator))
        if note:
            self._monitor.say(note)

    def step(self, training: Training) -> None:
        """Move the progress bar."""
        self._monitor.step(training.shown, training.tick_means)

    def tick(self, training: Training, record: dict[str, Any], *, last: bool) -> Path:
        """Sample, measure and write, and return the snapshot's path. ``last``: no tick follows.

        Raises:
            CannotWrite: a file could not be written; earlier snapshots are untouched.
        """
        config = training.config
        self._ticks += 1
        images = self._monitor.sample(training.ema.generator)
        record["epoch"] = round(record["kimg"] / self._epoch_kimg, 4)
        record["diversity"] = round(diversity(images, self._c), 3)
        if self._evaluate and (last or self._ticks % self._every == 0):
            figures = self._evaluate(training.ema.generator)
            record |= figures
            record["quality"] = next(iter(figures.values()))
        if findings := self._doctor.examine(record):
            record["doctor"] = [str(finding) for finding in findings]
        with cannot_write(self.run_dir):
            self._monitor.tick(record, images)
            return save_snapshot(
                self.run_dir, training.state(), keep=config.keep_snapshots, best=best_kimg(self.run_dir)
            )

    def close(self) -> None:
        """Bring curves and animation up to date."""
        self._monitor.close()


def check_finite(training: Training) -> None:
    """Raise RunError before the snapshot of a diverged run replaces a good one.

    Raises:
        RunError: a scalar of the tick or a weight is not a finite number; the message says which, and since when.
    """
    began = training.tick_means.first_not_finite()
    networks = {"generator": training.generator, "discriminator": training.discriminator}
    wrong = find_non_finite(networks, training.tick_means.latest())
    if not began and not wrong:
        return
    where = f" It began with {began[1]} in the step after {began[0] / 1000:g} kimg." if began else ""
    raise RunError(
        f"Training diverged before {training.shown / 1000:g} kimg: not finite: {wrong}.{where}",
        "No snapshot was written since then. Start again, or resume from the last one, with lower learning rates "
        "(--set g_lr=..., --set d_lr=...), a penalty (gp_weight, r1) or spectral_norm=true.",
    )
