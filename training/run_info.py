"""The record of a run's data and machines (``run.json``), and the lock that lets only one process write to a run."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from gan_serve.atomic_files import cannot_write
from gan_serve.checkpoint.json_files import read_json_file
from gan_serve.errors import RunError
from gan_serve.training.changed_settings import Change
from gan_serve.training.data.load import ImageSet
from gan_serve.training.data.summary import summary
from gan_serve.training.distributed import Processes
from gan_serve.training.evaluation.pixel_metrics import pixel_metrics, random_sample


class DataInfo(BaseModel):
    """The training images: their number, size and digest, and metrics to compare a generator with."""

    name: str
    digest: str
    labels_digest: str | None = None  # for a conditional run
    skipped: tuple[str, ...] = ()  # images that could not be read, each as ``name: reason``
    n: int
    img_resolution: int
    img_channels: int
    class_names: tuple[str, ...]
    license: str
    credit: str
    metrics: dict[str, float]
    summary: dict[str, Any] | None = None  # as ``gan-serve data`` describes them; None in runs of earlier versions


class InitInfo(BaseModel):
    """The checkpoint that a run's generator started from, and the digest of its weights file."""

    name: str
    digest: str


class RunInfo(BaseModel):
    """The data of a run, its initial weights, and the machines of the run with their versions of torch.

    length: the measured rate, and the minutes or epochs that became kimg; None if nothing was measured.
    chosen: why settings were chosen for these images and this machine. changes: settings that a resumed run changed.
    """

    data: DataInfo
    init_from: InitInfo | None = None
    machines: tuple[str, ...]
    gan_serve_version: str
    length: dict[str, Any] | None = None
    chosen: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()

    @classmethod
    def of(
        cls,
        data: ImageSet,
        *,
        conditional: bool,
        machine: str,
        gan_serve_version: str,
        init_from: InitInfo | None = None,
    ) -> RunInfo:
        """Return the record of a run on ``data``."""
        described = DataInfo(
            name=data.name,
            digest=data.digest,
            skipped=data.skipped,
            labels_digest=data.labels_digest if conditional else None,
            n=len(data),
            img_resolution=data.img_resolution,
            img_channels=data.img_channels,
            class_names=data.class_names,
            license=data.license,
            credit=data.credit,
            metrics=pixel_metrics(data.images[random_sample(len(data))], "train"),
            summary=summary(data, most=1000),
        )
        return cls(data=described, init_from=init_from, machines=(machine,), gan_serve_version=gan_serve_version)


def read_run_info(run_dir: Path) -> RunInfo:
    """Read ``run.json``.

    Raises:
        RunError: the folder has no run, or the file is damaged.
    """
    path = run_dir / "run.json"
    try:
        return RunInfo.model_validate(read_json_file(path))
    except FileNotFoundError as error:
        raise RunError(f"{run_dir} has no training run.", "Give the --run-dir of a training.") from error
    except (ValueError, OSError) as error:  # pydantic's and json's errors are ValueErrors
        raise RunError(f"{path} is damaged.", "Start a new run.") from error


def continued(run_dir: Path, info: RunInfo) -> RunInfo:
    """Return ``info`` with the record of earlier processes: the initial weights and the machines."""
    if not (run_dir / "run.json").exists():
        return info
    before = read_run_info(run_dir)
    if before.data.digest != info.data.digest:
        raise RunError(
            f"The run in {run_dir} was made from other images ({before.data.name}, {before.data.digest[:19]}...).",
            "Give the same data, or start a new run.",
        )
    if before.data.labels_digest != info.data.labels_digest:
        raise RunError(
            f"The run in {run_dir} was made with other labels than {info.data.name} has now.",
            "Give the same labels, or start a new run.",
        )
    # None: the run continues from a snapshot and did not read weights.
    if info.init_from not in (None, before.init_from):
        raise RunError(
            f"The run in {run_dir} started from other weights than {info.init_from.name} has now.",
            "Give the checkpoint that it was started with, or start a new run.",
        )
    return before.model_copy(
        update={
            "machines": tuple(dict.fromkeys((*before.machines, *info.machines))),
            "changes": (*before.changes, *info.changes),
        }
    )


def describe_machine(device: torch.device, processes: Processes) -> str:
    """Return the processor, the threads of a CPU, and the version of torch."""
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        processor = f"{threads} CPU thread{'' if threads == 1 else 's'} ({_cpu_name()})"
    times = f"{processes.world} x " if processes.world > 1 else ""
    return f"{times}{processor}, torch {torch.__version__}"


def _cpu_name() -> str:
    with contextlib.suppress(OSError):  # Linux only
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


@contextlib.contextmanager
def sole_writer(run_dir: Path) -> Iterator[None]:
    """Hold the lock of the run, which the system releases even if the process is killed; none without filelock."""
    with cannot_write(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        yield
        return
    with cannot_write(run_dir):
        lock = FileLock(run_dir / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(f"Another process is writing to {run_dir}.", "Wait for it, or stop it first.") from error
    try:
        yield
    finally:
        lock.release()
