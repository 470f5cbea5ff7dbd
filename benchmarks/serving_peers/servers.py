"""Start the servers for ``benchmarks/serving.py``, and measure their processes.

A server has one checkpoint in one precision, and responds to a ``POST`` with a seed by one PNG.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from gan_serve.checkpoint.config import PRECISION_FILES, WEIGHTS_FILE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = ROOT / "build" / "bench"
BIN = ROOT / ".venv" / "bin"
PEERS_BIN = ROOT / ".venv-serving-peers" / "bin"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "BENTOML_DO_NOT_TRACK": "True",
}
TORCHSERVE_MODEL = {"minWorkers": 2, "maxWorkers": 2, "batchSize": 4, "maxBatchDelay": 5, "responseTimeout": 60}
START_TIMEOUT = 120.0  # seconds; TorchServe starts a Java machine and then its workers


@dataclass(frozen=True)
class Way:
    """The configuration of a server: its command, and the path and body of a request.

    body: JSON with %d for the seed. description: the settings, for the report.
    """

    description: str
    command: Callable[[Path, str, int], list[str]]  # checkpoint, precision, port
    path: str
    body: Callable[[str], str]  # from the name of the checkpoint
    png: Callable[[bytes], bytes] = bytes  # returns the PNG in a response
    precisions: tuple[str, ...] = ("fp32", "int8")
    environment: dict[str, str] = field(default_factory=dict)


def gan_serve_command(checkpoint: Path, precision: str, port: int) -> list[str]:
    """Return the command of the installed service with its defaults for this machine."""
    return [
        str(BIN / "gan-serve"), "serve", "--model", str(checkpoint), "--port", str(port), "--precision", precision
    ]  # fmt: skip


def fastapi_command(checkpoint: Path, precision: str, port: int) -> list[str]:
    return [
        str(PEERS_BIN / "uvicorn"), "fastapi_app:app", "--port", str(port), "--workers", "2", "--no-access-log",
        "--log-level", "warning",
    ]  # fmt: skip


def litserve_command(checkpoint: Path, precision: str, port: int) -> list[str]:
    return [str(PEERS_BIN / "python"), str(HERE / "litserve_app.py"), str(port)]


def bentoml_command(checkpoint: Path, precision: str, port: int) -> list[str]:
    return [
        str(BIN / "python"), "-m", "bentoml", "serve", "bento_batchable:Images", "--working-dir", str(HERE),
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip


def torchserve_command(checkpoint: Path, precision: str, port: int) -> list[str]:
    """Write the model archive and the settings, and return the command."""
    directory = WORK / "torchserve"
    shutil.rmtree(directory, ignore_errors=True)
    store = directory / "store"
    store.mkdir(parents=True)
    extra = ",".join(str(checkpoint / name) for name in ("config.json", WEIGHTS_FILE))
    archive = [
        str(PEERS_BIN / "torch-model-archiver"), "--model-name", "images", "--version", "1.0", "--handler",
        str(HERE / "torchserve_handler.py"), "--extra-files", extra, "--export-path", str(store),
    ]  # fmt: skip
    subprocess.run(archive, check=True)
    model = {"defaultVersion": True, "marName": "images.mar"} | TORCHSERVE_MODEL
    settings = {
        "inference_address": f"http://127.0.0.1:{port}",
        "management_address": f"http://127.0.0.1:{free_port()}",
        "metrics_address": f"http://127.0.0.1:{free_port()}",
        "initial_worker_port": free_port(),
        "grpc_inference_port": free_port(),
        "grpc_management_port": free_port(),
        "disable_token_authorization": "true",
        "enable_envvars_config": "false",
        "disable_system_metrics": "true",
        "async_logging": "true",
        "job_queue_size": 1000,
        "models": json.dumps({"images": {"1.0": model}}),
    }
    (directory / "config.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    return [
        str(PEERS_BIN / "torchserve"), "--start", "--foreground", "--ncs", "--model-store", str(store),
        "--models", "images=images.mar", "--ts-config", str(directory / "config.properties"),
        "--log-config", str(HERE / "torchserve_log4j2.xml"),
    ]  # fmt: skip


def _seed(_name: str) -> str:
    return '{"seed": %d}'


GAN_SERVE = "gan-serve"
WAYS = {
    GAN_SERVE: Way(
        "`gan-serve serve --model DIR --precision X`, nothing else set",
        gan_serve_command,
        "/sample",
        lambda name: json.dumps({"model": name, "seed": 0}).replace(": 0", ": %d"),
    ),
    "FastAPI": Way(
        "`uvicorn --workers 2`, a `def` endpoint, so in threads; one ONNX Runtime session a worker; no batching",
        fastapi_command,
        "/sample",
        _seed,
    ),
    "LitServe": Way(
        "its batching, `max_batch_size=4` and `batch_timeout=0.002`; two workers, two API servers, no access log",
        litserve_command,
        "/sample",
        _seed,
    ),
    "TorchServe": Way(
        "its batching, `batchSize` 4 and `maxBatchDelay` 5 ms; two workers of one thread, no access log, no metrics",
        torchserve_command,
        "/predictions/images",
        _seed,
        precisions=("fp32",),
        environment={"TMPDIR": str(WORK)},  # of the file with its process number: another TorchServe may run here
    ),
    "BentoML": Way(
        "a batchable API with its adaptive batches, of 32 at most; two workers; no access log, no metrics; its answer "
        "is JSON with base64, for a PNG as body would need a second service before it",
        bentoml_command,
        "/sample",
        lambda _name: '{"seeds": [%d]}',
        png=lambda answer: base64.b64decode(json.loads(answer)[0]),
    ),
}


@dataclass
class Server:
    """A running server."""

    name: str
    precision: str
    way: Way
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    spins: bool = False  # it uses CPU time without requests, and is stopped between its turns

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, body: str | None, path: str | None = None) -> bytes:
        """Return the response to a request, a POST if it has a body; raise ``urllib.error.URLError``, ``OSError``."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + (path or self.way.path), body.encode() if body else None, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes so far."""
        total = 0.0
        for process in self.processes():
            times = process.cpu_times()
            total += times.user + times.system
        return total

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let a server that spins run for a while."""
        if self.spins:
            self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            if self.spins:
                self._signal(signal.SIGSTOP)

    def pause(self) -> None:
        """Stop it, so that it runs only while ``awake``."""
        self.spins = True
        self._signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Terminate it, and kill it if it does not end."""
        processes = self.processes() if self.process.poll() is None else []
        self._signal(signal.SIGCONT)
        self.process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=10)
        for process in alive:
            process.kill()
        self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            for process in self.processes():
                process.send_signal(number)


def start(name: str, precision: str, checkpoint: Path) -> Server:
    """Start a server, without waiting until it is ready."""
    way, port = WAYS[name], free_port()
    log = WORK / "logs" / f"{name}-{precision}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | ENVIRONMENT | way.environment | {"PYTHONPATH": os.pathsep.join(paths)}
    environment |= {"CHECKPOINT": str(checkpoint), "NETWORK": PRECISION_FILES[precision]}
    # A separate session, because Linux divides CPU time among sessions (autogroups), so that wrk gets its share.
    with log.open("wb") as output:
        process = subprocess.Popen(
            way.command(checkpoint, precision, port),
            env=environment,
            cwd=WORK,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Server(name, precision, way, port, process, log)


def wait_until_ready(server: Server, body: str | None, path: str | None = None, every: float = 0.2) -> None:
    """Send requests every so many seconds until there is a response.

    Raises:
        RuntimeError: the server ended, or did not respond in time.
    """
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end and server.process.poll() is None:
        try:
            server.ask(body, path)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(every)
    raise RuntimeError(f"{server.name} does not respond; see {server.log}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
