"""Start the service from the command line."""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import entry_points

import click

from gan_serve.checkpoint.bundled import list_models
from gan_serve.checkpoint.config import CheckpointConfig, Precision, describe
from gan_serve.checkpoint.files import read_config
from gan_serve.errors import ServiceError
from gan_serve.hub.file_sets import service_files
from gan_serve.hub.resolve import resolve
from gan_serve.sampling.device import choose_precision, wants_cuda
from gan_serve.service.settings import METRICS_FOLDER, Settings

MAX_FILES = 65_536


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    models: Iterable[str] = (),
    precision: str | None = None,
    device: str | None = None,
    workers: int | None = None,
    lazy: bool | None = None,
    memory: int | None = None,
) -> None:
    """Serve models over HTTP until a signal ends it; it does not return.

    What is not given here is as the environment says (``Settings``), with all other limits.

    Args:
        host: the name or address to listen on; ``0.0.0.0`` for all.
        port: the port to listen on.
        models: names, directories or repositories on the Hub; if empty, and none are set, all of the package.
        precision: ``fp32``, another that every model has a file for, or ``auto``.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: processes, each with its own copy of the models; 0 for one a core, up to 8.
        lazy: whether a model is loaded at its first request.
        memory: megabytes for the models of a worker, 0 for no bound.

    Raises:
        UnknownModel, InvalidCheckpoint, HubError: a model is not there. InvalidOption: a model has no such precision,
        or there is no such device. ServiceError: the port is in use, the host unknown, or a setting makes no sense.
    """
    settings = Settings.from_environment().changed(
        precision=precision, device=device, workers=workers, lazy=lazy, memory=memory
    )
    files = service_files(settings.precision, settings.device)
    # Absolute, since BentoML may work in another folder. What lies on the Hub is fetched now, and by no request.
    wanted = dict.fromkeys([*models] or settings.models)
    directories = [resolve(model, files=files).resolve() for model in wanted]
    configs = [read_config(directory) for directory in directories or map(resolve, list_models())]
    if not configs:
        raise ServiceError("There is no model to serve: the package has none.", "Name a directory that holds one.")
    precisions = [choose_precision(config, settings.precision, settings.device) for config in configs]
    settings = settings.model_copy(update={"models": tuple(map(str, directories))})
    address = _free_address(host, port)
    _say_what_is_served(host, port, settings, configs, precisions)
    os.environ |= settings.as_environment() | {"BENTOML_DO_NOT_TRACK": "True"}
    _raise_file_limit()
    [bentoml] = entry_points(group="console_scripts", name="bentoml")
    with tempfile.TemporaryDirectory(prefix="gan-serve-metrics-") as folder:
        os.environ[METRICS_FOLDER] = folder
        # In this process, which has imported half of what BentoML needs already.
        bentoml.load()(["serve", "gan_serve.service:GanService", "--host", address, "--port", str(port)])


def _raise_file_limit() -> None:
    """Let connections be as many as the system allows: each is a file, and the usual limit of 1,024 is soon met."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MAX_FILES)), hard))


def _free_address(host: str, port: int) -> str:
    """The IP address of ``host`` (BentoML takes no names), after a try to listen there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServiceError(
                f"Port {port} is in use.", f"Take another, for example --port {port + 1}, or stop what listens there."
            ) from error
        raise ServiceError(
            f"Cannot listen on {host}, port {port}: {error.strerror}.", "Try 127.0.0.1 and a port from 1024 to 65535."
        ) from error
    return str(address[0])


def _say_what_is_served(
    host: str, port: int, settings: Settings, configs: list[CheckpointConfig], precisions: list[Precision]
) -> None:
    host = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    url = f"http://{host}:{port}"
    device = "cuda" if wants_cuda(settings.device) else "cpu"
    click.echo(f"Serving on {url} with {settings.processes} worker(s); Ctrl+C ends it.")
    width = max(len(config.name) for config in configs)
    for config, precision in zip(configs, precisions, strict=True):
        click.echo(f"  {config.name:<{width}}  {describe(config)}, {precision} on {device}")
    key = " -H 'Authorization: Bearer KEY'" if settings.api_key.get_secret_value() else ""
    body = f'{{"model": "{configs[0].name}", "seeds": "0-15"}}'
    click.echo(f"Explore them at {url}/ or try:")
    click.echo(f"  curl {url}/sample -H 'Content-Type: application/json'{key} -d '{body}' -o grid.png")
