"""The interface of the clients: their arguments, errors before any request, and their repr."""

from __future__ import annotations

import inspect
import subprocess
import sys

import generate_sync_client
import pytest
from clients import BOTH

from gan_serve import AsyncClient, Client, Generator
from gan_serve.errors import InvalidOption

NAME = "fashion-dcgan"


def test_the_package_imports_without_the_clients_libraries():
    code = "import sys, gan_serve; print({'httpx', 'tenacity', 'asyncio'} & set(sys.modules)); gan_serve.Client"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_the_sync_client_is_generated_from_the_async_one():
    for name, text in generate_sync_client.generate().items():
        assert (generate_sync_client.CLIENT / name).read_text() == text


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("call", ["generate", "condition", "interpolate", "mix"])
def test_the_clients_have_the_arguments_of_the_generator(kind, call):
    ours, local = inspect.signature(getattr(kind, call)), inspect.signature(getattr(Generator, call))
    arguments = dict(ours.parameters)
    assert list(arguments)[:2] == ["self", "model"]
    assert arguments.pop("model").default is None
    assert list(arguments) == list(local.parameters)
    for name, argument in local.parameters.items():
        required = argument.default is argument.empty and name != "self"  # follows an optional argument here
        assert arguments[name] == (
            argument.replace(default=None, annotation=f"{argument.annotation} | None") if required else argument
        )


@BOTH
@pytest.mark.parametrize(
    ("call", "arguments", "missing"),
    [
        ("interpolate", (NAME,), "seeds"),
        ("iter_frames", (), "seeds"),
        ("mix", (NAME, "0-3"), "fine"),
        ("translate", (), "images"),
        ("project", (NAME,), "images"),
        ("download", ("mix",), "coarse"),
    ],
)
def test_a_missing_argument_behind_the_model_is_named(kind, call, arguments, missing):
    with kind("http://127.0.0.1:9") as client, pytest.raises(TypeError, match=missing):
        getattr(client, call)(*arguments)


@BOTH
def test_a_wrong_keyword_names_the_nearest_one(kind):
    with kind("http://127.0.0.1:9") as client, pytest.raises(TypeError, match="Did you mean 'truncation'"):
        client.generate(NAME, truncaton=0.5)
    with kind("http://127.0.0.1:9") as client, pytest.raises(TypeError, match="Did you mean 'labels'"):
        client.download("condition", NAME, lables=["Bag"])
    with pytest.raises(TypeError, match=r"Client\(\) got .*'timout'. Did you mean 'timeout'"):
        kind("http://127.0.0.1:9", timout=3)


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        {"address": "localhost:3000"},
        {"address": "ftp://localhost"},
        {"address": "http://"},
        {"address": "http://localhost:port"},
        {"address": "http://localhost?x=1"},
        {"address": None},
        {"api_key": "line\nbreak"},
        {"api_key": " key"},
        {"api_key": "clé"},
        {"api_key": 1},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": "1"},
        {"retries": -1},
        {"retries": 1.5},
        {"retries": True},
    ],
    ids=str,
)
def test_a_client_is_not_made_of_nonsense(kind, options):
    with pytest.raises(InvalidOption) as raised:
        kind(**({"address": "http://localhost:3000"} | options))
    assert raised.value.hint


def test_a_key_stays_out_of_messages():
    with pytest.raises(InvalidOption) as raised:
        Client("http://localhost:3000", api_key="open\nsesame")
    assert "sesame" not in raised.value.message + raised.value.hint


def test_a_client_shows_its_address_and_no_secret():
    with Client("http://me:secret@localhost:3000/gan/", api_key="secret") as client:
        assert repr(client) == "Client('http://localhost:3000/gan')"
