"""Repositories and servers of strangers: nothing outside the cache is written, and what they say is escaped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_server import REPO, Hub, Repository
from tiny_checkpoint import write_checkpoint

from gan_serve import Generator
from gan_serve.errors import GanServeError
from gan_serve.exports.imports.import_generator import import_generator

EVIL = "\x1b]0;owned\x07\x1b[31m\u202e"


@pytest.mark.parametrize("name", ["../../../evil.onnx", "/tmp/evil.onnx", "a/../../../../evil.onnx", f"{EVIL}.onnx"])
def test_a_file_with_a_name_of_another_place_is_not_written(hub: Hub, tmp_path: Path, name: str):
    hub.repositories[REPO] = Repository()
    hub.repositories[REPO].commit({name: b"\x08\x08:\x00"})
    before = {path for path in tmp_path.rglob("*") if "evil" in path.name}
    with pytest.raises(GanServeError) as error:
        import_generator(REPO, tmp_path / "out", license="mit")
    assert len(str(error.value)) < 600
    assert set(tmp_path.rglob("evil*")) == before
    assert not Path("/tmp/evil.onnx").exists()


@pytest.mark.parametrize("name", ["../evil.onnx", "/etc/passwd", "..", "a/b", "a\\b", ".hidden", "CON", EVIL])
def test_a_config_lists_plain_names_only(hub: Hub, tmp_path: Path, name: str):
    directory = write_checkpoint(tmp_path / "tiny")
    config = json.loads((directory / "config.json").read_text())
    config["files"][name] = config["files"]["README.md"]
    (directory / "config.json").write_text(json.dumps(config))
    hub.publish(REPO, directory)
    with pytest.raises(GanServeError, match=r"plain|characters") as error:
        Generator.from_pretrained(REPO)
    assert str(error.value).isprintable()
    assert not [line for line in hub.log if "evil" in line or "passwd" in line]


@pytest.mark.parametrize("status", [400, 403, 404, 418, 429, 500, 503])
def test_what_a_server_says_does_not_control_the_terminal(hub: Hub, status: int):
    hub.status, hub.says = status, {"error": f"{EVIL} {'x' * 10_000}"}
    with pytest.raises(GanServeError) as error:
        Generator.from_pretrained(REPO)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


def test_nor_does_it_in_a_warning(hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    hub.publish(REPO, write_checkpoint(tmp_path / "tiny"))
    Generator.from_pretrained(REPO)
    hub.status, hub.says = 500, {"error": EVIL}
    Generator.from_pretrained(REPO)
    assert "of the cache is used" in caplog.text
    assert all(line.isprintable() for line in caplog.text.splitlines())


@pytest.mark.parametrize("says", [[], "text", {"sha": None}, {"sha": "../../..", "siblings": [{"rfilename": 5}]}, {}])
def test_a_server_that_is_no_hub_is_one_clear_error(hub: Hub, tmp_path: Path, says: object):
    hub.status, hub.says = 200, says
    for call in (
        lambda: Generator.from_pretrained(REPO), lambda: import_generator(REPO, tmp_path / "out", license="mit"),
    ):  # fmt: skip
        with pytest.raises(GanServeError) as error:
            call()
        assert str(error.value).isprintable()
