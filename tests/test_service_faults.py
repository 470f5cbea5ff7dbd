"""Faults that attacks found, kept as tests: other users, full disks, closed terminals, models that were mended."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from answers import NAME, error, post
from server_process import PATIENCE, Server, serving, until
from servers import all_ready, free_port, serve_command, workers


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with settings of its own for connections, proxies, pages of others and its log."""
    settings = {"KEEP_ALIVE": "2", "PROXIES": "192.0.2.1", "CORS_ORIGINS": "https://example.org", "LOG": "json"}
    settings = {f"GAN_SERVE_{name}": value for name, value in settings.items()}
    with serving(tmp_path_factory.mktemp("configured"), **settings) as server:
        until(server.is_live)
        yield server


def test_no_port_but_its_own_is_open(configured: Server) -> None:
    processes = [configured.process, *configured.process.children(recursive=True)]
    open_ports = {
        connection.laddr.port
        for connection in psutil.net_connections("inet")
        if connection.pid in {process.pid for process in processes} and not connection.raddr
    }
    assert open_ports == {configured.port}


def test_without_a_home_and_asserts_no_module_of_the_folder_is_imported_and_workers_end_when_it_is_killed(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder, port = tmp_path / "downloaded", free_port()
    shutil.copytree(checkpoint, folder)
    for name in ("psutil", "gan_serve", "click", "numpy", "uvicorn", "multiprocessing", "json"):
        (folder / f"{name}.py").write_text("open('/'.join([__file__ + '.ran']), 'w')\nraise SystemExit(9)\n")
    script = str(Path(sys.executable).parent / "gan-serve")
    command = [sys.executable, "-OO", script, "serve", "--model", ".", "--port", str(port)]
    with serving(folder, command, port, HOME="/nonexistent", BENTOML_HOME="", GAN_SERVE_DRAIN="0") as server:
        until(server.is_live, server.process)
        post(server.client, "/sample", seed=1)
        assert "Traceback" not in server.text()
        [worker] = workers(server.process.pid).values()
        server.process.kill()
        until(lambda: not worker.is_running())
    assert not list(folder.glob("*.ran"))


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (["localhost"], 200),
        (["localhost:3000"], 200),
        (["127.0.0.1"], 200),
        (["[::1]:80"], 200),
        (["evil.example"], 400),
        (["localhost.evil.example"], 400),
        (["localhost", "localhost"], 400),
        ([], 400),
    ],
    ids=str,
)
def test_on_loopback_without_a_key_only_its_names_are_answered(
    server: httpx.Client, hosts: list[str], status: int
) -> None:
    lines = ["GET /models HTTP/1.1", *(f"Host: {host}" for host in hosts), "Connection: close", "", ""]
    with socket.create_connection((server.base_url.host, server.base_url.port or 80), PATIENCE) as connection:
        connection.sendall("\r\n".join(lines).encode())
        with connection.makefile("rb") as stream:
            first = stream.readline()
    assert int(first.split()[1]) == status


def test_a_body_that_is_too_large_gets_its_response_and_no_reset(server: httpx.Client) -> None:
    import http.client

    for _ in range(3):
        connection = http.client.HTTPConnection(server.base_url.host, server.base_url.port, timeout=PATIENCE)
        connection.request("POST", "/sample", b"0" * 12_000_000, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (413, "body_too_large")
        connection.close()


def test_a_slow_client_gets_the_response_to_a_body_that_is_too_large(server: httpx.Client) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(9):  # the limit is reached after four of them
            yield bytes(2**20)
            time.sleep(0.4)

    response = server.post("/sample", content=body(), headers={"Content-Type": "application/json"}, timeout=PATIENCE)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


NODE = """
const [, url] = process.argv;
const responses = [];
for (let i = 0; i < 3; i++) {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: "0".repeat(12e6) });
  responses.push([response.status, (await response.json()).error.code]);
}
console.log(JSON.stringify(responses));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
def test_a_body_that_is_too_large_gets_its_response_with_fetch_of_node(server: httpx.Client, tmp_path: Path) -> None:
    command = ["node", "--input-type=module", "--eval", NODE, str(server.base_url.join("/sample"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == 3 * [[413, "body_too_large"]]


def test_headers_that_are_too_large_get_their_response_and_no_reset(server: httpx.Client) -> None:
    for _ in range(10):
        with socket.create_connection((server.base_url.host, server.base_url.port or 80), PATIENCE) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"a" * 400_000)
            with connection.makefile("rb") as stream:
                response = stream.read()
            assert response.startswith(b"HTTP/1.1 431 ")
            assert b"head_too_large" in response


def test_a_client_that_closes_its_side_after_the_request_gets_its_response(server: httpx.Client) -> None:
    body = json.dumps({"model": NAME, "seed": 3}).encode()
    head = f"POST /sample HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection((server.base_url.host, server.base_url.port or 80), PATIENCE) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            response = stream.read()
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"\x89PNG" in response


def test_a_full_temporary_folder_costs_the_counts_of_other_workers_and_nothing_else(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    port = free_port()
    mount = f"mount -t tmpfs -o size=64k tmpfs {small} && exec {' '.join(serve_command(port))}"
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    settings = {"TMPDIR": str(small), "GAN_SERVE_WORKERS": "2"}
    with serving(tmp_path, ["unshare", "-rm", "sh", "-c", mount], port, **settings) as server:
        until(server.is_live, server.process)
        for seed in range(20):
            post(server.client, "/sample", seed=seed)
        assert "gan_serve_requests_total" in server.client.get("/metrics").text
        assert "has no room for metrics" in server.text()
        assert all(line.startswith("{") for line in server.text().splitlines())


def test_workers_that_cannot_start_end_the_server_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif any('spawn_main' in part for part in sys.orig_argv):\n    os._exit(7)\n"
    )
    with serving(tmp_path, PYTHONPATH=str(tmp_path)) as server:
        assert server.process.wait(PATIENCE) == 1
        assert "workers in a row ended before they were ready" in server.text()
        assert "ended with exit code 7." in server.text()
        assert "Traceback" not in server.text()


def test_of_two_servers_that_start_on_a_port_one_gets_one_clear_line(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "a", port=port) as a, serving(tmp_path / "b", port=port) as b:
        until(lambda: a.process.poll() is not None or b.process.poll() is not None)
        loser, winner = (a, b) if a.process.poll() is not None else (b, a)
        assert loser.process.wait(PATIENCE) == 1
        assert [line for line in loser.text().splitlines() if "is in use" in line] == [f"Error: Port {port} is in use."]
        assert len(loser.text().splitlines()) <= 3
        until(winner.is_live, winner.process)


def test_probes_are_answered_while_a_large_body_is_refused(server: httpx.Client) -> None:
    bodies = [
        b'{"model": "fashion-dcgan", ' + b",".join(b'"k%d": 1' % number for number in range(300_000)) + b"}",
        b'{"model": "fashion-dcgan", "latents": [' + b"[]," * 1_300_000 + b"[]]}",
    ]
    for body in bodies:
        before = time.process_time()
        response = server.post("/sample", content=body, headers={"Content-Type": "application/json"})
        error(response, 422, "invalid_request")
        assert time.process_time() - before < 5  # of this client; that of the server is in test_service_fuzz


def test_a_model_that_was_mended_is_served_and_one_that_was_damaged_replaces_no_worker(
    checkpoint: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    whole = (copy / "generator.onnx").read_bytes()
    (copy / "generator.onnx").write_bytes(b"")
    settings = {"GAN_SERVE_MODELS": str(copy), "GAN_SERVE_RETRY_MODELS": "1", "GAN_SERVE_DRAIN": "0.5"}
    with serving(tmp_path, **settings) as server:
        until(server.is_live)
        error(server.client.get("/readyz"), 503, "not_ready")
        error(server.client.post("/sample", json={"model": NAME}), 503, "digest_mismatch")
        (copy / "generator.onnx").write_bytes(whole)
        until(lambda: server.client.get("/readyz").status_code == 200)
        post(server.client, "/sample", seed=0)

        before = set(workers(server.process.pid))
        (copy / "generator.onnx").write_bytes(whole + b"junk")
        server.process.send_signal(signal.SIGUSR1)
        until(lambda: "The workers were not replaced: " in server.text())
        assert set(workers(server.process.pid)) == before
        post(server.client, "/sample", seed=1)
        assert server.client.get("/readyz").status_code == 200


def test_reload_loads_the_models_anew_and_drops_no_request(tmp_path: Path) -> None:
    with serving(tmp_path, GAN_SERVE_WORKERS="2", GAN_SERVE_DRAIN="0.5") as server:
        until(lambda: all_ready(server.log, 2))
        before = set(workers(server.process.pid))
        reload = [sys.executable, "-m", "gan_serve.cli", "reload", "--port", str(server.port)]
        told = subprocess.run(reload, capture_output=True, text=True, check=True).stdout
        assert str(server.process.pid) in told
        while "were replaced" not in server.text():
            post(server.client, "/sample", seed=1)
            time.sleep(0.02)
        assert not before & set(workers(server.process.pid))
        assert server.text().count(" is ready on ") == 4
        until(lambda: "gan_serve_loaded_models 2.0" in server.client.get("/metrics").text)  # of living workers


def test_reload_without_a_server_says_so() -> None:
    reload = [sys.executable, "-m", "gan_serve.cli", "reload", "--port", str(free_port())]
    told = subprocess.run(reload, capture_output=True, text=True)
    assert told.returncode == 1
    assert told.stderr.startswith("Error: No gan-serve server of this user listens on port")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_with_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path, GAN_SERVE_DRAIN="0") as server:
        until(server.is_live)
        _end(server, number)


def _end(server: Server, number: signal.Signals) -> None:
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), 1)


def test_a_connection_stays_open_between_requests_for_as_long_as_is_set(configured: Server) -> None:
    with socket.create_connection(("127.0.0.1", configured.port), PATIENCE) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(PATIENCE)
        assert connection.recv(1) == b""


def test_head_is_answered_where_get_is(server: httpx.Client) -> None:
    for path in ("/", "/models", f"/models/{NAME}", "/docs.json", "/livez", "/metrics", "/web/app.js"):
        response = server.head(path)
        assert (response.status_code, response.content) == (200, b""), path
    assert server.head("/sample").status_code == 405


def test_an_upgrade_to_websocket_gets_the_envelope(server: httpx.Client) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "x" * 22 + "=="}
    error(server.get("/models", headers=headers | {"Sec-WebSocket-Version": "13"}), 400, "no_websockets")


def test_until_the_terminal_closes_every_line_of_the_log_is_json_and_invalid_http_has_an_id(tmp_path: Path) -> None:
    with serving(tmp_path, GAN_SERVE_LOG="json", GAN_SERVE_DRAIN="0") as server:
        until(server.is_live)
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
            connection.sendall(b"what?\r\n\r\n")
            with connection.makefile("rb") as stream:
                response = stream.read().decode()
        [request_id] = re.findall(r"X-Request-Id: (\w+)", response)
        server.client.get("/models", headers={"X-Forwarded-For": "203.0.113.7"})
        until(lambda: "203.0.113.7" in server.text())
        _end(server, signal.SIGHUP)
        lines = [json.loads(line) for line in server.text().splitlines()]
    assert lines[0]["url"] == f"http://127.0.0.1:{server.port}"
    [refused] = [line for line in lines if line.get("request_id") == request_id]
    assert (refused["status"], refused["error"], refused["client"]) == (400, "invalid_http", "127.0.0.1")


def test_who_may_set_x_forwarded_for_is_a_setting(configured: Server) -> None:
    configured.client.get("/models", headers={"X-Forwarded-For": "203.0.113.7"})
    until(lambda: '"/models"' in configured.text())
    assert "203.0.113.7" not in configured.text()


def test_a_refused_preflight_gets_the_envelope(configured: Server) -> None:
    headers = {"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
    error(configured.client.options("/sample", headers=headers), 400, "cors_refused")
