"""Files of a checkpoint that are no plain files, too large or too deep: one clear error, and the others are served."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from measured import measure
from tiny_checkpoint import seal, write_checkpoint

from gan_serve import Generator, GoldenSampleMismatch, InvalidCheckpoint
from gan_serve.checkpoint.json_files import MAX_PARTS
from gan_serve.cli import cli
from gan_serve.service.app import create_app
from gan_serve.service.models import Models
from gan_serve.service.settings import Settings

linux = pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")


@linux
@pytest.mark.parametrize("name", ["config.json", "generator.onnx"])
@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_what_is_no_regular_file_is_not_read(tiny, name, kind):
    path = tiny / name
    path.unlink()
    {"device": lambda: path.symlink_to("/dev/zero"), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    with pytest.raises(InvalidCheckpoint, match="not a regular file"):
        Generator.from_pretrained(tiny)


CONFIGS = {
    "120 MB": lambda: b'{"format_version": 1, "x": "' + b"a" * 120_000_000 + b'"}',
    "many lists": lambda: b'{"format_version": 1, "x": [' + b"[]," * 20_000_000 + b"[]]}",
    "many numbers": lambda: b"[" + b"1," * MAX_PARTS + b"1]",
    "deep": lambda: b'{"format_version": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not a number": lambda: b'{"format_version": NaN}',
    "a number of a million digits": lambda: b'{"format_version": ' + b"9" * 1_000_000 + b"}",
    "no Unicode": lambda: b'{"format_version": 1, "name": "\\ud800"}',
    "empty": lambda: b"",
    "a list": lambda: b"[1]",
    "null": lambda: b"null",
}


@pytest.mark.parametrize("content", CONFIGS)
def test_a_config_that_is_no_config_is_one_clear_error(tiny, content):
    (tiny / "config.json").write_bytes(CONFIGS[content]())
    with pytest.raises(InvalidCheckpoint, match="is not the config"):
        Generator.from_pretrained(tiny)


@linux
@pytest.mark.parametrize(
    "content", ["120 MB", *(pytest.param(name, marks=pytest.mark.slow) for name in ("many lists", "deep"))]
)
def test_it_takes_little_memory(tiny, content):
    (tiny / "config.json").write_bytes(CONFIGS[content]())
    measured = measure("load", tiny)
    assert measured.error == "InvalidCheckpoint"
    assert measured.megabytes < 150


REPORTS = {
    "300 deep": "[" * 300 + "]" * 300,
    "100,000 deep": "[" * 100_000 + "]" * 100_000,
    "infinite": '{"a": 1e999}',
    "not a number": '{"a": NaN}',
    "no Unicode": '{"a": "\\ud800"}',
    "no JSON": "{",
    "many": "[" + "[]," * 400_000 + "[]]",
}


@pytest.mark.parametrize("report", REPORTS)
def test_models_are_listed_and_served_whatever_a_report_holds(tmp_path, report):
    bad, good = write_checkpoint(tmp_path / "bad"), write_checkpoint(tmp_path / "good", name="good")
    text = REPORTS[report]
    (bad / "parity.json").write_text(f'{{"deep": {text}}}' if text.startswith("[") else text)
    seal(bad, name="bad")
    models = Models()
    models.load(Settings(models=(str(bad), str(good))))
    client = TestClient(create_app(models, Settings()))
    assert [model["name"] for model in client.get("/models").json()["models"]] == ["bad", "good"]
    details = client.get("/models/bad")
    assert (details.status_code, details.json()["parity"]) == (200, None)
    result = CliRunner().invoke(cli, ["info", "--all", str(bad)])
    assert isinstance(result.exception, InvalidCheckpoint)


def test_a_golden_sample_in_another_format_is_refused(tiny):
    config = json.loads((tiny / "config.json").read_text())
    config["golden_sample"]["png"] = "JSFQUy1BZG9iZS0zLjA="  # %!PS-Adobe-3.0
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises((InvalidCheckpoint, GoldenSampleMismatch), match="not a PNG"):
        Generator.from_pretrained(tiny)


@pytest.mark.parametrize(
    "names", [("README.md", "README.MD"), ("r\u00e9.txt", "re\u0301.txt"), ("stra\u00dfe", "STRASSE")]
)
def test_names_that_are_one_file_elsewhere_are_refused(tiny, names):
    config = json.loads((tiny / "config.json").read_text())
    config["files"] |= dict.fromkeys(names, config["files"]["README.md"])
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidCheckpoint, match="differ by more than case"):
        Generator.from_pretrained(tiny)


@pytest.mark.parametrize("family", ["x" * 1000, "\x1b[31m", "\u202e"])
def test_the_family_of_a_network_is_a_short_text(tiny, family):
    config = json.loads((tiny / "config.json").read_text())
    config["architecture"]["family"] = family
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidCheckpoint, match="architecture"):
        Generator.from_pretrained(tiny)
