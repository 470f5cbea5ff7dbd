"""Images in tar and zip archives: the same as from the folder that they hold, and nothing written to disk."""

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan_serve.errors import DataError
from gan_serve.training.data.load import load_images

rng = np.random.default_rng(0)


def png(value: int | None = None) -> bytes:
    pixels = rng.integers(0, 256, (8, 8), np.uint8) if value is None else np.full((8, 8), value, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def tar(path, members, mode="w"):
    """A tar of (name, bytes) and of ready TarInfos."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


MEMBERS = [(f"{kind}/{number}.png", png()) for kind in ("dog", "cat") for number in (2, 0, 1)]


@pytest.fixture
def folder(tmp_path):
    for name, content in MEMBERS:
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "folder"


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.TGZ", "w:gz"), ("a.tar.bz2", "w:bz2"), ("a.tar.xz", "w:xz")],
)
def test_a_tar_gives_what_its_folder_gives(tmp_path, folder, name, mode):
    data, expected = load_images(tar(tmp_path / name, MEMBERS, mode)), load_images(folder)
    assert (data.digest, data.labels_digest, data.names) == (expected.digest, expected.labels_digest, expected.names)
    assert (data.name, data.class_names) == ("a", ("cat", "dog"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "folder"]  # nothing was extracted


def test_a_zip_gives_what_its_folder_gives(tmp_path, folder):
    data, expected = load_images(zipped(tmp_path / "a.zip", MEMBERS)), load_images(folder)
    assert (data.digest, data.labels_digest) == (expected.digest, expected.labels_digest)


def test_links_devices_and_junk_are_left_out(tmp_path):
    link, device, fifo = (tarfile.TarInfo(f"{name}.png") for name in ("link", "device", "fifo"))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device.type, fifo.type = tarfile.CHRTYPE, tarfile.FIFOTYPE
    junk = [
        ("__MACOSX/._a.png", b"x"),
        ("._a.png", b"x"),
        (".git/a.png", b"x"),
        ("notes.txt", b"x"),
        ("../up.png", b"x"),
    ]
    path = tar(tmp_path / "a.tar", [link, device, fifo, *junk, ("./a.png", png(1)), ("/abs/b.png", png(2))])
    data = load_images(path)
    assert data.names == ("a.png", "abs/b.png")
    assert data.skipped == ()
    symlink = zipfile.ZipInfo("link.png")
    symlink.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(symlink, "/etc/passwd")
        archive.writestr("a.png", png(3))
    assert load_images(tmp_path / "a.zip").names == ("a.png",)


def test_a_folder_of_archives_is_read_as_one(tmp_path):
    (tmp_path / "set").mkdir()
    tar(tmp_path / "set" / "part2of2.tar.gz", [("c.png", png(3))], "w:gz")
    tar(tmp_path / "set" / "part1of2.tar.gz", [("a.png", png(1)), ("b.png", png(2))], "w:gz")
    data = load_images(tmp_path / "set")
    assert (data.name, data.names) == ("set", ("a.png", "b.png", "c.png"))
    assert data.images[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_archives_are_chosen_by_the_split_in_their_names(tmp_path):
    tar(tmp_path / "set_train.tar", [(f"{kind}/0.png", png()) for kind in "ab"])
    zipped(tmp_path / "set_test.zip", [(f"{kind}/0.png", png()) for kind in "abc"])
    assert load_images(tmp_path).class_names == ("a", "b")
    assert load_images(tmp_path, split="test").class_names == ("a", "b", "c")
    (tmp_path / "set_test.zip").unlink()
    with pytest.raises(DataError, match=r"has no test files; it has: set_train\.tar"):
        load_images(tmp_path, split="test")


def test_gray_becomes_rgb_when_a_later_image_has_colour(tmp_path):
    red = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(red, "png")
    path = zipped(tmp_path / "a.zip", [("a.png", png(7)), ("b.png", red.getvalue()), ("c.png", png(9))])
    assert load_images(path).images[:, 0, 0].tolist() == [[7, 7, 7], [255, 0, 0], [9, 9, 9]]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.xz", "a.zip"])
def test_a_damaged_archive_is_refused(tmp_path, name):
    path = tmp_path / name
    if name.endswith("zip"):
        zipped(path, MEMBERS)
    else:
        tar(path, MEMBERS, {"a.tar": "w", "a.tar.gz": "w:gz", "a.tar.xz": "w:xz"}[name])
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 3], whole[: len(whole) // 4], b"", b"nothing of the kind" * 100):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"cannot be read|holds no images"):
            load_images(path)


def test_broken_members_are_skipped_and_named(tmp_path):
    members = [(f"{number:02}.png", png()) for number in range(20)]
    path = zipped(tmp_path / "a.zip", [*members, ("x.png", b"no image")])
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[4].header_offset
    raw = bytearray(path.read_bytes())
    raw[start + 50] ^= 255  # in the packed bytes of 04.png: its checksum fails
    path.write_bytes(raw)
    data = load_images(path)
    assert [skipped.split(":")[0] for skipped in data.skipped] == ["04.png", "x.png"]
    assert len(data) == 19


def test_a_member_that_claims_to_be_huge_is_not_read(tmp_path):
    path = tar(tmp_path / "a.tar", [(f"{number:02}.png", png()) for number in range(20)])
    sparse = tarfile.TarInfo("z.png")
    sparse.size = 2**30
    path.write_bytes(path.read_bytes()[: 20 * 1024] + sparse.tobuf() + bytes(1024))
    os.truncate(path, 20 * 1024 + 512 + 2**30 + 1024)  # a hole: it takes no room on the disk
    data = load_images(path)
    assert (len(data), len(data.skipped)) == (20, 1)
    assert "1073741824 bytes" in data.skipped[0]
