"""The server as operators see it: probes, metrics, logs, headers, documentation, shutdown."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from answers import NAME, error, post
from server_process import until
from servers import KINDS, running


@pytest.fixture(scope="module", params=KINDS)
def logged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, Path]]:
    """A server of one worker and the file that it logs to."""
    directory = tmp_path_factory.mktemp("logged")
    with running([NAME], directory, request.param) as client:
        yield client, directory / "log.txt"


def test_probes_are_green(server: httpx.Client) -> None:
    assert server.get("/livez").status_code == server.get("/readyz").status_code == 200


def test_metrics_count_what_is_drawn_and_what_is_refused(logged: tuple[httpx.Client, Path]) -> None:
    client, _ = logged
    before = _metrics(client)
    post(client, "/sample", n=3, seed=0, format="zip")
    post(client, "/interpolate", seeds="0,1", steps=4)
    client.post("/sample", json={"model": NAME, "n": 0})
    after = _metrics(client)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown[f'gan_serve_images_total{{format="zip",model="{NAME}"}}'] == 3
    assert grown[f'gan_serve_images_total{{format="gif",model="{NAME}"}}'] == 5
    assert grown[f'gan_serve_batch_images_sum{{model="{NAME}"}}'] == 8
    assert grown[f'gan_serve_inference_seconds_count{{model="{NAME}"}}'] >= 2
    assert grown["gan_serve_queue_seconds_count"] == 2
    assert grown['gan_serve_encoding_seconds_count{format="gif"}'] == 1
    assert grown['gan_serve_requests_total{endpoint="/sample",status="200"}'] == 1
    assert grown['gan_serve_requests_total{endpoint="/sample",status="422"}'] == 1
    assert grown['gan_serve_rejected_total{reason="invalid_seeds"}'] == 1
    assert after["gan_serve_loaded_models"] == 1


def test_a_path_that_somebody_made_up_is_not_a_name_in_the_metrics(logged: tuple[httpx.Client, Path]) -> None:
    client, _ = logged
    client.get("/made-up")
    client.get("/models/made-up")
    text = client.get("/metrics").text
    assert "made-up" not in text
    assert 'endpoint="/models/{name}"' in text


def test_each_request_is_a_line_of_json_with_its_id(logged: tuple[httpx.Client, Path]) -> None:
    client, log = logged
    answered = client.post("/sample", json={"model": NAME, "n": 2}, headers={"X-Request-Id": "order-66"})
    assert answered.headers["x-request-id"] == "order-66"
    refused = client.post("/sample", json={"model": "nope"})
    by_id: dict[str, Any] = {}
    deadline = time.monotonic() + 5
    while refused.headers["x-request-id"] not in by_id and time.monotonic() < deadline:  # written after the answer
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        by_id = {line.get("request_id"): line for line in lines}
        time.sleep(0.05)
    line = by_id["order-66"]
    assert {name: line[name] for name in ("level", "method", "path", "status", "model", "format", "images")} == {
        "level": "INFO",
        "method": "POST",
        "path": "/sample",
        "status": 200,
        "model": NAME,
        "format": "png",
        "images": 2,
    }
    assert line["ms"] > 0
    line = by_id[refused.headers["x-request-id"]]
    assert (line["status"], line["error"]) == (404, "unknown_model")


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", 'a"b'])
def test_an_id_that_could_do_harm_in_a_log_is_replaced(server: httpx.Client, given: str) -> None:
    made = server.get("/livez", headers={"X-Request-Id": given}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", made)


def test_probes_that_succeed_are_not_logged(logged: tuple[httpx.Client, Path]) -> None:
    client, log = logged
    made = client.get("/readyz").headers["x-request-id"]
    later = post(client, "/sample", seed=1).headers["x-request-id"]
    until(lambda: later in log.read_text())
    assert made not in log.read_text()


def test_a_server_that_ends_has_logged_every_request_as_text_where_it_was_asked_to(tmp_path: Path) -> None:
    with running([NAME], tmp_path, GAN_SERVE_WORKERS="2", GAN_SERVE_LOG="text") as client:
        ids = [post(client, "/sample", seed=seed).headers["x-request-id"] for seed in range(20)]
    log = (tmp_path / "log.txt").read_text()
    lines = [line for line in log.splitlines() if 'path="/sample"' in line]
    assert sorted(request for line in lines for request in re.findall(r'request_id="(\w+)"', line)) == sorted(ids)
    assert f"{NAME} is ready on cpu." in log


def test_answers_cannot_be_framed_or_taken_for_something_else(server: httpx.Client) -> None:
    for response in (server.get("/"), server.get("/models"), server.get("/nope"), post(server, "/sample", seed=1)):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"


def test_the_page_is_ours_and_may_load_nothing_from_elsewhere(server: httpx.Client) -> None:
    page = server.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
    assert "googletagmanager" not in page.text
    parts = re.findall(r'(?:src|href)="/?(web/[^"]+)"', page.text)
    assert parts
    for part in parts:
        response = server.get(f"/{part}")
        assert response.status_code == 200
        unchanged = server.get(f"/{part}", headers={"If-None-Match": response.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_docs_json_describes_the_endpoints_their_fields_and_answers(server: httpx.Client) -> None:
    document = server.get("/docs.json").json()
    assert set(document["paths"]) == {
        "/sample",
        "/condition",
        "/interpolate",
        "/mix",
        "/translate",
        "/models",
        "/models/{name}",
        "/models/{name}/samples.png",
        "/livez",
        "/readyz",
        "/metrics",
    }
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert {"EncodedImages", "EncodedFrame", "ErrorBody"} <= set(document["components"]["schemas"])
    fields = {
        name: set(document["components"]["schemas"][name]["properties"])
        for name in ("SampleRequest", "ConditionRequest", "InterpolateRequest", "MixRequest")
    }
    shared = {"model", "truncation", "format", "columns", "scale"}
    assert fields["SampleRequest"] == shared | {"n", "seed", "seeds", "latents", "offsets", "label", "precision"}
    assert fields["ConditionRequest"] == shared | {"n", "seed", "seeds", "latents", "offsets", "labels"}
    assert fields["MixRequest"] == shared | {"coarse", "fine", "crossover", "label"}
    assert fields["InterpolateRequest"] == shared | {
        "seeds",
        "steps",
        "method",
        "loop",
        "label",
        "fps",
        "start",
        "stop",
    }
    for name in fields:
        for field in document["components"]["schemas"][name]["properties"].values():
            assert field["description"]
    answers = document["paths"]["/sample"]["post"]["responses"]
    assert {"200", "304", "400", "401", "404", "413", "415", "422", "429", "500", "503", "504"} == set(answers)
    assert {"image/png", "application/json", "application/x-npz"} <= set(answers["200"]["content"])


def test_every_example_of_docs_json_works(server: httpx.Client) -> None:
    document = server.get("/docs.json").json()
    for path, methods in document["paths"].items():
        if "post" not in methods:
            continue
        content = methods["post"]["requestBody"]["content"]["application/json"]
        if path in ("/mix", "/translate"):  # no model of this server can; test_mix.py and test_service_translate.py
            assert "examples" not in content
            continue
        examples = content["examples"]
        assert examples, path
        for example in examples.values():
            response = server.post(path, json=example["value"])
            assert response.status_code == 200, (path, example, response.text)


def test_a_method_that_a_path_lacks_says_which_it_has(server: httpx.Client) -> None:
    response = server.get("/condition")
    error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def _metrics(client: httpx.Client) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }
