"""Start the service from the command line."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterable, Iterator
from pathlib import Path

import uvicorn

from gan_serve.checkpoint.bundled import list_models
from gan_serve.checkpoint.config import AnyConfig, Precision
from gan_serve.checkpoint.files import read_any_config
from gan_serve.errors import ServiceError
from gan_serve.hub.file_sets import service_files
from gan_serve.hub.resolve import resolve
from gan_serve.sampling.device import choose_precision, wants_cuda
from gan_serve.service import request_log
from gan_serve.service.access_control import read_keys
from gan_serve.service.settings import Settings
from gan_serve.service.supervisor import Supervisor
from gan_serve.terminal import echo

FILES = ("api_keys", "uds", "tls_cert", "tls_key")  # settings that are paths
MAX_FILES = 65_536
BACKLOG = 2048
# By default glibc does not return blocks of up to 64 MB to the system: a worker would keep that of a large response.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": 4 * 2**20, "MALLOC_TRIM_THRESHOLD_": 16 * 2**20}
HEALTH_SECONDS = 30  # a worker that does not respond to its supervisor for this long is killed


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    models: Iterable[str] = (),
    settings: Settings | None = None,
    open_page: bool = False,
) -> None:
    """Serve models over HTTP until a signal ends it.

    Args:
        host: the name or address to listen on; ``0.0.0.0`` for all.
        port: the port to listen on.
        models: names, directories or repositories on the Hub; if empty, those of the settings, else all of the package.
        settings: everything else; by default from environment variables.
        open_page: open the page in a browser when all workers are ready.

    Raises:
        UnknownModel, InvalidCheckpoint, HubError: a model cannot be found or read. InvalidOption: a model lacks the
        precision, or there is no such device. ServiceError: the port is in use, the host unknown, a setting invalid, or
        workers cannot start.
    """
    settings = settings or Settings.read()
    request_log.configure(settings)
    files = service_files(settings.precision, settings.device)
    # Absolute paths, since workers run in another folder. Models on the Hub are fetched now, never by a request.
    wanted = dict.fromkeys([*models] or settings.models)
    directories = [resolve(model, files=files).resolve() for model in wanted]
    aliases = {name: resolve(model, files=files).resolve() for name, model in map(_pair, settings.aliases)}
    shown = [*directories, *aliases.values()] or list(map(resolve, list_models()))
    configs = [read_any_config(directory) for directory in shown]
    if not configs:
        raise ServiceError(
            "There is no model to serve: the package contains none.", "Give the directory of a checkpoint."
        )
    precisions = [choose_precision(config, settings.precision, settings.device) for config in configs]
    read_keys(settings)
    update: dict[str, object] = {
        "models": tuple(map(str, directories)),
        "aliases": tuple(f"{name}={directory}" for name, directory in aliases.items()),
        **{name: str(Path(given).resolve()) for name in FILES if (given := getattr(settings, name))},
    }
    settings = settings.model_copy(update=update)
    listening = _listen_on_path(settings.uds) if settings.uds else _listen(host, port)
    url = _url(host, port, settings)
    _log_start(url, settings, configs, precisions)
    start = time.monotonic()

    def tell_ready() -> None:
        seconds = time.monotonic() - start
        if request_log.uses_json(settings):
            request_log.service.info("Ready.", extra={"fields": {"seconds": round(seconds, 1)}})
        else:
            echo(_ready_line(url, settings, configs, seconds))
        if open_page:
            # In a thread: a browser in a terminal returns only when it is closed.
            threading.Thread(target=webbrowser.open, args=(f"{url}/",), daemon=True).start()

    _raise_file_limit()
    os.environ |= {name: str(size) for name, size in MALLOC.items() if name not in os.environ}
    os.environ |= settings.as_environment()
    with _private_folder():
        config = uvicorn.Config(
            "gan_serve.service.app:create",
            factory=True,
            workers=settings.processes,
            http="gan_serve.service.http_limits:LimitedProtocol",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            forwarded_allow_ips=list(settings.proxies),
            timeout_keep_alive=settings.keep_alive,
            timeout_worker_healthcheck=HEALTH_SECONDS,
            ssl_certfile=settings.tls_cert or None,
            ssl_keyfile=settings.tls_key or None,
        )
        supervisor = Supervisor(config, [listening], settings.drain, shown, on_ready=tell_ready)
        supervisor.run()
        if settings.uds:
            Path(settings.uds).unlink(missing_ok=True)
    if supervisor.failure:
        raise ServiceError(supervisor.failure, "The lines above say why.")


@contextlib.contextmanager
def _private_folder() -> Iterator[None]:
    """Run the workers in a private folder, since Python imports modules from the working folder.

    The folder also holds the files of their metrics.
    """
    here = Path.cwd()
    sys.path[:] = [path for path in sys.path if path and (Path(path) != here or _holds_this_package(here))]
    os.environ["PYTHONSAFEPATH"] = "1"
    with tempfile.TemporaryDirectory(prefix="gan-serve-", ignore_cleanup_errors=True) as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


def _holds_this_package(folder: Path) -> bool:
    return folder == Path(__file__).parents[2]


def _raise_file_limit() -> None:
    """Raise the limit of open files to that of the system: each connection is one, and the usual limit is 1,024."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MAX_FILES)), hard))


def _listen(host: str, port: int) -> socket.socket:
    """Return the listening socket of all workers."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServiceError(
                f"Port {port} is in use.",
                f"Use another, for example --port {port + 1}, or stop the process that listens there.",
            ) from error
        raise ServiceError(
            f"Cannot listen on {host}, port {port}: {error.strerror}.", "Try 127.0.0.1 and a port from 1024 to 65535."
        ) from error


def _listen_on_path(path: str) -> socket.socket:
    """Return a listening Unix socket; the file that an ended server left behind is replaced."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
            raise ServiceError(f"{path} is in use.", "Use another path, or stop the process that listens there.")
        Path(path).unlink(missing_ok=True)
        listening.bind(path)
        listening.listen(BACKLOG)
    except OSError as error:
        raise ServiceError(f"Cannot listen on {path}: {error.strerror}.", "Give a path that may be written.") from error
    return listening


def _pair(alias: str) -> tuple[str, str]:
    name, _, model = alias.partition("=")
    return name, model


def _url(host: str, port: int, settings: Settings) -> str:
    host = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"unix:{settings.uds}" if settings.uds else f"http{'s' * bool(settings.tls_cert)}://{host}:{port}"


def _ready_line(url: str, settings: Settings, configs: list[AnyConfig], seconds: float) -> str:
    """Return what is printed when all workers are ready."""
    names = [config.name for config in configs]
    models = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    workers = "1 worker" if settings.processes == 1 else f"{settings.processes} workers"
    device = "cuda" if wants_cuda(settings.device) else "cpu"
    return f"Ready in {seconds:.1f} s: {models} at {url}/ ({workers} on {device}; Ctrl+C ends it)"


def _log_start(url: str, settings: Settings, configs: list[AnyConfig], precisions: list[Precision]) -> None:
    """Log the address and the models, where logs are JSON; a terminal gets ``_ready_line``."""
    if request_log.uses_json(settings):
        served = {config.name: precision for config, precision in zip(configs, precisions, strict=True)}
        device = "cuda" if wants_cuda(settings.device) else "cpu"
        fields = {"url": url, "workers": settings.processes, "device": device, "models": served}
        request_log.service.info("Serving on %s.", url, extra={"fields": fields})
