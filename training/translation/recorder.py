"""Record a tick of a translator's run: grid, measurements, diagnosis, log and snapshot."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gan_serve.atomic_files import cannot_write
from gan_serve.images.pixels import UInt8Array
from gan_serve.terminal import echo
from gan_serve.training.evaluation.feature_maps import FeatureMaps
from gan_serve.training.evaluation.pixel_metrics import checkerboard, diversity, mean_gradient
from gan_serve.training.monitoring.curves import write_curves
from gan_serve.training.monitoring.grids import write_progress
from gan_serve.training.monitoring.monitor import Monitor
from gan_serve.training.monitoring.run_log import best_kimg, read_log
from gan_serve.training.snapshots import save_snapshot
from gan_serve.training.translation.diagnosis import TranslationDiagnosis
from gan_serve.training.translation.examples import choose_examples, write_examples
from gan_serve.training.translation.measure import compare, translate_images
from gan_serve.training.translation.pairs import PairedImages, as_rows
from gan_serve.training.translation.step import TranslationTraining

GRID = 16  # inputs in the grid of a tick


class TranslationRecorder:
    """Writes the files of a run.

    Args:
        run_dir: the run's folder. training: as it starts or resumes. data: the training images.
        quiet: no progress bar, and nothing on the terminal.
    """

    def __init__(self, run_dir: Path, training: TranslationTraining, data: PairedImages, *, quiet: bool) -> None:
        config = training.config
        self.run_dir = run_dir
        self._inputs, self._targets = examples = choose_examples(data)
        write_examples(run_dir, examples)
        self._paired = data.paired
        self._features = FeatureMaps(str(config.features)) if data.paired and config.ticks_per_evaluation else None
        self._real = mean_gradient(self._targets), checkerboard(self._targets), diversity(self._targets)
        if not quiet:
            echo("\n".join([f"Data: {data.targets.name}, {data.targets.split}.", *data.notes()]))
        self._monitor = Monitor(run_dir, config, training.shown, quiet=quiet)
        self._monitor.add_picture(partial(write_progress, run_dir))
        self._monitor.add_picture(partial(write_curves, run_dir, loss=config.loss, data_diversity=self._real[2]))
        self._doctor = TranslationDiagnosis(self._real[2], wasserstein=False, settings=config.model_dump())
        self._doctor.read(read_log(run_dir))
        self.stop_requested = False

    def step(self, training: TranslationTraining) -> None:
        """Move the progress bar."""
        self._monitor.step(training.shown, training.tick_means)

    def tick(self, training: TranslationTraining, record: dict[str, Any], *, measure: bool) -> Path:
        """Translate, measure and write, and return the snapshot's path. ``measure``: the quality is due.

        Raises:
            CannotWrite: a file could not be written; earlier snapshots are untouched.
        """
        count = len(self._inputs) if measure else GRID
        outputs = translate_images(training.averaged, self._inputs[:count])
        record |= self._beside_targets(outputs)
        if measure and self._features is not None:
            record |= compare(outputs, self._targets[:count], self._features)
            record["quality"] = record["perceptual"]
        if findings := self._doctor.examine(record):
            record["doctor"] = [str(finding) for finding in findings]
        with cannot_write(self.run_dir):
            self._monitor.tick(record, self._grid(training, outputs))
            keep, best = training.config.keep_snapshots, best_kimg(self.run_dir)
            return save_snapshot(self.run_dir, training.state(), keep=keep, best=best)

    def _grid(self, training: TranslationTraining, outputs: UInt8Array) -> UInt8Array:
        """Return rows of inputs, outputs and targets; without pairs, what comes back in place of targets."""
        inputs, outputs = self._inputs[:GRID], outputs[:GRID]
        if self._paired:
            return as_rows(inputs, outputs, self._targets[:GRID])
        return as_rows(inputs, outputs, translate_images(training.averages["back"].generator, outputs))

    def _beside_targets(self, outputs: UInt8Array) -> dict[str, float]:
        """Return the figures that the diagnosis reads, relative to the targets."""
        sharpness, pattern, _ = self._real
        found = {"diversity": round(diversity(outputs), 3)}
        if sharpness:
            found["sharpness"] = round(mean_gradient(outputs) / sharpness, 4)
        if pattern:
            found["checkerboard"] = round(checkerboard(outputs) / pattern, 4)
        inputs = self._inputs[: len(outputs)]
        if inputs.shape[1:] == outputs.shape[1:]:
            distances = [
                float(np.abs(each.astype(np.int16) - inputs).mean())
                for each in (outputs, self._targets[: len(outputs)])
            ]
            found["moved"] = round(distances[0] / max(distances[1], 1e-9), 4)
        return found

    def close(self) -> None:
        """Bring curves and animation up to date."""
        self._monitor.close()
