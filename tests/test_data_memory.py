"""Files that claim or hold far more than images need: one clear error, and memory that stays within a bound.

Each file is read in a process of its own, whose peak memory is compared with that of one that only imports the intake.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compressed_zeros import compressed_zeros
from PIL import Image

from gan_serve.errors import DataError
from gan_serve.training.data.load import load_images

READ = """
import json, pathlib, sys
from gan_serve.errors import DataError
from gan_serve.training.data.load import load_images
import pyarrow.parquet
def peak():  # not getrusage: its maximum begins with that of the process that started this one
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before = peak()
found, skipped, error = 0, (), ""
try:
    data = load_images(sys.argv[1])
    found, skipped = data.images.nbytes, data.skipped
except DataError as refused:
    error = str(refused)
print(json.dumps({"bytes": found, "skipped": skipped, "error": error, "peak": (peak() - before) * 1024}))
"""
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
ONE_IMAGE = 512 * 2**20  # bytes, for one image while it is decoded; see load.py


def read(path: Path) -> dict[str, Any]:
    """Read a source in a process of its own; its error, the bytes of its images, what was skipped, the peak memory."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, timeout=300, check=True
    )
    return dict(json.loads(done.stdout))


def png(value: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), value).save(file, "png")
    return file.getvalue()


def folder_with(tmp_path: Path, name: str, content: bytes) -> Path:
    """Write one odd image beside twenty good ones."""
    for number in range(20):
        (tmp_path / f"{number:02}.png").write_bytes(png(number))
    (tmp_path / name).write_bytes(content)
    return tmp_path


def large_transparent_png(tmp_path: Path) -> Path:
    """Write a PNG of 13,300 x 13,300 transparent pixels in a few megabytes."""
    side = 13_300

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes((8, 6, 0, 0, 0))
    content = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", compressed_zeros(side * (1 + 4 * side)))
        + chunk(b"IEND", b"")
    )
    return folder_with(tmp_path, "zz.png", content)


def idx_bomb(tmp_path: Path, count: int = 5, side: int = 28) -> Path:
    """Write 1.5 MB that unpack to 1.5 GB, of which the header mentions a few kilobytes."""
    path = tmp_path / "train-images-idx3-ubyte.gz"
    header = bytes((0, 0, 8, 3)) + count.to_bytes(4, "big") + side.to_bytes(4, "big") * 2
    path.write_bytes(gzip.compress(header) + 100 * gzip.compress(bytes(15 * 2**20)))
    return path


def honest_idx_bomb(tmp_path: Path) -> Path:
    """Write the same with a header that tells the truth."""
    return idx_bomb(tmp_path, count=1500, side=1024)


def parquet_of(tmp_path: Path, cells: list[bytes], labels: list[int]) -> Path:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"image": cells, "label": labels}), tmp_path / "a.parquet", compression="zstd")
    return tmp_path / "a.parquet"


def large_honest_images(tmp_path: Path) -> Path:
    """Write photos of 49 megapixels: in colour, and in 16 bits."""
    Image.new("RGB", (7000, 7000), (9, 200, 9)).save(tmp_path / "a.png", compress_level=1)
    Image.fromarray(np.full((7000, 7000), 40_000, np.uint16)).save(tmp_path / "b.png", compress_level=1)
    return tmp_path


def npz_of_a_tebibyte(tmp_path: Path) -> Path:
    """Write an npz whose header claims 931 GiB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 1000, 1000)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(1000))
    return tmp_path / "a.npz"


def zip_bomb(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.png", png(number))
        archive.writestr("zz.png", bytes(120 * 2**20))
    return tmp_path / "a.zip"


def json_of_many_megabytes(tmp_path: Path) -> Path:
    content = b'{"labels": [' + b",".join([b'["a.png", 1]'] * 2_000_000) + b"]}"
    return folder_with(tmp_path, "dataset.json", content)


def labels_beyond_any_number(tmp_path: Path) -> Path:
    return parquet_of(tmp_path, [png()] * 2, [0, 2**40])


def large_cells(tmp_path: Path) -> Path:
    return parquet_of(tmp_path, [bytes(300 * 2**20)] * 3, [0, 1, 0])


SOURCES = {
    large_honest_images: "",
    idx_bomb: "not a whole IDX file",
    honest_idx_bomb: "claims 1573 MB in 1.5",
    labels_beyond_any_number: "go up to 1099511627776",
    large_cells: "claims .* MB in",
    npz_of_a_tebibyte: "claims 1000000000000 bytes and has 1000",
    zip_bomb: "",
    json_of_many_megabytes: r"dataset\.json has 26\d* bytes for 20 images",
}


@pytest.mark.parametrize("make", [labels_beyond_any_number, npz_of_a_tebibyte], ids=lambda make: make.__name__)
def test_what_claims_too_much_is_one_clear_error(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(DataError, match=SOURCES[make]):
        load_images(make(tmp_path))


@pytest.mark.parametrize(
    "make",
    [pytest.param(make, marks=() if make in (idx_bomb, zip_bomb) else pytest.mark.slow) for make in SOURCES],
    ids=lambda make: make.__name__,
)
def test_memory_stays_within_its_bound(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    found = read(make(tmp_path))
    if SOURCES[make]:
        assert re.search(SOURCES[make], found["error"])
    else:
        assert found["error"] == ""
    assert found["peak"] < 3 * found["bytes"] + ONE_IMAGE


def test_an_image_beyond_the_limit_is_named(tmp_path: Path) -> None:
    found = read(large_transparent_png(tmp_path))
    assert found["bytes"] == 20 * 8 * 8
    assert found["skipped"] == ["zz.png: it has 13300x13300 pixels; 50000000 are read at most"]
    assert found["peak"] < ONE_IMAGE


@pytest.mark.parametrize(
    "form", ["npz", *(pytest.param(form, marks=pytest.mark.slow) for form in ("npy", "float", "idx", "png"))]
)
def test_memory_is_a_small_multiple_of_the_images(tmp_path: Path, form: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1000, 256, 256), np.uint8)  # 66 MB
    if form == "npz":
        np.savez(tmp_path / "a.npz", images=images)
    elif form == "npy":
        np.save(tmp_path / "a.npy", images)
    elif form == "float":
        np.save(tmp_path / "a.npy", images / 255)  # 524 MB of float64
    elif form == "idx":
        header = bytes((0, 0, 8, 3)) + b"".join(size.to_bytes(4, "big") for size in images.shape)
        (tmp_path / "a-ubyte").write_bytes(header + images.tobytes())
    else:
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / f"{number}.png", compress_level=0)
    [source] = tmp_path.iterdir() if form != "png" else [tmp_path]
    found = read(source)
    assert found["bytes"] == images.nbytes
    assert found["peak"] < 3 * images.nbytes


@pytest.mark.parametrize("format", ["EPS", "PSD"])
def test_a_file_is_opened_only_as_one_of_the_listed_formats(tmp_path: Path, format: str, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("another format was decoded")

    if format == "EPS":
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "eps")
        content = file.getvalue()
        monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", refuse)
    else:
        content = b"8BPS\0\1" + bytes(6) + b"\0\3" + (8).to_bytes(4, "big") * 2 + b"\0\x08\0\3" + bytes(14)
    data = load_images(folder_with(tmp_path, "zz.png", content))
    assert (len(data), len(data.skipped)) == (20, 1)
    assert "cannot identify image: it is none of PNG, JPEG" in data.skipped[0]


def test_large_transparent_images_are_shrunk_before_they_are_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (5000, 5000), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 2500, 5000))
    image.save(tmp_path / "a.png", compress_level=1)
    [pixels] = load_images(tmp_path, resolution=8).images
    assert np.abs(pixels[4, 1].astype(int) - (0, 0, 255)).max() <= 2
    assert np.abs(pixels[4, 6].astype(int) - 255).max() <= 2
