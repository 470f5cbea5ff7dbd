"""Labels from a CSV or an npz beside the images."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan_serve.errors import DataError
from gan_serve.training.data.load import load_images


@pytest.fixture
def faces(tmp_path):
    """Four images, c.png in a folder below."""
    for value, name in enumerate(("a.png", "b.png", "more/c.png", "d.png")):
        (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), value).save(tmp_path / "faces" / name)
    return tmp_path / "faces"


def table(folder, text):
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return f"{folder / 't.csv'}"


def by_name(data):
    return {name: data.class_names[label] for name, label in zip(data.names, data.labels, strict=True)}


@pytest.mark.parametrize("column", ["image", "File", "filename", "image_id", "file_name", "whatever"])
def test_a_csv_is_matched_by_file_name(tmp_path, faces, column):
    text = f"{column},kind,Wearing_Hat\nd.png,owl,-1\nc.png,cat,1\nb.png,cat,1\na.png,dog,-1\nother.png,eel,1\n"
    spec = table(tmp_path, "\ufeff" + text)
    data = load_images(faces, labels=f"{spec}:kind")
    assert data.class_names == ("cat", "dog", "owl")
    assert by_name(data) == {"a.png": "dog", "b.png": "cat", "more/c.png": "cat", "d.png": "owl"}
    data = load_images(faces, labels=f"{spec}:Wearing_Hat")
    assert data.class_names == ("not wearing hat", "wearing hat")
    assert by_name(data)["b.png"] == "wearing hat"


def test_the_name_column_may_stand_anywhere(tmp_path, faces):
    spec = table(tmp_path, "kind,image\nx,a.png\nx,b.png\ny,more/c.png\ny,d.png\n")
    assert load_images(faces, labels=f"{spec}:kind").labels.tolist() == [0, 0, 1, 1]


def test_names_without_suffix_and_numbers_in_their_order(tmp_path, faces):
    spec = table(tmp_path, "image_id,age\na,10\nb,9\nc,100\nd,9\n")
    data = load_images(faces, labels=f"{spec}:age")
    assert data.class_names == ("9", "10", "100")
    assert by_name(data)["more/c.png"] == "100"


def test_the_table_may_lie_with_the_images(faces):
    table(faces, "image,kind\na.png,1\nb.png,0\nc.png,0\nd.png,0\n")
    assert load_images(faces, labels="t.csv:kind").class_names == ("not kind", "kind")
    with zipfile.ZipFile(faces / "set.zip", "w") as archive:
        archive.write(faces / "a.png", "a.png")
    assert load_images(faces / "set.zip", labels="t.csv:kind").labels.tolist() == [1]


def test_zero_and_one_of_a_plain_label_column_are_classes(tmp_path, faces):
    spec = table(tmp_path, "image,label\na.png,1\nb.png,0\nc.png,0\nd.png,0\n")
    assert load_images(faces, labels=f"{spec}:label").class_names == ("0", "1")


@pytest.mark.parametrize(
    ("text", "column", "says", "hint"),
    [
        ("image,kind\na.png,x\nb.png,x\nc.png,y\n", "kind", "1 of 4 images have no row in .*: d.png", "png"),
        ("image,kind\na.png,x\n", "knid", "no column 'knid'; it has: image, kind", "'kind'"),
        ("image,kind\na.png,x\n", "", "several columns, and none was named.* image, kind", "file.csv:column"),
        ("image,kind\na.png,x\nb.png,y\na.png,y\nc.png,x\nd.png,x\n", "kind", "'a.png' in rows 2 and 4", "one row"),
        ("image,kind\na.png,x\nb.png\n", "kind", "Row 3 of .* has no kind", ""),
        ("image,kind\na.png,x\nb.png,  \n", "kind", "Row 3 of .* has no kind", ""),
        ("", "kind", "no column 'kind'", ""),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, faces, text, column, says, hint):
    spec = table(tmp_path, text)
    with pytest.raises(DataError, match=says) as error:
        load_images(faces, labels=f"{spec}:{column}" if column else spec + ":")
    assert hint in error.value.hint


def test_labels_that_are_not_there_are_refused(faces):
    with pytest.raises(DataError, match=r"no labels at nowhere\.csv"):
        load_images(faces, labels="nowhere.csv:kind")
    with pytest.raises(DataError, match="no labels at nonsense"):
        load_images(faces, labels="nonsense")


def test_images_of_one_name_in_two_folders_need_their_paths(tmp_path):
    for kind in ("left", "right"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "set" / kind / "1.png")
    with pytest.raises(DataError, match=r"same name \(right/1\.png\)"):
        load_images(tmp_path / "set", labels=table(tmp_path, "image,kind\n1.png,x\n") + ":kind")
    spec = table(tmp_path, "image,kind\nleft/1.png,x\nright\\1.png,y\n")
    assert load_images(tmp_path / "set", labels=f"{spec}:kind").labels.tolist() == [0, 1]


def test_an_npz_of_attributes(tmp_path, faces):
    np.savez(
        tmp_path / "attributes.npz",
        filenames=["d.png", "c.png", "b.png", "a.png"],
        attrs=np.array([[0, 1], [1, 1], [0, 0], [1, 0]], np.uint8),
        attr_names=["Blond_Hair", "Smiling"],
        labels=[0, 1, 2, 1],
        class_names=["zebra", "ape", "bee"],
        scores=[0.5, 1.0, 0.2, 0.1],
    )
    spec = f"{tmp_path / 'attributes.npz'}"
    data = load_images(faces, labels=f"{spec}:Blond_Hair")
    assert data.class_names == ("not blond hair", "blond hair")
    assert by_name(data) == {
        "a.png": "blond hair", "b.png": "not blond hair", "d.png": "not blond hair", "more/c.png": "blond hair"
    }  # fmt: skip
    assert by_name(load_images(faces, labels=f"{spec}:labels"))["b.png"] == "bee"
    with pytest.raises(DataError, match=r"no column 'Blond_Hiar'; it has: .*Blond_Hair, Smiling") as error:
        load_images(faces, labels=f"{spec}:Blond_Hiar")
    assert error.value.hint == "Did you mean 'Blond_Hair'?"
    with pytest.raises(DataError, match=r"'scores' .* float64"):
        load_images(faces, labels=f"{spec}:scores")


def test_an_npz_without_file_names_does_not_fit_a_folder(tmp_path, faces):
    np.savez(tmp_path / "l.npz", kind=["x", "y", "x", "y"])
    with pytest.raises(DataError, match="does not say which image"):
        load_images(faces, labels=f"{tmp_path / 'l.npz'}:kind")


def test_images_without_names_take_rows_in_order(tmp_path):
    np.savez(tmp_path / "i.npz", images=np.zeros((3, 8, 8), np.uint8))
    np.savez(tmp_path / "l.npz", kind=["b", "a", "b"], sure=[True, False, True])
    assert load_images(tmp_path / "i.npz", labels=f"{tmp_path / 'l.npz'}:kind").labels.tolist() == [1, 0, 1]
    assert load_images(tmp_path / "i.npz", labels=f"{tmp_path / 'l.npz'}:sure").class_names == ("not sure", "sure")
    spec = table(tmp_path, "kind\nb\na\nb\n")
    assert load_images(tmp_path / "i.npz", labels=f"{spec}:kind").labels.tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="2 rows for 3 images"):
        load_images(tmp_path / "i.npz", labels=table(tmp_path, "kind\nb\na\n") + ":kind")


def test_an_npz_with_file_names_is_matched_by_them(tmp_path):
    images = np.arange(3, dtype=np.uint8).repeat(64).reshape(3, 8, 8)
    np.savez(tmp_path / "i.npz", images=images, filenames=["x", "y", "z"])
    spec = table(tmp_path, "image,kind\nz,late\nx,early\ny,early\n")
    assert load_images(tmp_path / "i.npz", labels=f"{spec}:kind").labels.tolist() == [0, 0, 1]


def test_a_table_is_refused_before_the_images_are_read(tmp_path):
    (tmp_path / "broken.png").write_bytes(io.BytesIO().getvalue())
    with pytest.raises(DataError, match="no labels at"):
        load_images(tmp_path, labels="nowhere.csv:kind")
