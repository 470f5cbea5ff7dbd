"""The metrics of the service for Prometheus: requests, images, batches and durations.

Workers share their metrics through files in ``PROMETHEUS_MULTIPROC_DIR`` (prometheus_client's multiprocess mode). The
files are memory-mapped: on a full disk, writing a count kills the process. So their space is reserved before
prometheus_client is imported; if there is no space, this worker's metrics are not combined with the others'.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from gan_serve.service import request_log

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_RESERVED = {"counter": 2**17, "histogram": 2**19, "gauge_livesum": 2**15}  # bytes by prometheus_client's file names


def _reserve_space() -> str:
    """Reserve the space of this worker's files; otherwise leave multiprocess mode and return the reason."""
    if not (folder := os.environ.get(FOLDER)):
        return ""
    files = {Path(folder) / f"{kind}_{os.getpid()}.db": size for kind, size in _RESERVED.items()}
    try:
        for path, size in files.items():
            with path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, size)
    except AttributeError:  # no such system call here (macOS, Windows)
        pass
    except OSError as error:
        for path in files:
            path.unlink(missing_ok=True)
        del os.environ[FOLDER]
        return f"{folder} has no room for metrics ({error.strerror}): this worker's are kept apart."
    return ""


_kept_apart = _reserve_space()

from prometheus_client import (  # noqa: E402  # it reads the variable when it is imported
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

requests = Counter("gan_serve_requests", "Requests by endpoint and status.", ["endpoint", "status"])
request_seconds = Histogram(
    "gan_serve_request_seconds", "Duration of a request in seconds.", ["endpoint"], buckets=_SECONDS
)
rejected = Counter("gan_serve_rejected", "Requests refused, by the code of the error.", ["reason"])
key_requests = Counter("gan_serve_key_requests", "Requests by the name of their API key.", ["key", "status"])
images = Counter("gan_serve_images", "Images sampled and encoded.", ["model", "format"])
batch_images = Histogram(
    "gan_serve_batch_images", "Images in a batch.", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
queued_requests = Gauge(
    "gan_serve_queued_requests", "Requests that wait or are being sampled.", multiprocess_mode="livesum"
)
queue_seconds = Histogram("gan_serve_queue_seconds", "Seconds that a request waits to be sampled.", buckets=_SECONDS)
inference_seconds = Histogram(
    "gan_serve_inference_seconds",
    "Seconds that a batch takes in the network, latents included.",
    ["model"],
    buckets=_SECONDS,
)
encoding_seconds = Histogram(
    "gan_serve_encoding_seconds", "Seconds to encode the images of a request.", ["format"], buckets=_SECONDS
)
loaded_models = Gauge("gan_serve_loaded_models", "Models in memory.", multiprocess_mode="livesum")


def exposition() -> bytes:
    """Return the metrics of all workers as text for Prometheus."""
    if FOLDER not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def start() -> None:
    """Log if this worker's metrics are kept apart, and drop the gauges of workers that were killed.

    These could not do it themselves, and would be counted for ever.
    """
    if _kept_apart:
        request_log.service.warning(_kept_apart)
    for file in Path(os.environ.get(FOLDER, os.devnull)).glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        if not _runs(process):
            forget(process)


def forget(process: int) -> None:
    """Drop the gauges of a worker that ends or has ended; its counters stay."""
    if FOLDER in os.environ:
        with contextlib.suppress(FileNotFoundError):  # another worker was first
            multiprocess.mark_process_dead(process)  # type: ignore[no-untyped-call]


def _runs(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
