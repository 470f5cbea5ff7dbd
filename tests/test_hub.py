"""Models from the Hub: the real client against a server of our own, which breaks as the tests want it to."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_cache import downloads, draws, hub_cache
from hub_server import READER, REPO
from tiny_checkpoint import contents, seal, write_checkpoint

import gan_serve
from gan_serve import Generator, InvalidCheckpoint, UnknownModel
from gan_serve.checkpoint.bundled import BUNDLED
from gan_serve.errors import (
    AccessDenied,
    FormatTooNew,
    HubUnreachable,
    InvalidOption,
    RepositoryNotFound,
    RevisionNotFound,
)
from gan_serve.hub import repository
from gan_serve.hub.file_sets import every_file
from gan_serve.hub.resolve import resolve

NOWHERE = "http://127.0.0.1:9"  # the port of "discard": nothing listens there


@pytest.mark.usefixtures("published")
def test_only_what_drawing_needs_is_downloaded(hub):
    assert draws(Generator.from_pretrained(REPO))
    assert downloads(hub) == ["config.json", "generator.onnx"]


def test_what_is_cached_and_pinned_causes_no_request(hub, published):
    Generator.from_pretrained(REPO, revision=published)
    hub.log.clear()
    assert draws(Generator.from_pretrained(REPO, revision=published))
    assert draws(Generator.from_pretrained(f"{REPO}@{published}"))
    assert not hub.log


@pytest.mark.usefixtures("published")
def test_a_branch_that_is_cached_is_asked_for_once(hub):
    Generator.from_pretrained(REPO)
    hub.log.clear()
    assert draws(Generator.from_pretrained(REPO))
    assert hub.log == [f"HEAD /{REPO}/resolve/main/config.json"]


def test_revisions_are_branches_tags_and_commits(hub, published, tmp_path):
    newer = hub.publish(REPO, write_checkpoint(tmp_path / "newer", seed=1))
    hub.repositories[REPO].refs |= {"v1": published, "refs/pr/1": newer}
    for revision, weights in (("v1", 0), (published, 0), ("main", 1), ("refs/pr/1", 1), (newer, 1)):
        assert draws(Generator.from_pretrained(REPO, revision=revision), weights)
        assert draws(Generator.from_pretrained(f"{REPO}@{revision}"), weights)


def test_a_branch_that_moves_is_followed_and_sends_only_what_changed(hub, tiny):
    hub.publish(REPO, tiny)
    first = Generator.from_pretrained(REPO)
    (tiny / "README.md").write_text("# another card\n")
    hub.publish(REPO, seal(tiny))
    hub.log.clear()
    second = Generator.from_pretrained(REPO)
    assert second.directory != first.directory
    assert downloads(hub) == ["config.json"]


def test_names_and_directories_come_before_the_hub(hub, tiny, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny, tmp_path / REPO)
    assert resolve(REPO) == Path(REPO)
    assert resolve("fashion-dcgan") == BUNDLED / "fashion-dcgan"
    assert not hub.log
    with pytest.raises(InvalidOption, match="has no revisions"):
        Generator.from_pretrained("fashion-dcgan", revision="main")


def test_functions_of_the_package_ask_once_in_a_process(hub, tmp_path):
    hub.publish("somebody/asked-once", write_checkpoint(tmp_path / "tiny"))
    first = gan_serve.generate("somebody/asked-once", seed=7, output="numpy")
    hub.log.clear()
    np.testing.assert_array_equal(gan_serve.generate("somebody/asked-once", seed=7, output="numpy"), first)
    assert len(gan_serve.interpolate("somebody/asked-once", [0, 1], steps=2)) == 3
    assert not hub.log


@pytest.mark.usefixtures("published")
def test_what_is_cached_works_with_the_server_down_and_that_is_told(hub, monkeypatch, caplog):
    Generator.from_pretrained(REPO)
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    assert draws(Generator.from_pretrained(REPO))
    assert f"cannot be reached for {REPO}@main" in caplog.text
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    hub.status = 503
    assert draws(Generator.from_pretrained(REPO))


@pytest.mark.usefixtures("published")
def test_what_is_cached_works_offline(hub, monkeypatch, caplog):
    from huggingface_hub import constants

    Generator.from_pretrained(REPO)
    hub.log.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert draws(Generator.from_pretrained(REPO))
    assert not caplog.records  # it was asked for
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE is set"):
        resolve(REPO, files=every_file)
    assert not hub.log


@pytest.mark.parametrize("how", ["closed port", "no such host", "silent", "status", "no Hub", "offline"])
def test_no_answer_and_nothing_cached_is_told_without_delay(hub, monkeypatch, how):
    """The client alone would try for 23 seconds, or for minutes where a server is silent."""
    from huggingface_hub import constants

    monkeypatch.setattr(repository, "TIMEOUT", 0.2)
    hub.silent = how == "silent"
    hub.status = {"status": 500, "no Hub": 204}.get(how)
    if how in ("closed port", "no such host"):
        monkeypatch.setenv("HF_ENDPOINT", NOWHERE if how == "closed port" else "http://nowhere.invalid")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", how == "offline")
    with pytest.raises(HubUnreachable) as error:
        Generator.from_pretrained(REPO)
    assert REPO in error.value.message
    assert error.value.hint
    assert len(hub.log) <= 1


def test_a_branch_that_went_back_from_a_newer_format_is_read(hub, published, tiny, tmp_path):
    hub.publish(REPO, write_checkpoint(tmp_path / "newer", format_version=7))
    with pytest.raises(FormatTooNew):
        Generator.from_pretrained(REPO)
    hub.publish(REPO, tiny)
    assert draws(Generator.from_pretrained(REPO))


def test_the_update_that_broke_off_leaves_the_older_commit_usable(hub, tiny, monkeypatch):
    hub.publish(REPO, tiny)
    Generator.from_pretrained(REPO)
    shutil.rmtree(tiny)
    hub.publish(REPO, write_checkpoint(tiny, seed=1))
    hub.cut["generator.onnx"] = [(0, "reset")] * 3
    with pytest.raises(HubUnreachable):
        Generator.from_pretrained(REPO)
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    assert draws(Generator.from_pretrained(REPO), weights=0)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("model", "token", "error", "says"),
    [
        ("somebody/else", None, RepositoryNotFound, "no directory somebody/else, and no model .* without a token"),
        ("somebody/else", READER, RepositoryNotFound, "visible to this token"),
        ("somebody/private", None, RepositoryNotFound, "visible without a token"),
        ("somebody/gated", None, AccessDenied, "somebody/gated on the Hub is gated"),
        ("somebody/gated", READER, AccessDenied, "somebody/gated on the Hub is gated"),
        (REPO, "hf_expired", AccessDenied, "does not accept the token"),
        (REPO, "hf_with\na line", AccessDenied, "invalid characters"),
        (f"{REPO}@v9", None, RevisionNotFound, f"{REPO} on the Hub has no revision v9"),
        (f"{REPO}@{'0' * 40}", None, RevisionNotFound, "has no revision 000"),
        (f"{REPO}@../../x", None, RevisionNotFound, "is not a valid revision"),
        (f"{REPO}@a..b", None, RevisionNotFound, "is not a valid revision"),
        (f"{REPO}@a//b", None, RevisionNotFound, "is not a valid revision"),
        ("somebody/bert", None, InvalidCheckpoint, "config.json of somebody/bert@.* is not the config of a gan-serve"),
        ("somebody/empty", None, InvalidCheckpoint, "it has no config.json"),
        ("somebody/half", None, InvalidCheckpoint, "it has no generator.onnx"),
        ("somebody/newer", None, FormatTooNew, "config.json of somebody/newer@.* has format version 7"),
        ("some--body/x", None, UnknownModel, "not a valid name of a model"),
    ],
)
def test_what_the_hub_does_not_give_is_one_clear_error(hub, tiny, model, token, error, says):
    for name in ("private", "gated"):
        hub.publish(f"somebody/{name}", tiny, **{name: True})
    hub.publish("somebody/newer", seal(tiny, format_version=7, gan_serve_version="3.1.0"))
    (tiny / "generator.onnx").rename(tiny / "elsewhere.onnx")
    (tiny / "config.json").write_bytes(hub.files(REPO)["config.json"])
    hub.publish("somebody/half", tiny)
    (tiny / "config.json").write_text('{"architectures": ["BertModel"]}')
    hub.publish("somebody/bert", tiny)
    (tiny / "config.json").unlink()
    hub.publish("somebody/empty", tiny)
    with pytest.raises(error, match=says) as caught:
        Generator.from_pretrained(model, token=token)
    assert caught.value.hint
    assert token is None or token not in caught.value.message + caught.value.hint
    if error is FormatTooNew:
        assert "Install gan-serve 3.1.0" in caught.value.hint


@pytest.mark.parametrize("options", [{"token": True}, {"token": b"x"}, {"revision": 5}, {"revision": b"x"}])
def test_what_is_no_text_is_one_clear_error(hub, published, options):
    with pytest.raises(InvalidOption, match="text"):
        Generator.from_pretrained(REPO, **options)
    assert not hub.log


@pytest.mark.usefixtures("published")
def test_an_empty_token_is_none_and_one_of_the_environment_is_checked(monkeypatch):
    assert draws(Generator.from_pretrained(REPO, token=""))
    for token in ("hf_\u00e9", "hf_a b"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(AccessDenied, match="invalid characters") as error:
            Generator.from_pretrained(REPO)
        assert token not in str(error.value)


def test_a_private_model_takes_a_token(hub, tiny, monkeypatch):
    hub.publish(REPO, tiny, private=True)
    assert draws(Generator.from_pretrained(REPO, token=READER))
    monkeypatch.setenv("HF_TOKEN", READER)
    resolve(REPO, files=every_file)
    assert READER not in repr(Generator.from_pretrained(REPO, token=READER))


def test_what_only_told_leaves_what_can_draw(hub, published, tmp_path, monkeypatch):
    """``info`` of a newer commit, then no network: the older one, which is whole, is drawn with."""
    Generator.from_pretrained(REPO)
    newer = hub.publish(REPO, write_checkpoint(tmp_path / "newer", seed=1))
    assert resolve(REPO).name == newer
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    assert draws(Generator.from_pretrained(REPO), weights=0)
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    assert draws(Generator.from_pretrained(REPO), weights=1)
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    assert draws(Generator.from_pretrained(REPO), weights=1)


def test_a_cache_that_was_emptied_is_filled_again(hub, tmp_path):
    hub.publish("somebody/emptied", write_checkpoint(tmp_path / "tiny"))
    first = gan_serve.generate("somebody/emptied", seed=7, output="numpy")
    shutil.rmtree(hub_cache())
    np.testing.assert_array_equal(gan_serve.generate("somebody/emptied", seed=7, output="numpy"), first)


def test_save_pretrained_fetches_the_rest_and_gives_the_same_bytes(hub, tiny, published, tmp_path):
    generator = Generator.from_pretrained(REPO)
    hub.publish(REPO, write_checkpoint(tmp_path / "newer", seed=1))  # what was loaded is what is saved
    assert contents(generator.save_pretrained(tmp_path / "saved")) == contents(tiny)
    again = Generator.from_pretrained(f"{REPO}@{published}")
    assert contents(again.save_pretrained(tmp_path / "again")) == contents(tiny)


# What must not happen


def test_the_package_and_its_own_models_never_reach_for_the_network():
    code = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(event)

sys.addaudithook(refuse)
import gan_serve
gan_serve.generate("fashion-dcgan", n=2, seed=1)
print([name for name in ("huggingface_hub", "httpx", "requests") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == []


@pytest.mark.usefixtures("published")
def test_every_request_says_which_program_sends_it_and_no_more(hub, tmp_path):
    """In a new process: huggingface_hub reads its settings when it is imported."""
    program = (
        f"from gan_serve import Generator; Generator.from_pretrained({REPO!r}).save_pretrained({str(tmp_path / 'c')!r})"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert len(hub.agents) >= 6
    for path, agent in hub.agents:
        assert path != "/api/agent-harnesses"
        assert re.fullmatch(rf"gan-serve/{re.escape(gan_serve.__version__)}; hf_hub/[\w.]+; python/[\w.]+", agent), path
