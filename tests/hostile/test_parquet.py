"""Parquet of strangers: crashes of pyarrow, rows that take no space, texts that take much."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from gan_serve.errors import DataError
from gan_serve.training.data import parquet_files
from gan_serve.training.data.load import load_images
from gan_serve.training.data.parquet_files import MAX_TEXT, READ_IMAGES, check_table, ends_normally

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is in the extra hf")
parquet = pytest.importorskip("pyarrow.parquet")

# Two bytes of a file that pyarrow 26.0.1 wrote are others: its reader calls abort().
ABORTS = Path(__file__).parent / "aborts_pyarrow.parquet"


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


def test_rows_that_take_no_space_are_refused(tmp_path):
    """Ten million empty cells in a few kilobytes: a name of each would take a gigabyte."""
    cells = pyarrow.nulls(10_000_000, pyarrow.binary())
    parquet.write_table(pyarrow.table({"image": cells}), tmp_path / "empty.parquet", compression="zstd")
    assert (tmp_path / "empty.parquet").stat().st_size < 2**18
    with pytest.raises(DataError, match="claims 10,000,000 rows"):
        load_images(tmp_path / "empty.parquet")


@pytest.mark.parametrize("column", ["label", "other"])
def test_a_long_text_that_a_dictionary_repeats_is_refused(tmp_path, column):
    """2,000 labels of 100 KB are one value in the file."""
    cells = {"image": [png(tmp_path)] * 2000, column: ["x" * (MAX_TEXT * 25)] * 2000}
    parquet.write_table(pyarrow.table(cells), tmp_path / "long.parquet")
    assert (tmp_path / "long.parquet").stat().st_size < 2**20
    if column == "other":  # it is not read
        assert len(load_images(tmp_path / "long.parquet")) == 2000
        return
    with pytest.raises(DataError, match="a text of 102,400 characters"):
        load_images(tmp_path / "long.parquet")


def test_good_files_are_read_as_before(tmp_path):
    cells = {"image": [{"bytes": png(tmp_path), "path": f"{row}.png"} for row in range(5)], "label": [0, 1, 0, 1, 2]}
    parquet.write_table(pyarrow.table(cells), tmp_path / "good.parquet")
    data = load_images(tmp_path / "good.parquet")
    assert data.names == tuple(f"{row}.png" for row in range(5))
    assert data.labels.tolist() == [0, 1, 0, 1, 2]
