"""Sources that are easily read wrongly: each is read rightly, or refused by name, and the summary says so."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from odd_files import idx, labels_of, png, write
from PIL import Image

from gan_serve.errors import DataError
from gan_serve.training.data.load import load_images
from gan_serve.training.data.summary import summary_lines

# Splits


@pytest.mark.parametrize(
    ("train", "test"),
    [("Training", "Testing"), ("train2017", "val2017"), ("trn", "tst"), ("train", "valid"), ("seg_train", "seg_test")],
)
def test_folders_of_splits_are_no_classes(tmp_path, train, test):
    write(tmp_path, f"{train}/cat/1.png", f"{train}/dog/2.png", f"{test}/cat/3.png")
    data = load_images(tmp_path)
    assert (data.names, labels_of(data)) == ((f"{train}/cat/1.png", f"{train}/dog/2.png"), ["cat", "dog"])
    assert any(f"1 of {test}" in note for note in data.notes)


def test_unlabeled_images_are_not_trained_on(tmp_path):
    data = load_images(write(tmp_path, "train/a.png", "val/b.png", "unlabeled/c.png"))
    assert (data.names, data.labels) == (("train/a.png",), None)
    assert "1 of unlabeled, 1 of val" in data.notes[0]


def test_domains_are_classes_of_the_split(tmp_path):
    write(tmp_path, "trainA/1.png", "trainB/2.png", "testA/3.png", "testB/4.png")
    data = load_images(tmp_path)
    assert (data.names, labels_of(data)) == (("trainA/1.png", "trainB/2.png"), ["A", "B"])
    one = load_images(write(tmp_path / "one", "trainA/1.png", "testA/3.png"))
    assert (one.names, one.labels) == (("trainA/1.png",), None)


def test_splits_beside_other_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"folders test, train are splits, and extra are not"):
        load_images(write(tmp_path, "train/a.png", "test/b.png", "extra/c.png"))
    vehicles = load_images(write(tmp_path / "vehicles", "car/a.png", "train/b.png"))
    assert vehicles.class_names == ("car", "train")


def test_files_of_splits_with_a_year(tmp_path):
    for name in ("train2017.zip", "val2017.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(f"{name}.png", png())
    assert load_images(tmp_path).names == ("train2017.zip.png",)


# Labels that lie with the images


def test_stylegans_dataset_json_gives_labels_and_shards_are_no_classes(tmp_path):
    names = ["00000/img00000000.png", "00000/img00000001.png", "00001/img00001000.png"]
    labels = {"labels": [[names[2], 1], [names[0], 4], [names[1], 4]]}
    write(tmp_path / "set", *names)
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(labels))
    assert labels_of(load_images(tmp_path / "set")) == ["4", "4", "1"]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("dataset.json", json.dumps(labels))
        for name in names:
            archive.writestr(name, png())
    assert labels_of(load_images(tmp_path / "set.zip")) == ["4", "4", "1"]
    (tmp_path / "set" / "dataset.json").write_text('{"labels": null}')
    unlabelled = load_images(tmp_path / "set")
    assert unlabelled.labels is None
    assert any("numbered folders" in note for note in unlabelled.notes)
    (tmp_path / "set" / "dataset.json").write_text("[1, 2")
    with pytest.raises(DataError, match=r"is not the dataset\.json of StyleGAN"):
        load_images(tmp_path / "set")


@pytest.mark.parametrize("suffixes", [("cls",), ("json",), ("cls", "json")])
def test_webdataset_shards_have_labels(tmp_path, suffixes):
    for shard in range(2):
        with tarfile.open(tmp_path / f"shard-{shard}.tar", "w") as archive:
            for row in range(3):
                label = {"cls": str(10 * shard + row % 2), "json": json.dumps({"label": "ab"[row % 2], "n": 1})}
                beside = [(f"{row:05}.{suffix}", label[suffix].encode()) for suffix in suffixes]
                for name, content in [(f"{row:05}.png", png()), *beside]:
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    data = load_images(tmp_path)
    expected = ["0", "1", "0", "10", "11", "10"] if "cls" in suffixes else ["a", "b", "a", "a", "b", "a"]
    assert sorted(labels_of(data)) == sorted(expected)
    assert not data.left_out
    assert labels_of(load_images(tmp_path / "shard-1.tar")) == expected[3:]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_metadata_of_an_imagefolder_is_read(tmp_path, form):
    write(tmp_path, "train/x/a.png", "train/y/b.png", "test/c.png")
    rows = [
        {"file_name": "x/a.png", "label": "owl", "text": "hoot"},
        {"file_name": "y/b.png", "label": "eel", "text": ""},
    ]
    table = tmp_path / "train" / f"metadata.{form}"
    if form == "csv":
        table.write_text("file_name,label\nx/a.png,owl\ny/b.png,eel\n")
    elif form == "jsonl":
        table.write_text("\n".join(map(json.dumps, rows)))
    else:
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(rows), table)
    assert labels_of(load_images(tmp_path)) == ["owl", "eel"]
    assert load_images(tmp_path, labels="none").labels is None


def test_a_table_that_is_not_read_is_named(tmp_path):
    write(tmp_path, "a.png", "b.png")
    (tmp_path / "kinds.csv").write_text("image,kind\na.png,x\nb.png,y\n")
    data = load_images(tmp_path)
    assert data.labels is None
    assert "kinds.csv may hold labels and is not read: --labels kinds.csv:COLUMN" in data.notes[0]


# Parquet


def parquet(path: Path, **columns: object) -> Path:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pa.table(columns), path)
    return path


def test_a_column_called_image_wins_and_others_can_be_chosen(tmp_path):
    path = parquet(tmp_path / "a.parquet", mask=[png(9)] * 2, image=[png(1), png(2)])
    assert load_images(path).images[:, 0, 0, 0].tolist() == [1, 2]
    assert load_images(f"{path}:mask").images[:, 0, 0, 0].tolist() == [9, 9]
    assert "columns that are not read: mask." in load_images(str(path)).notes
    with pytest.raises(DataError, match="no column of images 'masc'"):
        load_images(f"{path}:masc")
    path = parquet(tmp_path / "b.parquet", front=[png()], back=[png()])
    with pytest.raises(DataError, match="several columns of images: front, back"):
        load_images(path)


@pytest.mark.parametrize(
    "column", ["fine_label", *(pytest.param(name, marks=pytest.mark.slow) for name in ("class", "category", "label"))]
)
def test_labels_of_parquet_have_many_names(tmp_path, column):
    data = load_images(parquet(tmp_path / "a.parquet", image=[png()] * 3, **{column: ["b", "a", "b"]}, words=["x"] * 3))
    assert labels_of(data) == ["b", "a", "b"]
    assert "columns that are not read: words." in data.notes


def test_bytes_and_whole_floats_are_labels_and_few_empty_ones_are_left_out(tmp_path):
    assert labels_of(load_images(parquet(tmp_path / "a.parquet", image=[png()] * 2, label=[1.0, 0.0]))) == ["1", "0"]
    data = load_images(parquet(tmp_path / "b.parquet", image=[png()] * 20, label=[0, 1] * 9 + [0, None]))
    assert (len(data), data.left_out[0].reason) == (19, "it has no label")
    with pytest.raises(DataError, match="2 of 4 images have no label"):
        load_images(parquet(tmp_path / "c.parquet", image=[png()] * 4, label=[0, 1, None, None]))
    unlabelled = load_images(parquet(tmp_path / "d.parquet", image=[png()] * 2, label=[-1, -1]))
    assert unlabelled.labels is None
    assert "no image has one" in unlabelled.notes[-1]


# Folders and files


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path / "real", "cat/1.png", "dog/2.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "real" / "cat")
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "real" / "dog")
    (tmp_path / "real" / "dog" / "up").symlink_to(tmp_path / "real" / "dog")
    (tmp_path / "set" / "nowhere.png").symlink_to("/nowhere/at/all.png")
    data = load_images(tmp_path / "set")
    assert data.names == ("cat/1.png", "dog/2.png")
    reasons = {item.file: item.reason for item in data.left_out}
    assert reasons == {"dog/up/": "a link to a folder that contains it", "nowhere.png": "a link to nowhere"}


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "ppm", "pgm", "avif", "apng", "pnm"])
def test_suffixes_that_pillow_reads(tmp_path, suffix):
    Image.new("L" if suffix == "pgm" else "RGB", (16, 16), 200 if suffix == "pgm" else (200, 200, 200)).save(
        tmp_path / f"a.{suffix}", "jpeg" if suffix in ("jfif", "jpe") else None
    )
    assert abs(int(load_images(tmp_path).images[0, 0, 0, 0]) - 200) <= 2


def test_other_files_are_left_out_with_a_reason(tmp_path):
    write(tmp_path, "a.png", "b.heic", "c.mp4")
    data = load_images(tmp_path)
    assert [tuple(item) for item in data.left_out] == [
        ("b.heic", ".heic is not read: convert it to PNG or JPEG", False),
        ("c.mp4", ".mp4 is no image", False),
    ]
    assert "Left out: 2 of 3 files" in "\n".join(summary_lines(data))


def test_junk_and_runs_of_ours_are_left_out(tmp_path):
    write(tmp_path, "a.png", "@eaDir/a.png", ".thumbnails/b.png", "run/grids/kimg000001.000.png", "#recycle/c.png")
    for name in ("config.json", "run.json"):
        (tmp_path / "run" / name).write_text("{}")
    data = load_images(tmp_path)
    assert data.names == ("a.png",)
    assert {item.file for item in data.left_out} == {"@eaDir/", ".thumbnails/", "run/", "#recycle/"}


def test_a_file_that_is_no_regular_one_is_not_opened(tmp_path):
    write(tmp_path, *(f"{number}.png" for number in range(3)))
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    data = load_images(tmp_path)
    assert (len(data), sorted(item.file for item in data.left_out)) == (3, ["fifo.png", "zero.png"])


def test_names_that_are_not_utf8(tmp_path):
    folder = os.fsencode(tmp_path / "set")
    for name in ("thé", "café"):
        os.makedirs(folder + b"/" + name.encode("cp1252"))
        Path(os.fsdecode(folder + b"/" + name.encode("cp1252") + b"/1.png")).write_bytes(png())
    assert load_images(tmp_path / "set").class_names == ("café", "thé")
    with tarfile.open(tmp_path / "a.tar", "w", encoding="gbk") as archive:
        for name in ("鸟/1.png", "狗/2.png"):
            info = tarfile.TarInfo(name)
            info.size = len(png())
            archive.addfile(info, io.BytesIO(png()))
    assert set(load_images(tmp_path / "a.tar").class_names) == {"鸟", "狗"}


def test_zips_with_backslashes_and_in_gbk(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("cat\\1.png", "dog\\2.png"):
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, png())
    assert load_images(tmp_path / "a.zip").class_names == ("cat", "dog")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for letters in ("XX", "YY"):
            archive.writestr(f"{letters}/1.png", png())
    raw = (tmp_path / "b.zip").read_bytes()
    raw = raw.replace(b"XX/", "猫".encode("gbk") + b"/").replace(b"YY/", "狗".encode("gbk") + b"/")
    (tmp_path / "b.zip").write_bytes(raw)
    assert set(load_images(tmp_path / "b.zip").class_names) == {"猫", "狗"}


def test_numbers_in_names_of_classes_are_in_their_order(tmp_path):
    data = load_images(write(tmp_path / "numbers", *(f"{number}/a.png" for number in range(12))))
    assert data.class_names == tuple(map(str, range(12)))
    assert data.class_names[data.labels[data.names.index("10/a.png")]] == "10"
    assert load_images(write(tmp_path / "words", "class10/a.png", "class2/b.png")).class_names == ("class2", "class10")


def test_a_folder_called_like_a_published_data_set_is_named(tmp_path, monkeypatch):
    write(tmp_path, "mnist/a.png")
    monkeypatch.chdir(tmp_path)
    images = gzip.compress(idx(np.zeros((2, 4, 4))))
    monkeypatch.setattr(
        "gan_serve.training.data.load.load_named", lambda name, split: load_images(tmp_path / "home" / "mnist")
    )
    (tmp_path / "home" / "mnist").mkdir(parents=True)
    (tmp_path / "home" / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(images)
    assert "--data ./mnist" in load_images("mnist").notes[-1]
    assert load_images("./mnist").names == ("a.png",)


def test_a_suggestion_is_a_folder_that_lies_there(tmp_path, monkeypatch):
    write(tmp_path, "emoji/a.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no data at emojis") as error:
        load_images("emojis")
    assert error.value.hint == "Did you mean 'emoji'?"
