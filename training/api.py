"""Train from Python: ``gan_serve.training.train``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_serve.errors import InvalidOption, RunError
from gan_serve.terminal import echo
from gan_serve.training.choose import NO_LENGTH, Length, Plan, plan_run
from gan_serve.training.config import TrainConfig, check_config, command_line, read_config
from gan_serve.training.distributed import started_processes
from gan_serve.training.loop import check_run_dir, run_training
from gan_serve.training.monitoring.callbacks import Callback, Observers
from gan_serve.training.monitoring.quality import Measure
from gan_serve.training.monitoring.run_log import read_log
from gan_serve.training.monitoring.run_options import RunOptions
from gan_serve.training.monitoring.wandb_log import check_wandb
from gan_serve.training.run_folders import last_run, new_run_dir


class FinishedRun(NamedTuple):
    """A run that ended.

    run_dir: its folder. snapshot: the last snapshot. kimg: thousands of real images shown, of ``kimg_planned``.
    seconds: duration of the training. signal: the number of the signal that ended it, or None.
    figures: the last line of the log. best: the line with the lowest quality, or None if it was never measured.
    """

    run_dir: Path
    snapshot: Path
    kimg: float
    kimg_planned: float
    seconds: float
    signal: int | None
    figures: Mapping[str, Any]
    best: Mapping[str, Any] | None

    @property
    def is_complete(self) -> bool:
        """True if all planned images were shown."""
        return self.kimg >= self.kimg_planned


def train(
    data: str | Path | None = None,
    *,
    recipe: str | None = None,
    run_dir: str | Path | None = None,
    labels: str | None = None,
    minutes: float | None = None,
    epochs: float | None = None,
    kimg: float | None = None,
    settings: Mapping[str, Any] | None = None,
    init_from: str | None = None,
    resume: bool = False,
    callbacks: Callback | Sequence[Callback] = (),
    evaluate: Measure | None = None,
    wandb: str | None = None,
    quiet: bool = True,
) -> FinishedRun:
    """Train a generator on images, as ``gan-serve train`` does.

    Without a recipe, the recipe, the resolution, the width, the batch size, augmentation and the length are chosen from
    the images and from the speed of this machine, which is measured for a few seconds.

    Args:
        data: a folder, an archive, an array or a name, as docs/training.md lists them; a resumed run remembers it.
        recipe: a name of ``gan-serve recipes``.
        run_dir: the folder of the run; ``runs/<data>-<recipe>`` if None. With ``resume``, the last run in ``runs/``.
        labels: where labels come from, ``file.csv:column``; ``none`` ignores those of the data.
        minutes, epochs, kimg: the length, in one of three ways: minutes on this machine, passes over the images, or
            thousands of real images. Minutes and epochs become kimg before the run starts.
        settings: changes to the recipe, as ``--set`` takes them: ``{"width": 0.5, "augment": "color"}``.
        init_from: a checkpoint whose generator to start from.
        resume: continue the run. Settings that do not change the networks may be changed.
        callbacks: a function, or several, called with a ``Tick`` after each tick; one that returns True stops the run.
        evaluate: measures the averaged generator; see ``RunOptions``.
        wandb: the project of Weights & Biases to log to. TensorBoard's files are written if it is installed.
        quiet: print nothing.

    Raises:
        InvalidOption: an unknown recipe or setting, or an invalid length. DataError: the images cannot be used.
        RunError: the folder already has a run, there is none to resume, or the run diverged.
        DeviceUnavailable, CannotWrite.

    >>> from gan_serve.training import train
    >>> def on_tick(tick):
    ...     print(tick.kimg, tick.figures["g_loss"], tick.grid.shape)
    ...     return tick.kimg > 50  # True stops the run
    >>> run = train("photos/", minutes=20, callbacks=on_tick)  # doctest: +SKIP
    """
    if wandb is not None:
        check_wandb()
    typed = {"data": data, "labels": labels, "init_from": init_from, "kimg": kimg}
    asked = dict(settings or {}) | {
        key: str(value) if isinstance(value, Path) else value for key, value in typed.items() if value is not None
    }
    say = (lambda text: None) if quiet or not started_processes().first else echo
    found = run_to_resume(data, run_dir, say) if resume else None
    length = Length(minutes, epochs)
    if found is not None and (found / "config.json").exists():
        folder, plan = found, Plan(_resumed(found, recipe, asked))
    else:
        if "data" not in asked:
            if resume:
                raise RunError(f"{found} has no run to resume.", "Give the --run-dir of the first call.")
            raise InvalidOption("A new run needs --data.", "gan-serve train --help lists the sources.")
        if run_dir is not None:
            check_run_dir(Path(run_dir), resume)  # before anything is read or measured
        if found is not None:
            say(f"{found} has no run to resume: a new one starts.")
        if recipe is None or length != NO_LENGTH:
            say("Reading the images and measuring this machine, which takes some seconds.")
        plan = plan_run(recipe, asked, length, world=started_processes().world)
        folder = Path(run_dir) if run_dir else new_run_dir(str(asked["data"]), plan.config.recipe)
        if plan.reasons:
            say("Chosen for these images and this machine (--recipe and --set change it):")
            for reason in plan.reasons:
                say(f"  {reason}")
            command = command_line(plan.config, None if run_dir is None else str(run_dir), same_machine=True)
            say(f"Command that repeats this run:\n  {command}")
    observers = Observers((callbacks,) if callable(callbacks) else tuple(callbacks), wandb)
    options = RunOptions(resume, quiet, evaluate, observers, plan.data, plan.length, plan.reasons)
    finished = run_training(plan.config, folder, options)
    records = read_log(folder)
    measured = [record for record in records if record.get("quality") is not None]
    return FinishedRun(
        run_dir=folder,
        snapshot=finished.snapshot,
        kimg=finished.shown / 1000,
        kimg_planned=plan.config.kimg,
        seconds=finished.seconds,
        signal=finished.signal,
        figures=records[-1] if records else {},
        best=min(measured, key=lambda record: float(record["quality"]), default=None),
    )


def run_to_resume(data: str | Path | None, run_dir: str | Path | None, say: Callable[[str], None]) -> Path:
    """Return the folder of the run to resume: ``run_dir``, else the last run (with ``data``, of these images)."""
    if run_dir is not None:
        return Path(run_dir)
    found = last_run(None if data is None else str(data))
    say(f"Resuming the last run: {found}")
    return found


def _resumed(run_dir: Path, recipe: str | None, asked: Mapping[str, Any]) -> TrainConfig:
    """Return the config of a resumed run: the recorded one with the settings that were given now.

    The command of the new run may be repeated with ``--resume``: its minutes or epochs have become kimg already.
    """
    if recipe is not None:
        asked = {**asked, "recipe": recipe}
    recorded = read_config(run_dir / "config.json")
    config = check_config(recorded.model_dump() | dict(asked))
    return config.model_copy(update={"device": recorded.device}) if config.device == "auto" else config
