"""The files of a checkpoint that are needed for a purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gan_serve.checkpoint.config import (
    LATENT_SPACE_FILE,
    PRECISION_FILES,
    REPORT_FILES,
    SAMPLES_FILE,
    AnyConfig,
)
from gan_serve.sampling.device import choose_precision

FileSet = Callable[[AnyConfig], Iterable[str]]  # the files of a checkpoint that are needed beside config.json


def config_only(_: AnyConfig) -> Iterable[str]:
    """Return no file beside ``config.json``."""
    return ()


def every_file(config: AnyConfig) -> Iterable[str]:
    """Return all files that ``config.json`` lists."""
    return config.files


def network_files(precision: str, device: str) -> FileSet:
    """Return the set of the network for ``precision`` on ``device`` and the latent space; for ``auto`` also the
    network for the CPU."""
    devices = (device, "cpu") if device == "auto" else (device,)

    def files(config: AnyConfig) -> Iterable[str]:
        networks = {PRECISION_FILES[choose_precision(config, precision, name)]: None for name in devices}
        return [*networks, *({LATENT_SPACE_FILE} & set(config.files))]

    return files


def service_files(precision: str, device: str) -> FileSet:
    """Return the set of a server: the network, the reports and the picture of samples."""
    network = network_files(precision, device)
    return lambda config: {*network(config), *({*REPORT_FILES, SAMPLES_FILE} & set(config.files))}
