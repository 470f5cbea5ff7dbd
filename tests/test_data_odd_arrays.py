"""Class names, bit depths, arrays and tables of other programs, and the summary of a data set."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from odd_files import idx, labels_of, png, write
from PIL import Image
from pydantic import TypeAdapter

from gan_serve.checkpoint.config import Text
from gan_serve.errors import DataError
from gan_serve.training.data.load import load_images
from gan_serve.training.data.summary import class_counts, contact_sheet, summary, summary_lines

# Names of classes


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("green\u00a0apple", "green apple"),
        ("two\nlines", "two lines"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
        ("cafe\u0301", "café"),
        ("\u202egnp", "gnp"),
    ],
)
def test_names_of_classes_are_normalised_when_they_are_read(tmp_path, value, name):
    write(tmp_path, "a.png", "b.png")
    (tmp_path / "t.csv").write_text(f'image,kind\na.png,"{value}"\nb.png,plain\n', encoding="utf-8")
    assert labels_of(load_images(tmp_path, labels="t.csv:kind"))[0] == name
    assert TypeAdapter(Text).validate_python(name) == name  # as in the config of a checkpoint


@pytest.mark.parametrize(("value", "says"), [("x" * 201, "201 characters"), ("a\x1b[31mb", "cannot be shown")])
def test_names_that_no_checkpoint_takes_are_refused_before_training(tmp_path, value, says):
    write(tmp_path, "a.png", "b.png")
    (tmp_path / "t.csv").write_text(f'image,kind\na.png,"{value}"\nb.png,plain\n', encoding="utf-8")
    with pytest.raises(DataError, match=says):
        load_images(tmp_path, labels="t.csv:kind")


def test_duplicate_names_and_wide_gaps_in_an_npz(tmp_path):
    images = np.zeros((4, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 1, 0, 1], class_names=["cat", "cat"])
    with pytest.raises(DataError, match="several classes cat"):
        load_images(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", images=images, labels=[0, 60000, 0, 60000])
    assert load_images(tmp_path / "b.npz").class_names == ("0", "60000")
    np.savez(tmp_path / "c.npz", images=images, labels=[0, 1, 4, 2])
    assert load_images(tmp_path / "c.npz").class_names == ("0", "1", "2", "3", "4")


def test_bytes_in_an_npz_are_words(tmp_path):
    images = np.zeros((2, 8, 8), np.uint8)
    arrays = {"class_names": np.array([b"cat", b"dog"]), "filenames": np.array([b"1.png", b"2.png"])}
    np.savez(tmp_path / "a.npz", images=images, labels=[1, 0], **arrays)
    data = load_images(tmp_path / "a.npz")
    assert (data.class_names, data.names) == (("cat", "dog"), ("1.png", "2.png"))
    np.savez(tmp_path / "b.npz", images=images, labels=np.array([b"dog", b"cat"]))
    assert labels_of(load_images(tmp_path / "b.npz")) == ["dog", "cat"]


# Depth


def test_twelve_bits_in_sixteen_are_scaled_by_the_range_of_the_set(tmp_path):
    for number, top in enumerate((4095, 1000)):
        ramp = np.linspace(0, top, 64).astype(np.uint16).reshape(8, 8)
        Image.fromarray(ramp).save(tmp_path / f"{number}.png")
    data = load_images(tmp_path)
    assert data.images.max(axis=(1, 2, 3)).tolist() == [255, 62]
    assert "16-bit images use 12 bits: white is 4095." in data.notes


def test_a_set_that_is_nearly_black_is_told(tmp_path):
    (tmp_path / "a.png").write_bytes(png(15))
    assert load_images(tmp_path).notes == ("all images are nearly black: the largest value is 15 of 255.",)


# Arrays that everybody has


def test_keras_and_medmnist(tmp_path):
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=[3, 0, 1, 2], x_test=images[:2], y_test=[0, 1])
    assert load_images(tmp_path / "mnist.npz").labels.tolist() == [3, 0, 1, 2]
    assert len(load_images(tmp_path / "mnist.npz", split="test")) == 2
    (tmp_path / "mnist.npz").rename(tmp_path / "MNIST.NPZ")
    assert len(load_images(tmp_path / "MNIST.NPZ")) == 4
    labels = np.array([[1], [0], [1], [0]])
    np.savez(tmp_path / "med.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    assert load_images(tmp_path / "med.npz").labels.tolist() == [1, 0, 1, 0]
    np.savez(tmp_path / "multi.npz", train_images=images, train_labels=np.ones((4, 14)))
    assert "several labels for each image" in load_images(tmp_path / "multi.npz").notes[0]


def test_arrays_under_other_names_and_in_an_npy(tmp_path):
    images = np.arange(2 * 64, dtype=np.uint8).reshape(2, 8, 8)
    np.savez(tmp_path / "a.npz", data=images)
    with pytest.raises(DataError, match="has no array 'images'; it has: data") as error:
        load_images(tmp_path / "a.npz")
    assert "a.npz:NAME" in error.value.hint
    np.testing.assert_array_equal(load_images(f"{tmp_path / 'a.npz'}:data").images[..., 0], images)
    np.save(tmp_path / "a.npy", images)
    np.testing.assert_array_equal(load_images(tmp_path / "a.npy").images[..., 0], images)


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(np.float32, 0, 1), (np.float64, -1, 1), (np.float32, 0, 255), (np.int64, 0, 255)]
)
def test_channels_first_and_floats_are_told_apart(tmp_path, dtype, low, high):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    pixels.flat[:2] = 0, 255
    values = (pixels / 255 * (high - low) + low).astype(dtype) if high == 1 else pixels.astype(dtype)
    np.save(tmp_path / "a.npy", values.transpose(0, 3, 1, 2))
    data = load_images(tmp_path / "a.npy")
    np.testing.assert_array_equal(data.images, pixels)
    assert any("[N, C, H, W]" in note for note in data.notes)
    assert any(f"{low} becomes 0 and {high} becomes 255" in note for note in data.notes)


def test_idx_files_of_other_names(tmp_path):
    images, labels = np.random.default_rng(0).integers(0, 256, (3, 8, 6)), np.array([1, 2, 1])
    (tmp_path / "train-images.idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(labels))
    data = load_images(tmp_path, resolution=8)
    assert (len(data), data.class_names) == (3, ("1", "2"))
    emnist = tmp_path / "emnist"
    emnist.mkdir()
    for kind, array in (("letters-train-images-idx3", images), ("letters-train-labels-idx1", labels)):
        (emnist / f"emnist-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    square = np.random.default_rng(1).integers(0, 256, (3, 8, 8))
    (emnist / "emnist-letters-train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(square)))
    letters = load_images(emnist / "emnist-letters-train-images-idx3-ubyte.gz")
    np.testing.assert_array_equal(letters.images[..., 0], square.transpose(0, 2, 1))
    assert labels_of(letters) == ["1", "2", "1"]
    (emnist / "emnist-digits-train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(square)))
    with pytest.raises(DataError, match="several data sets: emnist-digits-, emnist-letters-"):
        load_images(emnist)


def test_labels_beside_an_array_of_another_name(tmp_path):
    np.savez(tmp_path / "a.npz", data=np.zeros((2, 8, 8), np.uint8), labels=[1, 0])
    assert load_images(f"{tmp_path / 'a.npz'}:data").labels.tolist() == [1, 0]
    np.savez(tmp_path / "a.npz", data=np.zeros((2, 8, 8), np.uint8), labels=[1, 0, 1])
    assert load_images(f"{tmp_path / 'a.npz'}:data").labels is None


# Tables


def test_celebas_own_text_file(tmp_path):
    write(tmp_path, "000001.jpg", "000002.jpg")
    text = "2\nBlond_Hair Smiling \n000001.jpg -1  1\n000002.jpg  1 -1\n"
    (tmp_path / "list_attr_celeba.txt").write_text(text)
    data = load_images(tmp_path, labels="list_attr_celeba.txt:Blond_Hair")
    assert labels_of(data) == ["not blond hair", "blond hair"]
    with pytest.raises(DataError, match="names several columns"):
        load_images(tmp_path, labels="list_attr_celeba.txt:Blond_Hair,Smiling")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252", "utf-16-le"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_of_other_programs(tmp_path, encoding, delimiter):
    write(tmp_path, "a.png", "b.png")
    text = "\n".join(delimiter.join(row) for row in (("image", "kind"), ("a.png", "Bär"), ("b.png", "Käfer")))
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    data = load_images(tmp_path, labels="t.csv:kind")
    assert labels_of(data) == ["Bär", "Käfer"]
    assert any("not UTF-8" in note for note in data.notes) is (encoding != "utf-8")
    assert any("between its cells" in note for note in data.notes) is (delimiter != ",")


@pytest.mark.parametrize("form", ["rows.jsonl", "rows.json", "dataset.json", "rows.parquet"])
def test_json_and_parquet_are_tables_of_labels_too(tmp_path, form):
    write(tmp_path / "set", "a.png", "b.png")
    rows, table = [{"file_name": "b.png", "label": "owl"}, {"file_name": "a.png", "label": "eel"}], tmp_path / form
    if form == "rows.parquet":
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(rows), table)
    elif form == "rows.jsonl":
        table.write_text("\n".join(map(json.dumps, rows)))
    else:
        pairs = {"labels": [list(row.values()) for row in rows]}
        table.write_text(json.dumps(rows if form == "rows.json" else pairs))
    assert labels_of(load_images(tmp_path / "set", labels=f"{table}:label")) == ["eel", "owl"]


# The summary


def test_the_summary_counts_classes_and_states_sizes(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    for number in range(3):
        Image.new("RGB", (20, 10), (100 + number, 0, 0)).save(tmp_path / "cat" / f"{number}.png")
    Image.new("RGB", (40, 40), (9, 0, 0)).save(tmp_path / "dog" / "a.png")
    data = load_images(tmp_path, resolution=8)
    found = summary(data)
    assert found == {
        "images": 4, "width": 20, "height": 10, "channels": 3, "classes": {"cat": 3, "dog": 1}, "split": "train",
        "left_out": [], "notes": ["sizes differ; 3 of 4 images have 20x10."],
    }  # fmt: skip
    lines = summary_lines(data, conditional=False)
    assert lines[0].endswith("4 images of 20x10 to 40x40 RGB, cut square and resized to 8x8.")
    assert lines[1] == "Classes: 2: cat 3, dog 1. They are not used: --set conditional=true uses them."
    assert contact_sheet(data).shape == (2 * 10 + 2, 8 * 10 + 2, 3)
    assert class_counts(load_images(tmp_path, labels="none")) is None
