"""Train a translator, in the loop that generators have."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_serve._version import __version__
from gan_serve.errors import RunError
from gan_serve.training.distributed import Processes, started_processes
from gan_serve.training.evaluation.extractor_registry import extractor_for
from gan_serve.training.loop import (
    Finished,
    check_kimg,
    check_run_dir,
    pick_device,
    run_loop,
    use_machine,
    write_record,
)
from gan_serve.training.run_info import RunInfo, continued, describe_machine, sole_writer
from gan_serve.training.snapshots import load_snapshot, snapshot_path, snapshots
from gan_serve.training.stopping import stop_on_signal
from gan_serve.training.translation.batch_loader import PairLoader
from gan_serve.training.translation.pairs import PairedImages, load_pairs
from gan_serve.training.translation.recorder import TranslationRecorder
from gan_serve.training.translation.settings import (
    TranslationConfig,
    check_translation_config,
    read_translation_config,
)
from gan_serve.training.translation.step import TranslationTraining

PLAIN_FEATURES = {1: "cnn-mnist", 3: "cnn-fashion"}  # for images that no extractor was trained on


def train_translator(
    config: TranslationConfig, run_dir: str | Path, *, resume: bool = False, quiet: bool = False
) -> Finished:
    """Train a translator and write the run to ``run_dir``.

    The folder has the files of every run, see ``gan_serve.training.loop.run_training``; grids have rows of inputs,
    outputs and targets, or without pairs of what comes back.

    Args:
        config: see ``make_translation_config``.
        run_dir: a new folder; with ``resume``, the folder of an interrupted run.
        resume: continue from the last snapshot. On the CPU, with the same number of threads, the final weights are
            bit-equal to those of an uninterrupted run.
        quiet: show no progress bar.

    Returns:
        The end of the run, with its last snapshot.

    Raises:
        DataError, InvalidOption: the images or the settings cannot be used.
        RunError: ``run_dir`` has a run and ``resume`` is not set, the run was made from other data, another process
            writes to it, torchrun started several processes, or the training diverged.
        DeviceUnavailable: ``device="cuda"`` without CUDA. CannotWrite: writing fails.
    """
    run_dir = Path(run_dir)
    check_run_dir(run_dir, resume)
    if started_processes().world > 1:
        raise RunError("A translator is trained by one process.", "Start it without torchrun.")

    # Load data.
    data = load_pairs(config)
    device = pick_device(config.device)
    found = {"channels": data.targets.img_channels, "in_channels": data.inputs.img_channels}
    features = config.features or extractor_for(data.targets) or PLAIN_FEATURES[data.targets.img_channels]
    config = config.model_copy(update=found | {"features": features} | use_machine(config, device))

    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signal())

        # Build networks, and load the last snapshot.
        shape = {"in_channels": data.inputs.img_channels, "img_channels": data.targets.img_channels}
        training = TranslationTraining.start(config, device, **shape)
        stack.enter_context(sole_writer(run_dir))
        check_run_dir(run_dir, resume)  # again, because another process may have started meanwhile
        if earlier := snapshots(run_dir):
            training.load(load_snapshot(earlier[-1]))
            check_kimg(training)

        # Write the config and the record of the run.
        info = continued(run_dir, _run_info(data, describe_machine(device, Processes())))
        write_record(run_dir, config, info, training.shown)

        # Train.
        loader = PairLoader(data, seed=config.seed, device=device)
        recorder = TranslationRecorder(run_dir, training, data, quiet=quiet)
        stack.callback(recorder.close)
        last = run_loop(training, lambda: training.advance(loader), recorder, stop)
        last = last or snapshot_path(run_dir, training.shown / 1000)
        return Finished(last, training.shown, training.seconds, stop.signal)


def resumed_config(run_dir: Path, requested: Mapping[str, Any]) -> TranslationConfig:
    """Return the config of a run that is resumed, with another length or place of the data if requested.

    Raises:
        RunError: another setting is requested.
    """
    recorded = read_translation_config(run_dir)
    config = check_translation_config(recorded.model_dump() | dict(requested))
    now, before = config.model_dump(), recorded.model_dump()
    changed = [key for key in sorted(requested.keys() - {"kimg", "data"}) if now[key] != before[key]]
    if changed:
        raise RunError(
            f"The run in {run_dir} was started with another {changed[0]} ({before[changed[0]]!r}).",
            "Only --kimg may change, and --data if the same images are now elsewhere.",
        )
    return config


def _run_info(data: PairedImages, machine: str) -> RunInfo:
    """Return the record of a run: that of its targets, with the digest of both sides and the notes of the intake."""
    info = RunInfo.of(data.targets, conditional=False, machine=machine, gan_serve_version=__version__)
    summary = (info.data.summary or {}) | {"pairs": data.notes()}
    return info.model_copy(update={"data": info.data.model_copy(update={"digest": data.digest, "summary": summary})})
