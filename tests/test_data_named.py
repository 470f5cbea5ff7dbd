"""Data sets known by name: found and checked, or downloaded from a real server on loopback and checked."""

import functools
import gzip
import hashlib
import io
import tarfile
from http.server import SimpleHTTPRequestHandler

import numpy as np
import pytest
from loopback import serving

from gan_serve.errors import DataError
from gan_serve.training.data.load import NAMED_SOURCES, load_images
from gan_serve.training.data.named import CIFAR10_ARCHIVE, NamedSource, PinnedFile, data_home, read_source

rng = np.random.default_rng(0)
IMAGES, LABELS = rng.integers(0, 256, (5, 28, 28), np.uint8), np.array([0, 1, 2, 1, 0], np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


CONTENTS = {"train-images-idx3-ubyte.gz": idx(IMAGES), "train-labels-idx1-ubyte.gz": idx(LABELS)}
FILES = {name: gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}


def source(*urls: str, folders: tuple[str, ...] = ()) -> NamedSource:
    """Five digits that are published as MNIST is."""
    return NamedSource(
        files={name: PinnedFile(sha256(FILES[name]), sha256(CONTENTS[name])) for name in FILES},
        urls=urls,
        class_names=("zero", "one", "two"),
        license="mit",
        credit="somebody",
        folders=folders,
    )


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def published(tmp_path):
    """The folder of a server, and its address."""
    folder = tmp_path / "published"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    with serving(functools.partial(Quiet, directory=folder)) as address:
        yield folder, f"{address}/"


def test_a_set_is_downloaded_once_and_checked(tmp_path, published):
    folder, url = published
    home = tmp_path / "home" / "five"
    data = read_source("five", source(url), "train", home)
    np.testing.assert_array_equal(data.images[..., 0], IMAGES)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert (data.name, data.class_names, data.license, data.credit) == (
        "five",
        ("zero", "one", "two"),
        "mit",
        "somebody",
    )
    assert sorted(path.name for path in home.iterdir()) == sorted(FILES)
    for path in folder.iterdir():
        path.unlink()
    assert read_source("five", source(url), "train", home).digest == data.digest


def test_a_wrong_byte_is_caught_and_nothing_is_kept(tmp_path, published):
    folder, url = published
    damaged = bytearray(FILES["train-images-idx3-ubyte.gz"])
    damaged[100] ^= 1
    (folder / "train-images-idx3-ubyte.gz").write_bytes(damaged)
    home = tmp_path / "home"
    with pytest.raises(DataError, match=r"the file at .* is not the published one") as error:
        read_source("five", source(url), "train", home)
    assert str(home) in error.value.hint
    assert list(home.iterdir()) == []


def test_the_next_address_is_tried(tmp_path, published):
    _, url = published
    assert len(read_source("five", source(f"{url}gone/", url), "train", tmp_path / "home")) == 5


def test_a_server_that_is_down_or_lacks_the_file_is_named(tmp_path, published):
    _, url = published
    down = "http://127.0.0.1:9/"  # the discard port: nothing listens
    with pytest.raises(DataError, match=r"five is not on this machine .*ConnectionError.*404") as error:
        read_source("five", source(down, f"{url}gone/"), "train", tmp_path / "home")
    assert "train-images-idx3-ubyte.gz" in error.value.hint


@pytest.mark.parametrize("packed", [lambda raw: gzip.compress(raw, 1, mtime=7), None])
def test_the_same_content_packed_otherwise_is_found(tmp_path, packed):
    for name, content in CONTENTS.items():
        if packed:
            (tmp_path / name).write_bytes(packed(content))
        else:
            (tmp_path / name.removesuffix(".gz")).write_bytes(content)
    data = read_source("five", source(folders=(str(tmp_path),)), "train", tmp_path / "home")
    np.testing.assert_array_equal(data.images[..., 0], IMAGES)


def test_other_content_under_the_name_is_refused(tmp_path):
    for name, content in CONTENTS.items():
        (tmp_path / name).write_bytes(gzip.compress(content[:-1] + b"\7"))
    with pytest.raises(DataError, match="not the published file of five") as error:
        read_source("five", source(), "train", tmp_path)
    assert str(tmp_path) in error.value.hint


def test_cifar10_in_its_binary_version(tmp_path):
    labels = rng.integers(0, 10, 60).astype(np.uint8)
    images = rng.integers(0, 256, (60, 3, 32, 32), np.uint8)
    records = np.concatenate([labels[:, None], images.reshape(60, -1)], 1)
    names = ["test_batch.bin", "data_batch_5.bin", *(f"data_batch_{number}.bin" for number in range(1, 5))]
    order = [5, 4, 0, 1, 2, 3]  # which tenth of the records a file holds: training in the order of the numbers
    with tarfile.open(tmp_path / CIFAR10_ARCHIVE, "w:gz") as archive:
        for name, part in zip(names, order, strict=True):
            content = records[10 * part : 10 * part + 10].tobytes()
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    digest = sha256((tmp_path / CIFAR10_ARCHIVE).read_bytes())
    cifar = NamedSource({CIFAR10_ARCHIVE: PinnedFile(digest)}, (), NAMED_SOURCES["cifar10"].class_names, "other", "x")
    train, test = (read_source("cifar10", cifar, split, tmp_path) for split in ("train", "test"))
    np.testing.assert_array_equal(train.images, images[:50].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(test.labels, labels[50:])
    assert (train.img_channels, train.class_names[6]) == (3, "frog")


def test_names_lead_to_files_with_pinned_digests(monkeypatch, tmp_path):
    published = {name: named for name, named in NAMED_SOURCES.items() if isinstance(named, NamedSource)}
    assert set(published) == {"fashion-mnist", "mnist", "cifar10"}
    for named in published.values():
        assert len(named.class_names) == 10
        assert all(url.startswith("http") and url.endswith("/") for url in named.urls)
        digests = [digest for file in named.files.values() for digest in (file.packed, file.content) if digest]
        assert len({*digests}) == len(digests)
        assert all(len(bytes.fromhex(digest)) == 32 for digest in digests)
    monkeypatch.setenv("GAN_SERVE_DATA", str(tmp_path))
    assert data_home() == tmp_path
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(FILES["train-images-idx3-ubyte.gz"])
    with pytest.raises(DataError, match="not the published file of mnist"):
        load_images("mnist")
