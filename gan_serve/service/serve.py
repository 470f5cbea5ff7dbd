"""Start the service from the command line."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterable

import click

from gan_serve.checkpoint import read_config
from gan_serve.errors import ServiceError
from gan_serve.hub import list_models, network, resolve
from gan_serve.runtime import choose_precision
from gan_serve.service.settings import Settings


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    models: Iterable[str] = (),
    precision: str = "fp32",
    device: str = "auto",
    workers: int = 1,
) -> None:
    """Serve models over HTTP until a signal ends it; this process becomes BentoML's and does not return.

    Args:
        host: the name or address to listen on; ``0.0.0.0`` for all.
        port: the port to listen on.
        models: names, directories or repositories on the Hub; all of the package if empty.
        precision: ``fp32``, another that every model has a file for, or ``auto``.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: processes, each with its own copy of the models.

    Raises:
        UnknownModel, InvalidCheckpoint, HubError: a model is not there. InvalidOption: a model has no such precision,
        or there is no such device. ServiceError: the port is in use, or the host unknown.
    """
    # Absolute, since BentoML may work in another folder. What lies on the Hub is fetched now, and by no request.
    directories = [resolve(model, files=network(precision, device)).resolve() for model in models]
    configs = [read_config(directory) for directory in directories or map(resolve, list_models())]
    if not configs:
        raise ServiceError("There is no model to serve: the package has none.", "Name a directory that holds one.")
    for config in configs:
        choose_precision(config, precision, device)
    settings = Settings.from_environment().model_copy(
        update={
            "models": tuple(map(str, directories)),
            "precision": precision,
            "device": device,
            "workers": workers,
        }
    )
    address = _free_address(host, port)
    _say_what_is_served(host, port, [config.name for config in configs])
    os.environ |= settings.as_environment() | {"BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", "serve", "gan_serve.service:GanService"]
    os.execv(sys.executable, [*command, "--host", address, "--port", str(port)])


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


def _say_what_is_served(host: str, port: int, names: list[str]) -> None:
    host = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    url = f"http://{host}:{port}"
    click.echo(f"Serving {', '.join(names)} on {url} (Ctrl+C ends it). Try:")
    body = f'{{"model": "{names[0]}", "seeds": "0-15"}}'
    click.echo(f"  curl {url}/sample -H 'Content-Type: application/json' -d '{body}' -o grid.png")
