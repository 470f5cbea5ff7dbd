"""The start of the service: its settings, what ``gan-serve serve`` refuses, ``bentoml serve`` and the built bento."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image
from servers import bentoml_command, free_port, started
from zoo_lists import packed_files

import gan_serve
from gan_serve import UnknownModel
from gan_serve.errors import ServiceError
from gan_serve.service.server import serve
from gan_serve.service.settings import Settings

NAME = "fashion-dcgan"
CHECKOUT = Path(__file__).parents[1]


def test_settings_are_read_from_the_environment_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(models=("a", "/b,c"), precision="int8", max_images=7)
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.read() == settings
    monkeypatch.setenv("GAN_SERVE_MAX_IMAGES", "many")
    with pytest.raises(ServiceError, match="GAN_SERVE_MAX_IMAGES cannot be 'many'"):
        Settings.read()


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("the server was started")

    monkeypatch.setattr("gan_serve.service.supervisor.Supervisor.run", start)


@pytest.mark.usefixtures("no_start")
def test_serve_refuses_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"Port {port} is in use") as error:
            serve(host="127.0.0.1", port=port)
    assert f"--port {port + 1}" in error.value.hint


@pytest.mark.usefixtures("no_start")
def test_serve_refuses_a_host_that_is_not_there() -> None:
    with pytest.raises(ServiceError, match=r"Cannot listen on nowhere\.invalid"):
        serve(host="nowhere.invalid", port=free_port())


@pytest.mark.usefixtures("no_start")
def test_serve_refuses_a_model_that_is_not_there() -> None:
    with pytest.raises(UnknownModel) as error:
        serve(port=free_port(), models=["fashion-dcgam"])
    assert NAME in error.value.hint


@pytest.mark.usefixtures("no_start")
def test_serve_refuses_options_that_make_no_sense() -> None:
    with pytest.raises(ServiceError, match="workers cannot be -1") as error:
        serve(port=free_port(), settings=Settings.read(workers=-1))
    assert "0 for one per core" in error.value.hint


@pytest.fixture(scope="session")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a bento, built from the checkout as ``bentoml build`` does it."""
    home = tmp_path_factory.mktemp("bentoml")
    environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    build = [sys.executable, "-m", "bentoml", "build", str(CHECKOUT)]
    subprocess.run(build, env=environment, check=True, capture_output=True)
    [directory] = (home / "bentos" / "gan-serve").glob("*/")
    return directory


@pytest.mark.slow
def test_a_bento_holds_the_runtime_and_nothing_else(bento: Path) -> None:
    packed = {path.relative_to(bento / "src") for path in (bento / "src").rglob("*") if path.is_file()}
    runtime = [path.relative_to(CHECKOUT) for path in (CHECKOUT / "gan_serve").rglob("*.py")]
    page = [path.relative_to(CHECKOUT) for path in (CHECKOUT / "gan_serve" / "service" / "web").iterdir()]
    manifest = Path("gan_serve/checkpoints/manifest.toml")
    assert packed == {*runtime, *packed_files(), *page, Path("LICENSE"), Path("bentofile.yaml"), manifest}


@pytest.mark.slow
def test_a_bento_installs_what_the_package_needs(bento: Path) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    needed = {line.replace('"', "'") for line in (bento / "env/python/requirements.txt").read_text().splitlines()}
    assert set(project["dependencies"]) <= needed


@pytest.mark.slow
def test_a_bento_serves_from_another_folder_with_the_code_that_it_holds(bento: Path, tmp_path: Path) -> None:
    held = Path(shutil.copytree(bento, tmp_path / "bento"))
    version = held / "src" / "gan_serve" / "_version.py"
    version.write_text(version.read_text().replace(gan_serve.__version__, "9.9.9"))
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", str(held), "--host", "127.0.0.1", "--port", str(port)]
    with started(command, port, tmp_path) as client:
        assert client.get("/docs.json").json()["info"]["version"] == "9.9.9"
        assert client.get("/").headers["content-type"].startswith("text/html")
        assert Image.open(io.BytesIO(client.post("/sample", json={"model": NAME, "seed": 7}).content)).size == (28, 28)


def test_bentoml_serve_works_from_the_repository(tmp_path: Path) -> None:
    port = free_port()
    with started(bentoml_command(port), port, tmp_path) as client:
        assert client.get("/readyz").status_code == 200
        assert NAME in [model["name"] for model in client.get("/models").json()["models"]]
        assert Image.open(io.BytesIO(client.post("/sample", json={"model": NAME, "seed": 7}).content)).size == (28, 28)
