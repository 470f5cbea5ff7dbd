"""Node, and onnxruntime-web from npm, for the tests of pages without a server; a skip says what is missing."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gan_serve.atomic_files import directory_atomically
from gan_serve.errors import CannotWrite, InvalidOption
from gan_serve.service.static_site import engine_module
from gan_serve.service.web_runtime import MODULE, PACKAGES, WASM, web_runtime

CACHE = Path(__file__).parents[1] / "build" / "-".join(["web", *(version for version, _ in PACKAGES.values())])

_PRELUDE = """
import {{ readFileSync, writeFileSync }} from "node:fs";
import * as ort from {runtime};
import * as engine from {engine};
ort.env.wasm.wasmBinary = readFileSync({wasm}).buffer;
const {{ Generator }} = engine;
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
    """Run a module with `Generator`, `engine`, `ort` and `save` in Node; return what it gives to `report`, or None."""
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
    done = subprocess.run([node, "test.mjs"], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(report.read_text("utf-8")) if report.is_file() else None
