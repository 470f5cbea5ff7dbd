"""What ``/metrics`` tells beside BentoML's own: images, batches, and where the time goes.

Imported by the service only, after BentoML has said where the counts of its processes meet.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil
from prometheus_client import Counter, Gauge, Histogram, multiprocess

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

requests = Counter("gan_serve_requests", "Requests answered.", ["endpoint", "status"])
request_seconds = Histogram("gan_serve_request_seconds", "Seconds of a request.", ["endpoint"], buckets=_SECONDS)
rejected = Counter("gan_serve_rejected", "Requests refused, by the code of the error.", ["reason"])
images = Counter("gan_serve_images", "Images drawn and encoded.", ["model", "format"])
batch_images = Histogram(
    "gan_serve_batch_images", "Images in a run of the network.", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
queued_requests = Gauge(
    "gan_serve_queued_requests", "Requests that wait or are being drawn.", multiprocess_mode="livesum"
)
queue_seconds = Histogram("gan_serve_queue_seconds", "Seconds that a request waits to be drawn.", buckets=_SECONDS)
inference_seconds = Histogram(
    "gan_serve_inference_seconds", "Seconds of a run of the network, latents included.", ["model"], buckets=_SECONDS
)
encoding_seconds = Histogram(
    "gan_serve_encoding_seconds", "Seconds to encode the images of a request.", ["format"], buckets=_SECONDS
)
loaded_models = Gauge("gan_serve_loaded_models", "Models in memory.", multiprocess_mode="livesum")


def forget_the_dead() -> None:
    """Drop the gauges of workers that were killed: they could not do it themselves, and would count for ever."""
    for file in Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", os.devnull)).glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        if not _is_worker_of_ours(process):
            with contextlib.suppress(FileNotFoundError):  # another worker was first
                multiprocess.mark_process_dead(process)  # type: ignore[no-untyped-call]


def _is_worker_of_ours(process: int) -> bool:
    """Whether it lives, and its parent is ours: a number may be given again, and the dead may not be buried yet."""
    try:
        found = psutil.Process(process)
        return bool(found.ppid() == os.getppid() and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
