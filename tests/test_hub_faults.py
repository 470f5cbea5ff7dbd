"""Faults between a Hub and its cache: cut downloads, wrong bytes, silence, a cache that cannot be written."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hub_cache import downloads, draws, hub_cache
from hub_server import REPO
from tiny_checkpoint import contents, write_checkpoint

from gan_serve import DigestMismatch, Generator
from gan_serve.errors import (
    CannotWrite,
    HubUnreachable,
)
from gan_serve.hub import repository
from gan_serve.hub.file_sets import every_file
from gan_serve.hub.resolve import resolve


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("faults", [[(100_000, "close")], [(100_000, "reset")], [(0, "reset"), (150_000, "close")]])
def test_a_download_that_breaks_off_goes_on(hub, monkeypatch, faults):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # what was received in whole chunks is kept
    hub.cut["generator.onnx"] = list(faults)
    assert draws(Generator.from_pretrained(REPO))
    assert hub.ranges or faults[-1][1] == "reset"  # after a reset, some versions of the client begin anew


@pytest.mark.parametrize("name", ["generator.onnx", "config.json"])
def test_a_wrong_byte_is_caught_and_fetched_again(hub, published, name):
    hub.damage[name] = 1
    assert draws(Generator.from_pretrained(REPO, revision=published))
    assert downloads(hub).count(name) == 2
    assert contents(resolve(f"{REPO}@{published}", files=every_file)) == hub.files(REPO)


@pytest.mark.parametrize("name", ["generator.onnx", "config.json"])
def test_a_file_that_stays_wrong_is_never_used_nor_kept(hub, published, name):
    hub.damage[name] = 2
    with pytest.raises(DigestMismatch, match=rf"{name} of {REPO}@{published[:12]}") as error:
        Generator.from_pretrained(REPO, revision=published)
    assert "not used" in error.value.hint
    assert not list(Path(hub_cache()).rglob(name))
    assert draws(Generator.from_pretrained(REPO, revision=published))  # the Hub is whole again


@pytest.mark.parametrize("name", ["generator.onnx", "config.json"])
def test_what_was_damaged_in_the_cache_is_fetched_again(hub, published, name):
    file = Generator.from_pretrained(REPO).directory / name
    content = file.read_bytes()
    file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])  # a config stays one of the schema
    hub.log.clear()
    assert draws(Generator.from_pretrained(REPO, revision=published))
    assert name in downloads(hub)
    hub.log.clear()
    assert draws(Generator.from_pretrained(REPO, revision=published))
    assert not hub.log


def test_one_commit_that_lies_does_not_damage_another(hub, published):
    """The commits share their README.md; the later one's config tells another digest."""
    resolve(f"{REPO}@{published}", files=every_file)
    config = json.loads(hub.files(REPO)["config.json"])
    config["files"]["README.md"]["sha256"] = "0" * 64
    hub.repositories[REPO].commit({**hub.files(REPO), "config.json": json.dumps(config).encode()})
    with pytest.raises(DigestMismatch, match=r"README\.md"):
        resolve(REPO, files=every_file)
    hub.log.clear()
    assert contents(resolve(f"{REPO}@{published}", files=every_file)) == hub.files(REPO, published)
    assert not hub.log


def test_a_link_out_of_the_cache_is_no_way_to_remove_a_file(hub, published, tmp_path):
    file = Generator.from_pretrained(REPO).directory / "generator.onnx"
    (tmp_path / "mine").write_text("mine")
    file.unlink()
    file.symlink_to(tmp_path / "mine")
    assert draws(Generator.from_pretrained(REPO, revision=published))
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.usefixtures("published")
def test_a_hub_that_goes_silent_half_way_is_left(hub, monkeypatch):
    """The client's own six tries, and no more."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    hub.hold.add("generator.onnx")
    with pytest.raises(HubUnreachable, match=REPO):
        Generator.from_pretrained(REPO)
    assert 1 <= downloads(hub).count("generator.onnx") <= 6


@pytest.mark.usefixtures("published")
def test_a_hub_that_goes_silent_between_two_files_is_left(hub, monkeypatch):
    monkeypatch.setattr(repository, "TIMEOUT", 0.2)
    hub.hold.add("HEAD generator.onnx")
    with pytest.raises(HubUnreachable, match=REPO):
        Generator.from_pretrained(REPO)
    assert len([line for line in hub.log if line.endswith("generator.onnx")]) == 1


def test_a_killed_download_can_be_repeated(hub, published, tmp_path):
    hub.hold.add("generator.onnx")
    code = f"from gan_serve import Generator; Generator.from_pretrained({REPO!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    assert hub.held.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hub.hold.clear()
    assert contents(resolve(f"{REPO}@{published}", files=every_file)) == hub.files(REPO)
    assert draws(Generator.from_pretrained(REPO))


def test_a_cache_that_cannot_be_written_is_told(hub, published, monkeypatch, tmp_path):
    from huggingface_hub import constants

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(CannotWrite, match="file"):
        Generator.from_pretrained(f"{REPO}@{published}")


@pytest.mark.usefixtures("published")
def test_a_cache_that_is_read_only_serves_the_commit_it_has(hub, tmp_path, monkeypatch, caplog):
    """The branch moved on; the newer commit cannot be downloaded."""
    import huggingface_hub

    older = Generator.from_pretrained(REPO).directory.name
    newer = hub.publish(REPO, write_checkpoint(tmp_path / "newer", seed=1))

    def refuse(repo: str, name: str, **_: Any) -> str:
        raise OSError(errno.EROFS, "Read-only file system", name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    assert draws(Generator.from_pretrained(REPO), weights=0)
    assert f"Commit {older[:12]} of the cache is used, although {REPO}@main is at {newer[:12]}" in caplog.text
    assert f"{REPO}@{older}" in caplog.text
    with pytest.raises(CannotWrite, match="Read-only"):
        Generator.from_pretrained(f"{REPO}@{newer}")
