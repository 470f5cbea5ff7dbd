"""Parquet of strangers: crashes of pyarrow, rows that take no space, texts that take much."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gan_serve.errors import DataError
from gan_serve.training.data import label_tables, parquet_files
from gan_serve.training.data.load import load_images
from gan_serve.training.data.parquet_files import MAX_TEXT, READ_IMAGES, check_table, ends_normally

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is in the extra hf")
parquet = pytest.importorskip("pyarrow.parquet")

# Two bytes of a file that pyarrow 26.0.1 wrote are others: its reader calls abort().
ABORTS = Path(__file__).parent / "aborts_pyarrow.parquet"
# Found by fuzz.py: a column is said to have integers of more than 64 bits, for which pyarrow has an error of its own.
WIDE_INTEGERS = Path(__file__).parent / "wide_integers.parquet"


def empty_rows(where: Path) -> Path:
    """Ten million empty cells in a few kilobytes: a name of each would take a gigabyte."""
    cells = pyarrow.nulls(10_000_000, pyarrow.binary())
    parquet.write_table(pyarrow.table({"image": cells}), where / "empty.parquet", compression="zstd")
    assert (where / "empty.parquet").stat().st_size < 2**18
    return where / "empty.parquet"


def long_texts(where: Path, column: str = "label") -> Path:
    """2,000 labels of 100 KB, which are one value in the file."""
    cells = {"image": [png(where)] * 2000, column: ["x" * (MAX_TEXT * 25)] * 2000}
    parquet.write_table(pyarrow.table(cells), where / "long.parquet")
    assert (where / "long.parquet").stat().st_size < 2**20
    return where / "long.parquet"


def long_texts_in_a_dictionary(where: Path) -> Path:
    """A label of 8 MB in each of 250 rows, which stay one value until Python has them."""
    labels = pyarrow.DictionaryArray.from_arrays([0] * 250, ["x" * 2**23])
    parquet.write_table(pyarrow.table({"image": [png(where)] * 250, "label": labels}), where / "texts.parquet")
    return where / "texts.parquet"


def long_lists(where: Path) -> Path:
    """100,000 labels in each of 200 rows."""
    labels = pyarrow.array([[7] * 100_000] * 200, pyarrow.list_(pyarrow.int32()))
    parquet.write_table(pyarrow.table({"image": [png(where)] * 200, "label": labels}), where / "lists.parquet")
    return where / "lists.parquet"


def many_empty_files(where: Path) -> Path:
    """Sixty files with 130,000 empty cells each, which is what a single file may have."""
    (where / "many").mkdir()
    parquet.write_table(
        pyarrow.table({"image": pyarrow.nulls(130_000, pyarrow.binary())}), where / "many" / "0.parquet"
    )
    for number in range(1, 60):
        (where / "many" / f"{number}.parquet").write_bytes((where / "many" / "0.parquet").read_bytes())
    return where / "many"


def two_columns_of_a_name(where: Path) -> Path:
    table = pyarrow.table([[png(where)] * 20] * 2, names=["image", "image"])
    parquet.write_table(table, where / "twice.parquet")
    return where / "twice.parquet"


def numbers_for_bytes(where: Path) -> Path:
    parquet.write_table(pyarrow.table({"image": [{"bytes": 5, "path": "a.png"}] * 20}), where / "numbers.parquet")
    return where / "numbers.parquet"


def many_columns(where: Path, rows: int = 20) -> Path:
    cells = {"image": [png(where)] * rows, **{f"column{number}": [1] * rows for number in range(5000)}}
    parquet.write_table(pyarrow.table(cells), where / "wide.parquet")
    return where / "wide.parquet"


def that_aborts(where: Path) -> Path:
    (where / "aborts.parquet").write_bytes(ABORTS.read_bytes())
    return where / "aborts.parquet"


def wide_integers(where: Path) -> Path:
    (where / "wide.parquet").write_bytes(WIDE_INTEGERS.read_bytes())
    return where / "wide.parquet"


PARQUET: dict[str, tuple[Callable[[Path], Path], str]] = {
    "parquet that makes pyarrow abort": (that_aborts, "pyarrow crashes|cannot be read"),
    "parquet of integers of more than 64 bits": (wide_integers, "wide.parquet cannot be read"),
    "parquet of 10 million empty rows": (empty_rows, "claims 10,000,000 rows"),
    "parquet of 2,000 labels of 100 KB": (long_texts, "a text of 102,400 characters"),
    "parquet of 250 labels of 8 MB in a dictionary": (long_texts_in_a_dictionary, "a text of 8,388,608 characters"),
    "parquet of 100,000 labels for each image": (long_lists, "bytes in [0-9,]+ rows"),
    "folder of 60 parquets of 130,000 empty rows": (many_empty_files, "claims 7,800,000 rows"),
    "parquet of two columns of one name": (two_columns_of_a_name, "twice.parquet cannot be read"),
    "parquet of numbers for bytes": (numbers_for_bytes, "the cell has no bytes, but int64"),
    "parquet of 5,000 columns": (many_columns, "has 5,001 columns"),
}


@pytest.mark.parametrize(
    "features",
    [
        "text", ["a"], {"label": "text"}, {"label": ["a"]}, {"label": {"names": 5}}, {"label": {"names": {"a": 1}}},
        {"label": {"names": [["a"], ["b", "c"]], "_type": "ClassLabel"}}, {"label": {"names": [None, None]}},
    ],
    ids=str,
)  # fmt: skip
def test_a_description_of_the_columns_that_makes_no_sense_is_ignored(tmp_path, features):
    table = pyarrow.table({"image": [png(tmp_path)] * 20, "label": [0, 1] * 10})
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    assert load_images(tmp_path / "a.parquet").class_names == ("0", "1")


def png(tmp_path: Path) -> bytes:
    Image.new("L", (8, 8), 90).save(tmp_path / "a.png")
    return (tmp_path / "a.png").read_bytes()


@pytest.fixture
def aborts(tmp_path: Path) -> Path:
    """The file, where this version of pyarrow still aborts."""
    path = tmp_path / "aborts.parquet"
    path.write_bytes(ABORTS.read_bytes())
    if ends_normally(READ_IMAGES, "", str(path)):
        pytest.skip(f"pyarrow {pyarrow.__version__} does not abort for this file")
    return path


@pytest.mark.parametrize("as_folder", [False, True])
def test_a_file_that_makes_pyarrow_abort_is_one_clear_error(aborts, as_folder):
    with pytest.raises(DataError, match="pyarrow crashes"):
        load_images(aborts.parent if as_folder else aborts)


def test_a_table_of_labels_that_makes_pyarrow_abort_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(parquet_files, "READ_TABLE", "import os; os.abort()")
    with pytest.raises(DataError, match=r"labels\.parquet is damaged: pyarrow crashes"):
        check_table(b"", "labels.parquet")


def test_a_program_that_ends_by_a_signal_does_not_end_normally():
    assert ends_normally("pass")
    assert not ends_normally("import os; os.abort()")
    assert ends_normally("import sys; assert sys.stdin.buffer.read() == b'abc'", content=b"abc")


@pytest.mark.parametrize("name", PARQUET)
def test_what_a_parquet_claims_is_bounded(tmp_path, name):
    make, says = PARQUET[name]
    with pytest.raises(DataError, match=says):
        load_images(make(tmp_path))


@pytest.mark.parametrize("name", ["labels.parquet", "photos/metadata.parquet"])
def test_a_table_of_wide_integers_is_one_clear_error(tmp_path, name):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(tmp_path))
    (tmp_path / name).write_bytes(WIDE_INTEGERS.read_bytes())
    labels = None if "/" in name else str(tmp_path / name)
    with pytest.raises(DataError, match=r"\.parquet cannot be read: Integers with more than 64 bits"):
        load_images(folder, labels=labels)


def test_a_table_of_many_columns_is_read_where_it_is_needed(tmp_path):
    """400 columns of 100,000 rows, of which two are read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [f"{number}.png" for number in range(100_000)]
    cells = {"file_name": names, "label": [0, 1] * 50_000}
    cells |= {f"column{number}": pyarrow.nulls(100_000, pyarrow.int8()) for number in range(400)}
    parquet.write_table(pyarrow.table(cells), tmp_path / "labels.parquet")
    for name in names[:4]:
        (folder / name).write_bytes(png(tmp_path))
    parquet_columns = label_tables.parquet_columns((tmp_path / "labels.parquet").read_bytes(), "label")
    assert {name for name, values in parquet_columns.items() if values} == {"file_name", "label"}
    assert load_images(folder, labels=f"{tmp_path / 'labels.parquet'}:label").labels.tolist() == [0, 1, 0, 1]


def test_a_long_text_in_another_column_is_not_read(tmp_path):
    assert len(load_images(long_texts(tmp_path, "other"))) == 2000


def test_good_files_are_read_as_before(tmp_path):
    cells = {"image": [{"bytes": png(tmp_path), "path": f"{row}.png"} for row in range(5)], "label": [0, 1, 0, 1, 2]}
    parquet.write_table(pyarrow.table(cells), tmp_path / "good.parquet")
    data = load_images(tmp_path / "good.parquet")
    assert data.names == tuple(f"{row}.png" for row in range(5))
    assert data.labels.tolist() == [0, 1, 0, 1, 2]
