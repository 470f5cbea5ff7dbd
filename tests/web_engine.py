"""Node, onnxruntime-web from npm and a static host, for the tests of pages without a server.

A skip says what is missing.
"""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from gan_serve.atomic_files import directory_atomically
from gan_serve.errors import CannotWrite, InvalidOption
from gan_serve.service.static_site import engine_module
from gan_serve.service.web_runtime import MODULE, PACKAGES, WASM, web_runtime

CACHE = Path(__file__).parents[1] / "build" / "-".join(["web", *(version for version, _ in PACKAGES.values())])

NO_OPTIMISER = "--liftoff-only"  # V8 computes the same; optimising ONNX Runtime takes 2 s of the processor each time

_PRELUDE = """
import {{ readFileSync, writeFileSync }} from "node:fs";
import * as ort from {runtime};
import * as engine from {engine};
ort.env.wasm.wasmBinary = readFileSync({wasm}).buffer;
const {{ Generator, Translator }} = engine;
const save = (path, bytes) => writeFileSync(path, bytes);
"""


@functools.cache
def runtime_folder() -> Path:
    """A folder with onnxruntime-web and gifenc, fetched once for all test runs of a checkout."""
    if not CACHE.is_dir():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed (Debian: apt-get install npm)")
        try:
            files = web_runtime()
        except InvalidOption as error:
            pytest.skip(f"npm's registry cannot be reached: {error.message}")
        try:
            with directory_atomically(CACHE) as folder:
                for name, content in files.items():
                    (folder / name).write_bytes(content)
        except CannotWrite:  # another process was faster
            if not CACHE.is_dir():
                raise
    return CACHE


def run_node(folder: Path, script: str) -> Any:
    """Run a module in Node; return what it gives to `report`, or None.

    It has `Generator`, `Translator`, `engine`, `ort`, `readFileSync` and `save`.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed (Debian: apt-get install nodejs)")
    runtime = runtime_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gan-serve.mjs").write_text(engine_module(), "utf-8")
    prelude = _PRELUDE.format(
        runtime=json.dumps((runtime / MODULE).as_uri()),
        engine=json.dumps((folder / "gan-serve.mjs").as_uri()),
        wasm=json.dumps(str(runtime / WASM)),
    )
    report = folder / "report.json"
    ending = f"const report = (value) => writeFileSync({json.dumps(str(report))}, JSON.stringify(value));\n"
    (folder / "test.mjs").write_text(prelude + ending + script, "utf-8")
    command = [node, NO_OPTIMISER, "test.mjs"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(report.read_text("utf-8")) if report.is_file() else None


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A static host that writes no log."""

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


class Site:
    """A folder behind a static host, which can go away."""

    def __init__(self, folder: Path) -> None:
        handler = functools.partial(Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Go away for good."""
        self._server.shutdown()
        self._server.server_close()
