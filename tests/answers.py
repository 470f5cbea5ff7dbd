"""Reading what a server answers, for the tests that speak HTTP."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image

NAME = "fashion-dcgan"


def post(client: httpx.Client, path: str, **body: Any) -> httpx.Response:
    response = client.post(path, json={"model": NAME} | body)
    assert response.status_code == 200, response.text
    return response


def image(response: httpx.Response) -> Image.Image:
    return Image.open(io.BytesIO(response.content))


def npz(response: httpx.Response) -> dict[str, npt.NDArray[Any]]:
    with np.load(io.BytesIO(response.content)) as arrays:
        return dict(arrays)


def error(response: httpx.Response, status: int, code: str) -> dict[str, str]:
    """The envelope of an answer, after a check that it is nothing but the envelope."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    told: dict[str, str] = body["error"]
    assert sorted(told) == ["code", "hint", "message"]
    assert (response.status_code, told["code"]) == (status, code), response.text
    assert response.headers["x-gan-serve-error"] == code
    assert told["message"].endswith(".")
    return told
