"""Named keys, aliases of models, traces, Unix sockets and TLS: what an operator sets and a client sees of it."""

from __future__ import annotations

import gzip
import json
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from answers import NAME, error
from loopback import serving
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from servers import KINDS, free_port, running, serve_command

from gan_serve.errors import ServiceError, TooManyRequests
from gan_serve.service.access_control import Key, read_keys
from gan_serve.service.settings import Settings

KEYS = """
[alice]
key = "alices-secret"

[bob]
key = "bobs-secret"
requests_per_minute = 3
"""
ALICE, BOB = ({"Authorization": f"Bearer {name}s-secret"} for name in ("alice", "bob"))
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module", params=KINDS)
def keyed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, Path]]:
    """A server of one worker with named keys and an alias, and its log."""
    directory = tmp_path_factory.mktemp("keyed")
    (directory / "keys.toml").write_text(KEYS)
    settings = {
        "GAN_SERVE_API_KEYS": str(directory / "keys.toml"),
        "GAN_SERVE_ALIASES": f"clothes={NAME}",
    }
    with running([NAME], directory, request.param, **settings) as client:
        yield client, directory / "log.txt"


def test_each_key_opens_the_server_under_its_name(keyed: tuple[httpx.Client, Path]) -> None:
    client, log = keyed
    for headers in ({}, {"Authorization": "Bearer wrong-secret"}, {"Authorization": "Basic alices-secret"}):
        error(client.get("/models", headers=headers), 401, "unauthorized")
    traced = ALICE | {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Request-Id": "traced"}
    assert client.get("/models", headers=traced).status_code == 200
    deadline = time.monotonic() + 10
    while '"traced"' not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    [line] = [json.loads(line) for line in log.read_text().splitlines() if '"traced"' in line]
    assert (line["key"], line["trace_id"], line["span_id"]) == ("alice", TRACE, "00f067aa0ba902b7")
    assert "secret" not in log.read_text()
    assert 'gan_serve_key_requests_total{key="alice",status="200"}' in client.get("/metrics", headers=ALICE).text


def test_a_key_with_a_rate_is_told_when_it_is_used_up(keyed: tuple[httpx.Client, Path]) -> None:
    client, _ = keyed
    responses = [client.get("/models", headers=BOB) for _ in range(8)]
    refused = [response for response in responses if response.status_code != 200]
    assert [response.status_code for response in responses[:3]] == [200] * 3
    assert len(refused) >= 4
    assert "bob" in error(refused[-1], 429, "too_many_requests")["message"]
    assert client.get("/models", headers=ALICE).status_code == 200


def test_a_model_is_served_under_its_alias_too(keyed: tuple[httpx.Client, Path]) -> None:
    client, _ = keyed
    by_name = {model["name"]: model for model in client.get("/models", headers=ALICE).json()["models"]}
    assert set(by_name) == {NAME, "clothes"}
    assert by_name["clothes"]["digest"] == by_name[NAME]["digest"]
    images = [
        client.post("/sample", json={"model": name, "seed": 3}, headers=ALICE).content for name in ("clothes", NAME)
    ]
    assert images[0] == images[1]


def test_a_rate_is_what_may_be_asked_in_a_minute() -> None:
    key = Key("k", b"secret", rate=100.0, _tokens=2.0)
    key.take()
    key.take()
    with pytest.raises(TooManyRequests, match="The key k has reached its rate limit"):
        Key("k", b"secret", rate=0.001, _tokens=0.5).take()


@pytest.mark.parametrize("text", ["[alice]", "[alice]\nkey = 'short'", "alice = 'a-long-secret'", "[alice"])
def test_a_file_of_keys_that_is_not_valid_is_refused_without_its_secrets(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(ServiceError, match="is not a valid file of API keys") as refusal:
        read_keys(Settings(api_keys=str(path)))
    assert "secret" not in str(refusal.value)
    assert "requests_per_minute" in refusal.value.hint


def test_an_alias_has_a_name_and_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_SERVE_ALIASES", "clothes")
    with pytest.raises(ServiceError, match="GAN_SERVE_ALIASES cannot be"):
        Settings.read()


def _wait_for(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError("the server did not start")


def _start(tmp_path: Path, **settings: str) -> tuple[subprocess.Popen[bytes], int]:
    import os

    port = free_port()
    environment = os.environ | {"GAN_SERVE_WORKERS": "1", "GAN_SERVE_MODELS": NAME, "GAN_SERVE_DRAIN": "0"} | settings
    with (tmp_path / "log.txt").open("wb") as log:
        return subprocess.Popen(serve_command(port), cwd=tmp_path, env=environment, stdout=log, stderr=log), port


def test_a_unix_socket_takes_the_place_of_a_port(tmp_path: Path) -> None:
    path = tmp_path / "gan-serve.sock"
    process, _ = _start(tmp_path, GAN_SERVE_UDS="gan-serve.sock")
    try:
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://example.org") as client:
            _wait_for(client, process)
            assert client.post("/sample", json={"model": NAME, "seed": 1}).content.startswith(b"\x89PNG")
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert not path.exists()


def test_swagger_ui_is_made_of_installed_files(server: httpx.Client) -> None:
    page = server.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "//" not in page.text.replace("<!doctype", "")
    for part in ("web/swagger/swagger-ui.css", "web/swagger/swagger-ui-bundle.js", "web/docs.js"):
        assert part in page.text
        assert server.get(f"/{part}").status_code == 200


class _Collector(BaseHTTPRequestHandler):
    spans: ClassVar[list[Span]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_with_a_certificate_the_server_speaks_https_and_spans_of_a_request_go_to_a_collector(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    subprocess.run([*make, *subject, *files], check=True, capture_output=True)
    tls = {"GAN_SERVE_TLS_CERT": "cert.pem", "GAN_SERVE_TLS_KEY": "key.pem"}
    with serving(_Collector) as address:
        process, port = _start(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=address, **tls)
        try:
            trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
            with httpx.Client(verify=trusted, base_url=f"https://127.0.0.1:{port}") as client:
                _wait_for(client, process)
                headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
                response = client.post("/sample", json={"model": NAME, "seed": 1}, headers=headers)
                assert response.content.startswith(b"\x89PNG")
        finally:
            process.terminate()
            assert process.wait(30) == 0
    by_name = {span.name: span for span in _Collector.spans if span.trace_id.hex() == TRACE}  # sent at the end
    assert set(by_name) == {"POST /sample", "queue", "inference", "encoding"}
    whole = by_name["POST /sample"]
    assert whole.parent_span_id.hex() == "00f067aa0ba902b7"
    for name in ("queue", "inference", "encoding"):
        assert by_name[name].parent_span_id == whole.span_id
        assert whole.start_time_unix_nano <= by_name[name].start_time_unix_nano <= whole.end_time_unix_nano
