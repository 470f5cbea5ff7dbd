"""``/docs.json`` against the live service: schemathesis asks what the document allows and what it forbids.

It runs as its users run it, as a command: its fixtures lag behind pytest. A longer search, by hand:
``SCHEMATHESIS_EXAMPLES=500 SCHEMATHESIS_SEED=7 python -m pytest tests/test_service_schema.py``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conditional_checkpoint import write_conditional
from servers import running

# Every day the examples of the document ask the service (test_service_operation.py), and the clients that are generated
# from it (test_service_clients.py).
pytestmark = pytest.mark.slow
UNCONDITIONAL, CONDITIONAL = "fashion-dcgan", "conditional"
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "80")  # for each endpoint, beside those for each field
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
KEY = "the-key"

# 422 is right where a body has the form that the document asks for: whether two fields may stand together, or a label
# is one of the model, JSON Schema cannot say. But then it is never for the form, which this checks.
HOOKS = """
import schemathesis

@schemathesis.check
def refused_only_for_its_values(context, response, case):
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if positive and response.status_code in (400, 415, 422):
        error = response.json()["error"]
        assert error["code"] not in ("invalid_request", "invalid_json", "unsupported_media_type"), error
"""
CONFIG = """
hooks = "hooks.py"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "401", "404", "422", "429"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    checkpoint = write_conditional(tmp_path_factory.mktemp("conditional"))
    settings = {"GAN_SERVE_MAX_IMAGES": "64", "GAN_SERVE_MAX_FRAMES": "256", "GAN_SERVE_API_KEY": KEY}
    with running([UNCONDITIONAL, str(checkpoint)], tmp_path_factory.mktemp("server"), **settings) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield client


@pytest.mark.parametrize("model", [CONDITIONAL, UNCONDITIONAL])
def test_the_service_does_what_its_document_says(server: httpx.Client, tmp_path: Path, model: str) -> None:
    (tmp_path / "docs.json").write_text(json.dumps(_about(server.get("/docs.json").json(), model)))
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "run", "docs.json", "--url", str(server.base_url)]
    command += ["--header", f"Authorization: Bearer {KEY}", "--max-examples", EXAMPLES, "--seed", SEED, "--no-color"]
    command += ["--generation-database", "none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    [tested] = re.findall(r"^ +Tested: (\d+)", done.stdout, re.MULTILINE)
    assert int(tested) == 11, done.stdout
    [generated] = re.findall(r"^ +(\d+) generated, ", done.stdout, re.MULTILINE)
    assert int(generated) > 200
    print(done.stdout)


def _about(document: dict[str, object], model: str) -> dict[str, object]:
    """The document with the name of one model wherever a model is named: others are 404, and say little."""
    text = json.dumps(document)
    parsed: dict[str, object] = json.loads(text, object_hook=lambda part: _naming(part, model))
    return parsed


def _naming(part: dict[str, object], model: str) -> dict[str, object]:
    if part.get("description") == "the name of a model of this server":
        return {"enum": [model]}
    if part.get("in") == "path":
        return part | {"schema": {"enum": [model]}}
    return part


def test_the_service_is_well_afterwards(server: httpx.Client) -> None:
    assert server.get("/readyz").status_code == 200
    assert server.post("/sample", json={"model": UNCONDITIONAL, "seed": 0}).status_code == 200
    counts = server.get("/metrics").text
    assert "gan_serve_queued_requests 0.0" in counts
    assert not re.search(r'gan_serve_requests_total\{[^}]*status="5', counts)
