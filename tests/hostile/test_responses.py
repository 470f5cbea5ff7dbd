"""Responses of a server that is none of ours, or means harm: what they claim is bounded, and nothing is written."""

from __future__ import annotations

import base64
import io
import struct
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest

from gan_serve import Client
from gan_serve.client import responses
from gan_serve.client.responses import NPZ, DamagedResponse, raise_for_error, read_arrays, read_images
from gan_serve.errors import GanServeError, ServerUnreachable


def npz(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(shape: str, descr: str = "'|u1'", data: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


ONE = npy("(1, 8, 8, 1)", data=bytes(64))


@pytest.mark.parametrize(
    "content",
    [
        npz(images=npy("(1000000, 1000, 1000, 1)")),
        npz(images=npy("(1, 8, 8, 1)", "'|O'", b"cos\nsystem\n(S'false'\ntR.")),
        npz(images=ONE, labels=npy("(100000,)", "'|S1'", bytes(100_000))),
        npz(images=npy("(100000000, 8, 0, 1)")),
        npz(images=ONE, labels=npy("()", "'<i8'", bytes(8))),
    ],
    ids=["931 GiB", "objects", "100,000 labels", "images of no width", "a label that is no list"],
)
def test_arrays_that_claim_too_much_are_damaged(content):
    response = httpx.Response(200, headers={"content-type": NPZ, "x-gan-serve-digest": "x"}, content=content)
    with pytest.raises(DamagedResponse):
        read_arrays(1, response)


def test_arrays_beyond_the_limit_are_not_unpacked(monkeypatch):
    monkeypatch.setattr(responses, "MAX_ARRAY", 2**20)
    content = npz(images=npy("(1, 1048576, 8, 1)", data=bytes(2**23)))
    response = httpx.Response(200, headers={"content-type": NPZ, "x-gan-serve-digest": "x"}, content=content)
    with pytest.raises(DamagedResponse, match="would unpack to more than"):
        read_arrays(1, response)


def test_another_format_than_png_is_not_opened(tmp_path):
    eps = base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n").decode()
    response = httpx.Response(200, json={"images": [{"png": eps, "receipt": {"digest": "x"}}]})
    with pytest.raises(DamagedResponse):
        read_images(1, response)


def test_a_redirect_does_not_carry_the_key_elsewhere():
    asked = []

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(307)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with (
        Client(f"http://127.0.0.1:{server.server_port}", api_key="secret", retries=0) as client,
        pytest.raises(ServerUnreachable, match="redirects"),
    ):
        client.models()
    server.shutdown()
    server.server_close()
    assert asked == [("/models", "Bearer secret")]


def test_an_error_of_a_server_does_not_control_the_terminal():
    detail = {"code": "unknown_model", "message": f"\x1b]0;owned\x07{'x' * 100_000}", "hint": "\x1b[31m"}
    request = httpx.Request("POST", "http://localhost/sample")
    response = httpx.Response(404, json={"error": detail}, request=request)
    with pytest.raises(GanServeError) as error:
        raise_for_error(response)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 5000
    assert np.isfinite(getattr(error.value, "retry_after", None) or 0)
