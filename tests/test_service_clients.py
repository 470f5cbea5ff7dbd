"""Clients that others wrote or generated call the service: BentoML's own, and those made from its OpenAPI document."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from answers import NAME, post

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("sample", {"model": NAME, "seeds": "0-3"}),
    ("condition", {"model": "conditional", "seeds": "0-3", "format": "npz"}),
    ("interpolate", {"model": NAME, "seeds": "0,5", "steps": 3}),
]


# In a process of its own: BentoML's clients warn, and leave folders for the garbage collector to remove.
BENTOML_PROGRAM = """
import asyncio, hashlib, json, sys
import bentoml

address, calls = sys.argv[1], json.loads(sys.argv[2])
digests = []
with bentoml.SyncHTTPClient(address) as client:
    digests.append([hashlib.sha256(getattr(client, name)(**body)).hexdigest() for name, body in calls])
    try:
        client.sample(model="nope")
    except bentoml.exceptions.BentoMLException as error:
        assert "no model" in str(error)

async def ask():
    async with bentoml.AsyncHTTPClient(address) as client:
        return [hashlib.sha256(await getattr(client, name)(**body)).hexdigest() for name, body in calls]

digests.append(asyncio.run(ask()))
print(json.dumps(digests))
"""


def test_bentoml_clients_get_the_same_bytes(server: httpx.Client) -> None:
    program = [sys.executable, "-c", BENTOML_PROGRAM, str(server.base_url), json.dumps(CALLS)]
    environment = os.environ | {"BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(program, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    expected = [hashlib.sha256(post(server, f"/{name}", **body).content).hexdigest() for name, body in CALLS]
    assert json.loads(done.stdout.splitlines()[-1]) == [expected, expected]


def test_a_generated_python_client_calls_every_endpoint(
    server: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "docs.json"
    document.write_bytes(server.get("/openapi.json").content)
    package = tmp_path / "generated_client"
    generate = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    subprocess.run([*generate, "--path", document, "--output-path", package], check=True, capture_output=True)
    monkeypatch.syspath_prepend(tmp_path)
    client = importlib.import_module("generated_client").Client(base_url=str(server.base_url))
    models = importlib.import_module("generated_client.models")

    def call(name: str, /, *arguments: Any, **options: Any) -> Any:
        module = importlib.import_module(f"generated_client.api.default.{name}")
        response = module.sync_detailed(*arguments, client=client, **options)
        assert response.status_code == 200, response
        return response.parsed

    for name, body in CALLS:
        for format in ("png", "json", "zip"):
            request = getattr(models, f"{name.title()}Request").from_dict(body | {"format": format})
            expected = post(server, f"/{name}", **body | {"format": format}).content
            assert call(name, body=request).payload.read() == expected
    listed = call("list_models").models
    assert NAME in [model.name for model in listed]
    assert call("get_model", NAME).digest == call("get_model", name=NAME).digest
    call("get_model_samples", NAME)
    assert (call("livez"), call("readyz")) == ("", "")
    assert "gan_serve_requests_total" in call("get_metrics")
    client.get_httpx_client().close()
    for part in [part for part in sys.modules if part.startswith("generated_client")]:
        del sys.modules[part]


PROGRAM = """
import * as api from "./client/sdk.gen";
import { client } from "./client/client.gen";
client.setConfig({ baseUrl: process.argv[2] });
const calls = JSON.parse(process.argv[3]);
const told = {};
for (const [name, body] of calls) {
  const { data, response } = await api[name]({ body });
  told[name] = [response.status, data.size ?? JSON.stringify(data).length];
}
const model = { path: { name: "fashion-dcgan" } };
for (const [name, options] of [["listModels"], ["getModel", model], ["getModelSamples", model], ["livez"], ["readyz"],
                               ["getMetrics"]]) {
  const { response } = await api[name](options ?? {});
  told[name] = [response.status];
}
console.log(JSON.stringify(told));
"""


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generator of TypeScript clients and a bundler; skipped where npm cannot fetch them."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"type": "module"}')
    install = ["npm", "install", "--silent", "@hey-api/openapi-ts@0.95.0", "typescript@5.9.3", "esbuild@0.28.2"]
    if subprocess.run(install, cwd=folder, capture_output=True).returncode:
        pytest.skip("npm cannot install packages here")
    return folder


@pytest.mark.slow
def test_a_generated_typescript_client_calls_every_endpoint(server: httpx.Client, node_modules: Path) -> None:
    (node_modules / "docs.json").write_bytes(server.get("/docs.json").content)
    (node_modules / "main.ts").write_text(PROGRAM)
    run = {"cwd": node_modules, "check": True, "capture_output": True, "text": True}
    subprocess.run(["npx", "openapi-ts", "-i", "docs.json", "-o", "client", "-c", "@hey-api/client-fetch"], **run)
    bundle = ["npx", "esbuild", "main.ts", "--bundle", "--platform=node", "--format=esm", "--outfile=main.mjs"]
    subprocess.run(bundle, **run)
    calls = json.dumps(CALLS)
    told = json.loads(subprocess.run(["node", "main.mjs", str(server.base_url), calls], **run).stdout)
    for name, body in CALLS:
        assert told[name] == [200, len(post(server, f"/{name}", **body).content)]
    assert all(status == 200 for status, *_ in told.values())
    assert len(told) == len(CALLS) + 6
