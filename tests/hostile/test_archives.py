"""Data sets of strangers: what they claim is compared with what they hold before memory is taken for it."""

from __future__ import annotations

import io
import itertools
import os
import re
import sys
import zipfile
from pathlib import Path

import pytest
from hostile_data import DATA, GOOD, LATENTS, LEFT_OUT, TABLES, folder, picture
from measured import measure

from gan_serve.checkpoint.bundled import BUNDLED
from gan_serve.checkpoint.files import read_config
from gan_serve.cli.latents_file import read_latents
from gan_serve.errors import DataError, ImportRefused, InvalidLatents
from gan_serve.exports.imports.keras_file import read_keras
from gan_serve.exports.imports.state_dicts import read_torch_file
from gan_serve.training.data.list_files import MOST_VISITS
from gan_serve.training.data.load import load_images

SLOW = {
    "JPEG of 20,000 scans", "tar.gz with twelve tables of 60 MB", "tar.gz with a comment of 150 MB",
    "zip of 24 GB in 120 KB", "tar.gz of 200,000 empty files", "tar.gz of paths of 200,000 folders",
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="devices, and memory is read from /proc")
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in DATA])
def test_a_hostile_data_set_is_one_clear_error_or_left_out(tmp_path, name):
    make, says = DATA[name]
    path = make(tmp_path)
    if says == LEFT_OUT:
        data = load_images(path)
        assert (len(data), bool(data.left_out)) == (GOOD, True)
        return
    with pytest.raises(DataError, match=says) as error:
        load_images(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1500


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted(SLOW), "PNG with a text of 200 MB"])
def test_it_takes_little_memory(tmp_path, name):
    make, says = DATA[name]
    measured = measure("images", make(tmp_path))
    assert re.search(says, measured.message)
    assert measured.megabytes < 500


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_a_table_of_labels_is_a_regular_file(tmp_path, kind):
    table = tmp_path / "labels.csv"
    {
        "device": lambda: table.symlink_to("/dev/zero"),
        "pipe": lambda: os.mkfifo(table),
        "folder": table.mkdir,
    }[kind]()
    images = tmp_path / "images"
    images.mkdir()
    with pytest.raises(DataError, match="There are no labels at"):
        load_images(folder("20.png", picture)(images), labels=f"{table}:label")


@pytest.mark.parametrize(
    "content",
    ['{"labels": [1, 2]}', '{"labels": [{"a": 1, "b": 2}]}', "[" * 200_000, "5", "[" + "[]," * 8_000_001 + "0]"],
    ids=["numbers", "objects", "deep", "number", "eight million lists"],
)  # fmt: skip
def test_a_table_of_other_json_is_one_clear_error(tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"labels\.json"):
        load_images(folder("20.png", picture)(tmp_path / "images"), labels=f"{tmp_path / 'labels.json'}:label")


@pytest.mark.parametrize("name", TABLES)
def test_a_hostile_table_of_labels_is_one_clear_error(tmp_path, name):
    make, says = TABLES[name]
    path = make(tmp_path)
    with pytest.raises(DataError, match=says):
        load_images(path, labels=f"{path / 'labels.json'}:label")


@pytest.mark.parametrize("name", LATENTS)
def test_a_file_of_latents_that_claims_much_is_one_clear_error(tmp_path, name):
    make, says = LATENTS[name]
    path = make(tmp_path)
    with pytest.raises(InvalidLatents, match=says):
        read_latents(path, read_config(BUNDLED / "fashion-cgan"))


def test_links_to_folders_of_links_are_not_followed_without_end(tmp_path):
    """Nine folders, each with eight links to the next: 134 million paths to each image in the last."""
    for number in range(9):
        (tmp_path / str(number)).mkdir()
    for number, name in itertools.product(range(8), range(8)):
        (tmp_path / str(number) / f"link{name}").symlink_to(tmp_path / str(number + 1))
    (tmp_path / "8" / "a.png").write_bytes(picture())
    data = load_images(tmp_path)
    assert len(data) == MOST_VISITS
    assert any("a link to a folder that was read" in each.reason for each in data.left_out)


def test_members_with_names_of_other_places_are_read_in_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "names.zip", "w") as archive:
        for name in ("../../outside.png", "/absolute.png", "C:\\drive.png", "a.png", "A.PNG"):
            archive.writestr(name, picture())
    before = sorted(Path(tmp_path).rglob("*"))
    assert len(load_images(tmp_path / "names.zip")) == 4  # the first is left out as a hidden file
    assert sorted(Path(tmp_path).rglob("*")) == before


def zip_of_entries_beyond_any_file(names: list[str]) -> bytes:
    """Return a zip whose directory says that its entries begin after 2**63 bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, bytes(64))
        for entry in archive.infolist():
            entry.header_offset = 2**63 + 5
    return content.getvalue()


def test_entries_beyond_any_file_are_one_clear_error(tmp_path):
    """Found by fuzz.py: zipfile raises OverflowError for them."""
    for name, entries in (("a.npz", ["images.npy"]), ("a.zip", ["a/1.png", "a/2.png"])):
        (tmp_path / name).write_bytes(zip_of_entries_beyond_any_file(entries))
        with pytest.raises(DataError, match=name):
            load_images(tmp_path / name)
    with pytest.raises(ImportRefused, match="damaged zip"):
        read_torch_file(zip_of_entries_beyond_any_file(["a/data.pkl"]), "a.pth")
    with pytest.raises(ImportRefused, match="damaged"):
        read_keras(zip_of_entries_beyond_any_file(["config.json", "model.weights.h5"]), "a.keras")
    (tmp_path / "found.npz").write_bytes(zip_of_entries_beyond_any_file(["z.npy"]))
    with pytest.raises(InvalidLatents, match="has no latents"):
        read_latents(tmp_path / "found.npz", read_config(BUNDLED / "fashion-dcgan"))
