"""The training loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from gan_serve._version import __version__
from gan_serve.atomic_files import remove_leftovers, write_atomically
from gan_serve.errors import DeviceUnavailable, InvalidOption, RunError
from gan_serve.training.changed_settings import changes_on_resume
from gan_serve.training.config import TrainConfig, read_config
from gan_serve.training.data.batch_loader import Loader
from gan_serve.training.data.load import ImageSet, load_images
from gan_serve.training.distributed import (
    Processes,
    any_process,
    barrier,
    process_group,
    same_everywhere,
    started_processes,
)
from gan_serve.training.initial_weights import InitialWeights, compare_classes, read_initial_weights
from gan_serve.training.monitoring.quality import Measure
from gan_serve.training.monitoring.recorder import Recorder, Watched, check_finite
from gan_serve.training.monitoring.run_log import rewind_log
from gan_serve.training.monitoring.run_options import RunOptions
from gan_serve.training.precision import bf16_pays, use_tf32
from gan_serve.training.run_info import InitInfo, RunInfo, continued, describe_machine, sole_writer
from gan_serve.training.settings import RunSettings
from gan_serve.training.snapshots import load_snapshot, save_snapshot, snapshot_path, snapshots
from gan_serve.training.step import Training
from gan_serve.training.stopping import Stop, stop_on_signal
from gan_serve.training.ticks import TickClock


class Finished(NamedTuple):
    """The end of a run: its last snapshot, the real images shown, the seconds of training, the signal that ended it."""

    snapshot: Path
    shown: int
    seconds: float
    signal: int | None


class Trainable(Watched, Protocol):
    """The state of a run of any task."""

    device: torch.device
    seconds: float

    @property
    def config(self) -> RunSettings:
        """The settings of the run."""
        ...

    @property
    def images_a_step(self) -> int:
        """The real images that a step shows."""
        ...

    def record(self) -> dict[str, float]:
        """Return the record of a tick: what the schedules have reached, and the means of the scalars."""
        ...


Run = TypeVar("Run", bound=Trainable)
RunOf = TypeVar("RunOf", bound=Trainable, contravariant=True)


class RunRecorder(Protocol[RunOf]):
    """Writes the files of a run of any task."""

    def step(self, training: RunOf) -> None:
        """Show the progress after a step."""
        ...

    stop_requested: bool

    def tick(self, training: RunOf, record: dict[str, Any], *, measure: bool) -> Path:
        """Write what a tick has, and return the snapshot's path. ``measure``: the quality is due."""
        ...


def train(
    config: TrainConfig,
    run_dir: str | Path,
    *,
    resume: bool = False,
    quiet: bool = False,
    evaluate: Measure | None = None,
) -> Path:
    """Train a generator, write the run to ``run_dir``, and return the last snapshot; see ``run_training``."""
    return run_training(config, run_dir, RunOptions(resume=resume, quiet=quiet, evaluate=evaluate)).snapshot


def run_training(config: TrainConfig, run_dir: str | Path, options: RunOptions) -> Finished:
    """Train a generator and write the run to ``run_dir``.

    The folder gets ``config.json``, ``run.json`` (data, machine), ``log.jsonl``, ``curves.png``, ``grids/`` (the same
    seeds at each tick, sampled by the averaged generator), ``progress.gif`` of these grids, and ``snapshots/`` (the
    full state: the last ones, and the one with the best quality). On SIGINT and SIGTERM it writes a snapshot and
    returns. If torchrun started it, all processes share each batch, and the first one writes the files. If
    ``config.init_from`` names a checkpoint, the generator and its average start from its weights; a resumed run does
    not read them again. On the CPU, with the same number of threads, the weights of a resumed run are bit-equal to
    those of an uninterrupted one.

    Args:
        config: see ``make_config``.
        run_dir: a new folder; to resume, the folder of an interrupted run.
        options: see ``RunOptions``.

    Raises:
        DataError: the images cannot be used.
        RunError: ``run_dir`` has a run and ``resume`` is not set, the run was made from other data or has shown more
            than ``kimg``, another process writes to it, the training diverged, or another process of the run was lost.
        InvalidOption: the networks cannot be built so, a conditional run has no labels, or ``init_from`` has another
            network.
        UnknownModel, HubError, CheckpointError: the checkpoint of ``init_from`` cannot be used.
        DeviceUnavailable: ``device="cuda"`` without CUDA. CannotWrite: writing fails.
    """
    run_dir = Path(run_dir)
    check_run_dir(run_dir, options.resume)
    config = _as_started(run_dir, config)
    _check_processes(config, started_processes())

    # Load data.
    data = options.data or load_images(
        config.data,
        resolution=config.resolution,
        channels=config.channels,
        labels=config.labels,
        holdout=config.holdout,
    )
    device = pick_device(config.device)
    config = resolve_settings(config, data, device)
    changes_on_resume(run_dir, config, 0)  # refuses other networks before they are built
    c_dim = _number_of_classes(config, data)

    with process_group(device) as processes, contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signal())

        # Build networks.
        training = Training.start(config, device, c_dim=c_dim, processes=processes)

        # Load the last snapshot.
        if processes.first:
            stack.enter_context(sole_writer(run_dir))
            check_run_dir(run_dir, options.resume)  # again, because another process may have started meanwhile
        barrier()
        earlier = snapshots(run_dir)
        if earlier:
            training.load(load_snapshot(earlier[-1]))
            check_kimg(training)

        # Or load the weights of a checkpoint.
        initial = None
        if config.init_from is not None and not earlier:
            class_names = data.class_names if config.conditional else ()
            initial = read_initial_weights(config, img_channels=data.img_channels, class_names=class_names)
            initial.load_into(training.generator, training.ema.generator)
        _check_same_start(training, data, initial)

        changes = changes_on_resume(run_dir, config, training.shown / 1000)

        # Write the config and the record of the run.
        info = RunInfo.of(
            data,
            conditional=bool(config.conditional),
            machine=describe_machine(device, processes),
            gan_serve_version=__version__,
            init_from=InitInfo(name=initial.name, digest=initial.digest) if initial else None,
        )
        chosen = {"length": dict(options.length) if options.length else None, "chosen": tuple(options.reasons)}
        info = continued(run_dir, info.model_copy(update=chosen | {"changes": tuple(changes)}))
        if processes.first:
            write_record(run_dir, config, info, training.shown)
            # One of several processes may be lost before the first tick, and a checkpoint may be gone when the run
            # resumes.
            if not earlier and (processes.world > 1 or initial):
                save_snapshot(run_dir, training.state(), keep=config.keep_snapshots)

        # Train.
        loader = Loader(data, seed=config.seed, labels=bool(config.conditional), device=device, processes=processes)
        recorder = Recorder(run_dir, training, data, options, info) if processes.first else None
        try:
            if recorder and initial:
                recorder.begin(training, compare_classes(initial.class_names, data.class_names[: training.c_dim]))
            last_snapshot = run_loop(training, lambda: training.advance(loader), recorder, stop)
        finally:
            if recorder:
                recorder.close()
        last_snapshot = last_snapshot or snapshot_path(run_dir, training.shown / 1000)
        return Finished(last_snapshot, training.shown, training.seconds, stop.signal)


def write_record(run_dir: Path, config: RunSettings, info: RunInfo, shown: int) -> None:
    """Write ``config.json`` and ``run.json``, and remove what a killed process wrote after ``shown`` images."""
    remove_leftovers(run_dir, run_dir / "grids", run_dir / "snapshots")
    write_atomically(run_dir / "config.json", config.model_dump_json(indent=2) + "\n")
    write_atomically(run_dir / "run.json", info.model_dump_json(indent=2) + "\n")
    rewind_log(run_dir, shown / 1000)


def run_loop(training: Run, advance: Callable[[], None], recorder: RunRecorder[Run] | None, stop: Stop) -> Path | None:
    """Train until all kimg are shown or a process must stop; return the last snapshot, if a tick ended.

    Args:
        training: the state of the run. advance: does one step of it.
        recorder: writes the files of the run; None for a process that writes none.
        stop: set to end the run after the current step.
    """
    config = training.config
    evaluation_size = config.kimg_per_tick * config.ticks_per_evaluation * 1000
    ticks = TickClock(config.kimg_per_tick, config.seconds_per_tick, training.shown)
    stop.seconds_left = ticks.seconds_left
    last_snapshot = None
    stopping = False
    while training.shown < config.kimg * 1000 and not stopping:
        # One step of all networks.
        before = training.shown
        advance()
        ticks.end_step()
        if recorder:
            recorder.step(training)

        # End of a tick: log, grid, snapshot.
        stopping = any_process(stop.is_set)
        finished = training.shown >= config.kimg * 1000
        if finished or stopping or ticks.is_full(before, training.shown) or any_process(ticks.is_late):
            seconds, images_per_s = ticks.end_tick(training.shown)
            training.seconds += seconds
            check_finite(training)
            record = {
                "kimg": training.shown / 1000,
                "seconds": round(training.seconds, 1),
                "images_per_s": round(images_per_s, 1),
                "memory_mb": round(_memory_in_use(training.device) / 2**20),
            } | training.record()
            if recorder:
                # Quality is measured at the same images whatever the ticks, and not when the run is about to end.
                is_due = evaluation_size and before // evaluation_size != training.shown // evaluation_size
                last_snapshot = recorder.tick(training, record, measure=finished or bool(is_due and not stopping))
                if recorder.stop_requested:
                    stop.request()
            stopping = any_process(stop.is_set)
            ticks.begin_tick()
    return last_snapshot


def _memory_in_use(device: torch.device) -> int:
    """Return the peak memory of the run on the GPU, or the current memory of this process on the CPU, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import psutil
    except ImportError:  # psutil is optional for training
        return 0
    return int(psutil.Process().memory_info().rss)


def pick_device(device: str) -> torch.device:
    """Return the device: for ``auto``, CUDA if torch finds it, else the CPU.

    Raises:
        DeviceUnavailable: ``cuda``, and torch finds none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            "torch finds no CUDA device.", "Install a CUDA build of torch and the driver, or train with device=cpu."
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def use_machine(config: RunSettings, device: torch.device) -> dict[str, Any]:
    """Set the threads and the precision of torch; return these settings, for resumed runs to repeat."""
    threads = config.threads or min(torch.get_num_threads(), 256)  # the largest value that the config allows
    torch.set_num_threads(threads)
    use_tf32(device)
    return {
        "threads": threads, "device": device.type, "bf16": bf16_pays(device) if config.bf16 is None else config.bf16
    }  # fmt: skip


def resolve_settings(config: TrainConfig, data: ImageSet, device: torch.device) -> TrainConfig:
    """Return the config with the settings that depend on the data and the machine, for resumed runs to repeat."""
    conditional = data.labels is not None if config.conditional is None else config.conditional
    found = {"conditional": conditional, "channels": data.img_channels, "holdout": data.holdout}
    return config.model_copy(update=found | use_machine(config, device))


def _number_of_classes(config: TrainConfig, data: ImageSet) -> int:
    if not config.conditional:
        return 0
    if data.labels is None:
        raise InvalidOption(
            f"The run is conditional, but {data.name} has no labels.",
            "Put the images into one folder for each class, give --labels, or add --set conditional=false.",
        )
    return len(data.class_names)


def _check_same_start(training: Training, data: ImageSet, initial: InitialWeights | None) -> None:
    """Check that all processes have the same images, snapshot and weights, which may differ between machines."""
    if not same_everywhere(_as_number(data.digest)):
        raise RunError("The processes of this run have different images.", "Put the same data on every machine.")
    if not same_everywhere(training.shown):
        raise RunError(
            "The processes of this run find different last snapshots.",
            "--run-dir must be a folder that all machines share.",
        )
    if not same_everywhere(_as_number(initial.digest) if initial else 0):
        raise RunError(
            "The processes of this run start from different weights.", "Put the same checkpoint on every machine."
        )


def _as_number(digest: str) -> int:
    """Return the first 60 bits of a digest ``sha256:...``."""
    return int(digest.rpartition(":")[2][:15], 16)


def _check_processes(config: TrainConfig, processes: Processes) -> None:
    if config.batch_size % (processes.world * config.accumulate):
        raise InvalidOption(
            f"A batch of {config.batch_size} cannot be split between {processes.world} processes with "
            f"{config.accumulate} equal parts each.",
            "Change batch_size.",
        )
    if config.batch_size < 2 * processes.world * config.accumulate:
        raise InvalidOption(
            f"With a batch of {config.batch_size} each part has one image, but BatchNorm needs two or more.",
            "Raise batch_size, or lower accumulate.",
        )


def _as_started(run_dir: Path, config: TrainConfig) -> TrainConfig:
    """Return the config with the held-out share of the run in ``run_dir``, unless the config sets one.

    The default follows from the number of images, so other images would be refused as another ``holdout``.

    Raises:
        RunError: the run was started from another checkpoint.
    """
    if not (run_dir / "config.json").exists():
        return config
    before = read_config(run_dir / "config.json")
    if before.init_from != config.init_from:
        starts = [
            f"the checkpoint {name!r}" if name else "random weights" for name in (before.init_from, config.init_from)
        ]
        raise RunError(
            f"The run in {run_dir} was started from {starts[0]}, not from {starts[1]}.",
            "Leave init_from unchanged to resume it, or start a new run.",
        )
    return config if config.holdout is not None else config.model_copy(update={"holdout": before.holdout})


def check_run_dir(run_dir: Path, resume: bool) -> None:
    """Raise ``RunError`` if ``run_dir`` is no folder, or has a run that is not to be resumed."""
    if run_dir.exists() and not run_dir.is_dir():
        raise RunError(f"{run_dir} is a file.", "Give a folder for the run.")
    if not resume and ((run_dir / "config.json").exists() or snapshots(run_dir)):
        raise RunError(f"{run_dir} already has a run.", "Add --resume to continue it, or choose another folder.")


def check_kimg(training: Trainable) -> None:
    """Raise ``RunError`` if a run has already shown more than its kimg."""
    config = training.config
    if training.shown - training.images_a_step >= config.kimg * 1000:
        raise RunError(
            f"The run has already shown {training.shown / 1000:g} kimg, more than the requested {config.kimg:g}.",
            "Give a larger --kimg, or start a new run.",
        )
