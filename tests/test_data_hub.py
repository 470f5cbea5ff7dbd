"""Data sets on the Hub: the real client against a small server of our own, and parquet files as the Hub keeps them."""

import hashlib
import io
import json
import time
import zipfile
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from huggingface_hub import constants
from loopback import serving
from PIL import Image

from gan_serve.errors import DataError
from gan_serve.training.data.hub_datasets import fetch
from gan_serve.training.data.load import load_images

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "somebody/pets"


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), value).save(file, "png")
    return file.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


FILES = {
    "README.md": b"---\nlicense: mit\n---\n",
    "photos/cat/1.png": png(1),
    "photos/cat/2.png": png(2),
    "photos/dog/1.png": png(3),
    "packed/set.zip": zipped({f"{kind}/{number}.png": png(9) for kind in "ab" for number in range(2)}),
}


class Hub(BaseHTTPRequestHandler):
    """The part of the Hub that a download speaks to, for one data set with the branches main and refs/pr/1."""

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        parts = unquote(urlsplit(self.path).path)
        api, files = f"/api/datasets/{REPO}", f"/datasets/{REPO}/resolve/{COMMIT}/"
        if parts in {f"{api}/revision/{revision}" for revision in ("main", "refs/pr/1", COMMIT)}:
            self.send({"id": REPO, "sha": COMMIT, "siblings": [], "cardData": {"license": "mit"}})
        elif parts.startswith(f"{api}/revision/"):
            self.send({}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif parts == f"{api}/tree/{COMMIT}":
            self.send([{"type": "file", "path": p, "size": len(c), "oid": self.oid(c)} for p, c in FILES.items()])
        elif parts.startswith(files) and parts.removeprefix(files) in FILES:
            content = FILES[parts.removeprefix(files)]
            self.send(content, 200, {"ETag": f'"{self.oid(content)}"', "X-Repo-Commit": COMMIT}, body)
        else:
            self.send({}, 404, {"X-Error-Code": "RepoNotFound"})

    def send(self, content, status=200, headers=None, body=True):
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(raw), "Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if body:
            self.wfile.write(raw)

    @staticmethod
    def oid(content):
        return hashlib.sha1(content).hexdigest()

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving(Hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield address


@pytest.mark.usefixtures("hub")
def test_a_folder_of_images_on_the_hub():
    data = load_images(f"hf://datasets/{REPO}/photos")
    assert data.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert (data.class_names, data.labels.tolist()) == (("cat", "dog"), [0, 0, 1])
    assert (data.name, data.license) == ("pets", "mit")
    assert data.credit == f"{REPO} on the Hugging Face Hub, revision {COMMIT[:12]}"


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("path", ["packed", "packed/set.zip"])
def test_an_archive_on_the_hub_at_a_revision(path, tmp_path):
    data = load_images(f"hf://datasets/{REPO}@refs/pr/1/{path}")
    assert (data.class_names, len(data)) == (("a", "b"), 4)
    assert not list(tmp_path.rglob("*.png"))  # what was not asked for is not downloaded


def test_what_is_cached_needs_no_hub(hub, monkeypatch):
    first = load_images(f"hf://datasets/{REPO}@{COMMIT}/photos")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert load_images(f"hf://datasets/{REPO}@{COMMIT}/photos").digest == first.digest


def test_a_hub_that_is_down_is_told_within_seconds(tmp_path):
    start = time.monotonic()
    with pytest.raises(DataError, match="Hub cannot be reached"):
        fetch(f"hf://datasets/{REPO}", endpoint="http://127.0.0.1:9", cache_dir=tmp_path)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (f"hf://datasets/{REPO}@v9", "has no revision v9"),
        ("hf://datasets/somebody/else", "no data set somebody/else"),
        (f"hf://datasets/{REPO}/nothing", "has no nothing"),
        ("hf://models/a/b", "is not the address of a data set"),
        ("hf://datasets/pets", "is not the address of a data set"),
        ("hf://datasets/a--b/..c", "is not the name of a data set"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_the_hub_does_not_have_is_told(address, says):
    with pytest.raises(DataError, match=says):
        load_images(address)


def table(path, count, **columns):
    """A parquet file as the Hub converts a folder of images, the names of its classes in the schema."""
    pa = pytest.importorskip("pyarrow", reason='needs the extra "hf"')
    parquet = pytest.importorskip("pyarrow.parquet")
    cells = [{"bytes": png(number), "path": f"{number:02}.png"} for number in range(count)]
    made = pa.table({"image": cells, **columns})
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(made.replace_schema_metadata({"huggingface": json.dumps(features)}), path)


def test_parquet_files_with_the_names_of_their_classes(tmp_path):
    table(tmp_path / "data" / "train-00000-of-00002.parquet", 2, label=[0, 1])
    table(tmp_path / "data" / "train-00001-of-00002.parquet", 3, label=[1, 1, 0])
    table(tmp_path / "data" / "test-00000-of-00001.parquet", 1, label=[1])
    (tmp_path / "banner.png").write_bytes(png(0))
    data = load_images(tmp_path)
    assert data.images[:, 0, 0, 0].tolist() == [0, 1, 0, 1, 2]
    assert (data.class_names, data.labels.tolist()) == (("cat", "dog"), [0, 1, 1, 1, 0])
    assert len(load_images(tmp_path, split="test")) == 1


def test_parquet_labels_of_other_kinds(tmp_path):
    table(tmp_path / "words.parquet", 2, label=["wolf", "ape"])
    assert load_images(tmp_path / "words.parquet").class_names == ("ape", "wolf")
    table(tmp_path / "none.parquet", 2, label=[-1, -1])
    assert load_images(tmp_path / "none.parquet").labels is None
    table(tmp_path / "plain.parquet", 2)
    np.savez(tmp_path / "l.npz", filenames=["01.png", "00.png"], kind=["x", "y"])
    data = load_images(tmp_path / "plain.parquet", labels=f"{tmp_path / 'l.npz'}:kind")
    assert data.labels.tolist() == [1, 0]


def test_parquet_without_images_or_damaged_is_refused(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no column of images; it has: text"):
        load_images(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="cannot be read"):
        load_images(tmp_path / "b.parquet")
