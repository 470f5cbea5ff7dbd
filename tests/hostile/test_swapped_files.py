"""Files of a checkpoint that are replaced between the check of their digests and their use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import REPO
from tiny_checkpoint import contents, write_checkpoint

from gan_serve import Generator, InvalidCheckpoint
from gan_serve.checkpoint import files
from gan_serve.hub.repository import HubRepository


@pytest.mark.parametrize("name", ["config.json", "generator.onnx", "README.md"])
def test_a_copy_has_the_bytes_that_were_verified(tmp_path, monkeypatch, name):
    directory = write_checkpoint(tmp_path / "tiny")
    before, generator = contents(directory), Generator.from_pretrained(directory)
    read = files.read_regular

    def read_and_swap(path: str | Path, limit: int) -> bytes:
        content = read(path, limit)
        if Path(path).name == name:
            Path(path).write_bytes(b"swapped")
        return content

    monkeypatch.setattr(files, "read_regular", read_and_swap)
    assert contents(generator.save_pretrained(tmp_path / "copy")) == before


def test_a_network_is_read_once(tmp_path, monkeypatch):
    """The bytes that ONNX Runtime gets are those of which the digest was computed."""
    directory = write_checkpoint(tmp_path / "tiny")
    opened: list[str] = []
    read = files.read_regular
    monkeypatch.setattr(files, "read_regular", lambda path, limit: opened.append(Path(path).name) or read(path, limit))
    Generator.from_pretrained(directory)
    assert opened.count("generator.onnx") == 1


def test_a_link_is_copied_as_the_file_that_was_verified(tmp_path):
    directory = write_checkpoint(tmp_path / "tiny")
    (tmp_path / "elsewhere").write_bytes((directory / "README.md").read_bytes())
    (directory / "README.md").unlink()
    (directory / "README.md").symlink_to(tmp_path / "elsewhere")
    copy = Generator.from_pretrained(directory).save_pretrained(tmp_path / "copy")
    assert not (copy / "README.md").is_symlink()


@pytest.mark.parametrize("name", ["config.json", "generator.onnx"])
def test_a_file_of_the_hub_that_is_larger_than_it_may_be_is_not_downloaded(hub, tmp_path, monkeypatch, name):
    directory = write_checkpoint(tmp_path / "tiny")
    if name == "config.json":
        monkeypatch.setattr(HubRepository.file, "__kwdefaults__", {"again": False, "limit": 100})
    else:
        (directory / name).write_bytes(bytes(1_000_000))
    hub.publish(REPO, directory)
    with pytest.raises(InvalidCheckpoint, match="bytes; at most"):
        Generator.from_pretrained(REPO)
    assert not [line for line in hub.log if line.startswith("GET") and line.endswith(name)]
