"""The golden sample: a network that does not compute the image in its config is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from gan_serve.checkpoint.config import AnyConfig, Precision
from gan_serve.errors import GoldenSampleMismatch, InvalidCheckpoint
from gan_serve.images.compare import describe_mismatch
from gan_serve.images.pixels import UInt8Array

if TYPE_CHECKING:
    import onnxruntime

GOLDEN_SECONDS = 60.0  # the bundled networks take milliseconds


def check_golden_sample(
    config: AnyConfig, precision: Precision, run: Callable[[onnxruntime.RunOptions], UInt8Array]
) -> None:
    """Compute the golden sample and compare it with that of the config.

    Args:
        config: of the checkpoint.
        precision: of the network.
        run: a function that computes the sample, uint8 [1, H, W, C], with options that can stop it between two nodes.

    Raises:
        GoldenSampleMismatch: the pixels differ by more than rounding.
        InvalidCheckpoint: the network cannot be run, or takes more than ``GOLDEN_SECONDS``.
    """
    images = _run_in_time(config.name, run)
    if error := describe_mismatch(images, config.golden_sample.pixels(precision)[None], precision):
        raise GoldenSampleMismatch(
            f"{config.name} does not compute its golden sample in {precision}: {error}.",
            "Fetch the checkpoint again, or try another precision, device or ONNX Runtime version.",
        )


def _run_in_time(name: str, run: Callable[[onnxruntime.RunOptions], UInt8Array]) -> UInt8Array:
    import onnxruntime

    options = onnxruntime.RunOptions()
    ended = threading.Event()

    def end() -> None:
        options.terminate = True
        ended.set()

    timer = threading.Timer(GOLDEN_SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        return run(options)
    except InvalidCheckpoint as error:
        if ended.is_set():
            raise InvalidCheckpoint(
                f"The network of {name} did not compute its golden sample in {GOLDEN_SECONDS:.0f} seconds.",
                "Use a smaller network or a faster device.",
            ) from error
        raise
    finally:
        timer.cancel()
