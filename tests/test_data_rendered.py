"""Data sets that the repository renders: found by name, checked, and refused where they are missing or other ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gan_serve.errors import DataError
from gan_serve.training.data import named
from gan_serve.training.data.image_set import ImageSet
from gan_serve.training.data.load import NAMED_SOURCES, load_images
from gan_serve.training.data.rendered import PinnedSplit, RenderedSource

RENDERED = {name: source for name, source in NAMED_SOURCES.items() if isinstance(source, RenderedSource)}

CLASSES = ("square", "round", "unused")
rng = np.random.default_rng(0)
SPLITS = {
    split: ImageSet("shapes", rng.integers(0, 256, (n, 8, 8, 3), np.uint8), np.arange(n) % 2, CLASSES)
    for split, n in (("train", 6), ("test", 4))
}


def write(folder: Path, split: str, data: ImageSet) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{split}.npz"
    np.savez(path, images=data.images, labels=data.labels, class_names=np.array(data.class_names))
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small data set that is known by the name shapes; nothing is in it."""
    pinned = {split: PinnedSplit(data.digest, str(data.labels_digest)) for split, data in SPLITS.items()}
    source = RenderedSource(
        pinned, "python zoo/shapes/make.py", "a pencil", "cc-by-4.0", "shapes by Somebody (CC BY 4.0)"
    )
    monkeypatch.setitem(named.NAMED_SOURCES, "shapes", source)
    monkeypatch.setenv("GAN_SERVE_DATA", str(tmp_path))
    return tmp_path / "shapes"


@pytest.mark.parametrize("split", SPLITS)
def test_both_splits_are_found_by_name(home, split):
    expected = SPLITS[split]
    write(home, split, expected)
    data = load_images("shapes", split=split)
    np.testing.assert_array_equal(data.images, expected.images)
    np.testing.assert_array_equal(data.labels, expected.labels)
    assert (data.name, data.class_names) == ("shapes", CLASSES)
    assert (data.license, data.credit) == ("cc-by-4.0", "shapes by Somebody (CC BY 4.0)")
    assert (data.digest, data.labels_digest) == (expected.digest, expected.labels_digest)


def test_the_table_beside_gives_labels(home):
    write(home, "train", SPLITS["train"])
    rows = [f"shapes/train/{row},{row % 3}" for row in range(6)]
    (home / "train.csv").write_text("\n".join(["image,size", *rows]))
    data = load_images("shapes", labels=f"{home / 'train.csv'}:size")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"images": 255 - SPLITS["train"].images}, "images"),
        ({"images": SPLITS["train"].images[::-1]}, "images"),
        ({"labels": np.array([0, 1, 0, 1, 1, 1])}, "labels or class names"),
        ({"class_names": ("round", "square", "unused")}, "labels or class names"),
    ],
    ids=["pixels", "order", "labels", "class names"],
)
def test_another_set_under_the_name_is_refused_and_taken_by_its_path(home, changed, what):
    path = write(home, "train", replace(SPLITS["train"], **changed))
    with pytest.raises(DataError, match=f"not the published data set shapes: its {what} have the digest") as error:
        load_images("shapes")
    assert "\n" not in str(error.value)
    assert "python zoo/shapes/make.py" in error.value.hint
    assert f"--data {path}" in error.value.hint
    assert len(load_images(path)) == 6


def test_a_damaged_file_is_named(home):
    path = write(home, "train", SPLITS["train"])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a readable npz"):
        load_images("shapes")


@pytest.mark.parametrize("name", RENDERED)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_set_says_how_to_make_it(tmp_path, monkeypatch, name, split):
    monkeypatch.setenv("GAN_SERVE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"The data set {name} is not on this machine") as error:
        load_images(name, split=split)
    assert str(tmp_path / name / f"{split}.npz") in error.value.message
    assert f"`python zoo/{name}/make.py`" in error.value.hint


def test_train_ends_with_that_line_and_makes_no_run(tmp_path, monkeypatch, cli):
    monkeypatch.setenv("GAN_SERVE_DATA", str(tmp_path))
    outcome = cli("train", "--recipe", "dcgan-64", "--data", "avatars", "--run-dir", tmp_path / "run")
    assert outcome.code != 0
    assert outcome.err.startswith("Error: The data set avatars is not on this machine")
    assert "python zoo/avatars/make.py" in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", RENDERED)
def test_both_splits_have_pinned_digests(name):
    digests = [digest for split in RENDERED[name].splits.values() for digest in (split.images, split.labels)]
    assert set(RENDERED[name].splits) == {"train", "test"}
    assert len(set(digests)) == 4
    assert all(digest.startswith("sha256:") and len(bytes.fromhex(digest[7:])) == 32 for digest in digests)
