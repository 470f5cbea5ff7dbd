"""The Hub on the command line: what a user types, sees and finds on disk."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from hub_server import DEPRECATED, READER, REPO, WRITER, Repository
from PIL import Image
from tiny_checkpoint import SIDE, contents, pixels, seal

from gan_serve import Generator, InvalidCheckpoint, UnknownModel, errors
from gan_serve.service.models import Models
from gan_serve.service.settings import Settings


@pytest.mark.filterwarnings(DEPRECATED)
def test_push_pull_and_draw(cli, hub, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    pushed = cli("push", tiny, REPO, "--private", "--message", "first")
    sha = hub.repositories[REPO].refs["main"]
    assert (pushed.code, pushed.out) == (0, f"{hub.address}/{REPO}/commit/{sha}\n")
    assert hub.repositories[REPO].private

    pulled = cli("pull", REPO)
    assert contents(Path(pulled.out.strip())) == contents(tiny)
    assert cli("pull", f"{REPO}@{sha}", "--out", tmp_path / "copy").out == f"{tmp_path / 'copy'}\n"
    assert contents(tmp_path / "copy") == contents(tiny)

    assert cli("generate", REPO, "--seeds", 7, "--out", tmp_path / "a.png").code == 0
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (SIDE, SIDE)
        assert np.abs(np.array(image) - pixels(7)[..., 0].astype(int)).max() <= 1
    assert "verified" in cli("verify", tmp_path / "a.png", "--model", REPO).out
    assert cli("interpolate", REPO, "--seeds", "0,5", "--steps", 2, "--out", tmp_path / "a.gif").code == 0


def test_info_fetches_what_it_tells(cli, hub, tiny):
    hub.publish(REPO, tiny)
    facts = json.loads(cli("info", REPO, "--json").out)
    assert facts["metrics"] == {"made_up_metric": 1.5}
    assert not [line for line in hub.log if "generator" in line]


def test_info_tells_what_there_is_and_nothing_that_steers_a_terminal(cli, tiny):
    (tiny / "parity.json").unlink()
    (tiny / "metrics.json").write_text(json.dumps({"fid\x1b[2J": "\x1b]0;title\x07"}))
    outcome = cli("info", seal(tiny), "--all")
    assert outcome.code == 0
    assert "metrics.fid" in outcome.out
    assert "parity" not in outcome.out
    assert "\x1b" not in outcome.out
    (tiny / "metrics.json").write_text("[" * 200_000)
    outcome = cli("info", seal(tiny), "--all")
    assert "metrics.json is not JSON" in outcome.err


def test_a_receipt_never_makes_the_hub_be_asked(cli, hub, tiny, tmp_path):
    hub.publish(REPO, tiny)
    assert cli("generate", REPO, "--seeds", 7, "--out", tmp_path / "a.png").code == 0
    hub.log.clear()
    assert "not in the package" in cli("verify", tmp_path / "a.png").err
    assert not hub.log


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pull", "somebody/else"], "no model somebody/else on the Hub"),
        (["pull", REPO, "--revision", "v9"], f"{REPO} on the Hub has no revision v9."),
        (["pull", f"{REPO}@v1", "--revision", "v2"], "two revisions"),
        (["pull", "tiny"], "Write org/name"),
        (["pull", "somebody/elsewhere", "--out", "{tiny}"], "already exists"),
        (["generate", "somebody/else", "--seeds", "1", "--out", "{tiny}/a.png"], "no model somebody/else on the Hub"),
        (["generate", REPO, "--seeds", "1", "--precision", "int4", "--out", "{tiny}/a.png"], "choose from: fp32"),
        (["push", "{tiny}/none", REPO], "has no config.json"),
        (["push", "{tiny}", "tiny"], "Write org/name"),
        (["push", "{tiny}", REPO], f"write to {REPO}"),
    ],
)
def test_mistakes_are_one_clear_error(cli, hub, tiny, monkeypatch, arguments, says):
    monkeypatch.setenv("HF_TOKEN", READER)
    hub.publish(REPO, tiny)
    before = contents(tiny)
    outcome = cli(*(argument.format(tiny=tiny) for argument in arguments))
    assert outcome.code == 1
    assert says in outcome.err
    assert outcome.err.startswith("Error: ")
    assert len(outcome.err.splitlines()) <= 2
    assert contents(tiny) == before


def test_a_service_takes_models_of_the_hub_from_its_operator_only(hub, tiny, caplog):
    hub.publish(REPO, tiny)
    hub.publish("somebody/other", tiny)
    models = Models()
    models.load(Settings(models=(REPO, "somebody/missing"), device="cpu"))
    assert asyncio.run(models.get("tiny")).name == "tiny"
    assert not models.ready
    with pytest.raises(InvalidCheckpoint) as error:
        asyncio.run(models.get("missing"))
    assert error.value.message == "missing could not be loaded; the server's log says why."
    assert "no model somebody/missing on the Hub" in caplog.text
    hub.log.clear()
    for name in ("somebody/other", REPO, f"{REPO}@main"):
        with pytest.raises(UnknownModel, match="This server has no model"):
            asyncio.run(models.get(name))
    assert not hub.log


@pytest.mark.filterwarnings(DEPRECATED)
def test_the_document_does_what_it_says(cli, hub, tiny, tmp_path, monkeypatch):
    hub.repositories["org/name"] = Repository()
    hub.repositories["org/name"].refs["v1"] = hub.publish("org/name", tiny)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[1] / "docs" / "hub.md").read_text()
    [python], [bash] = (
        re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) for kind in ("python", "bash")
    )
    names: dict[str, object] = {}
    exec(compile(python, "docs/hub.md", "exec"), names)
    assert names["url"] == f"{hub.address}/org/fork/commit/{hub.repositories['org/fork'].refs['main']}"
    for line in bash.splitlines():
        outcome = cli(*shlex.split(line, comments=True)[1:])
        assert outcome.code == 0, outcome.err
    assert contents(tmp_path / "copy") == contents(tmp_path / "my-copy") == contents(tiny)
    for name, code in re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE):
        assert getattr(errors, name).code == code


def test_info_does_without_the_reports(cli, published, tiny, monkeypatch):
    """Of a directory that lacks one, and offline of a model whose network alone is in the cache."""
    (tiny / "metrics.json").unlink()
    outcome = cli("info", tiny, "--all")
    assert outcome.code == 0, outcome.err
    assert "img_resolution" in outcome.out
    Generator.from_pretrained(REPO)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    outcome = cli("info", REPO, "--all")
    assert outcome.code == 0, outcome.err
    assert "img_resolution" in outcome.out
    assert "\nmetrics." not in outcome.out
