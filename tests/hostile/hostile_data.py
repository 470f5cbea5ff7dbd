"""Data sets that claim or hold more than images: each function writes one below a folder and returns its path."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from compressed_zeros import compressed_zeros
from PIL import Image

GOOD = 20  # good images beside the hostile one, so that it is less than a tenth
Make = Callable[[Path], Path]


def picture(format: str = "PNG") -> bytes:
    """A good image of 8x8 pixels."""
    file = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file, format)
    return file.getvalue()


def folder(name: str, content: Callable[[], bytes]) -> Make:
    """A folder of good images and one more file."""

    def make(where: Path) -> Path:
        for number in range(GOOD):
            (where / f"{number}.png").write_bytes(picture())
        (where / name).write_bytes(content())
        return where

    return make


def link(name: str, target: str) -> Make:
    """A link to a device in place of the data."""

    def make(where: Path) -> Path:
        (where / name).symlink_to(target)
        return where / name

    return make


def pipe(name: str) -> Make:
    def make(where: Path) -> Path:
        os.mkfifo(where / name)
        return where / name

    return make


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(*chunks: bytes) -> bytes:
    png = picture()
    return png[:33] + b"".join(chunks) + png[33:]


def gif_of_60000() -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02\x44\x01\0;"
    return b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0x80, 0, 0) + bytes(6) + frame


def webp_of_16_million() -> bytes:
    header = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + b"\xff\xff\xff" * 2
    return b"RIFF" + struct.pack("<I", 130) + header + bytes(100)


def bmp_of_negative_size() -> bytes:
    sizes = struct.pack("<IiiHHIIiiII", 40, -(2**31), -(2**31), 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + sizes + bytes(50)


def jpeg_of_65535() -> bytes:
    return b"\xff\xd8\xff\xc0\0\x11\x08" + b"\xff" * 4 + b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xd9"


def tar_with(
    name: str, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w", format: int = tarfile.GNU_FORMAT
) -> Make:
    """A tar of good images and other members."""

    def make(where: Path) -> Path:
        good = [(member(f"{number}.png", size=len(picture())), picture()) for number in range(GOOD)]
        with tarfile.open(where / name, mode, format=format) as tar:  # type: ignore[call-overload]
            for info, content in (*good, *members):
                tar.addfile(info, io.BytesIO(content))
        return where / name

    return make


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def sparse_tar(where: Path) -> Path:
    """A member that is said to have 8 GB and stores none of them."""
    path = tar_with("sparse.tar")(where)
    header = bytearray(tarfile.TarInfo("sparse.png").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[386:410], header[483:495] = b"S", b"00000000000\0" * 2, b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content = path.read_bytes()
    path.write_bytes(bytes(header) + content)
    return path


def pax_tar(where: Path) -> Path:
    """A gzipped tar of 150 KB with a comment of 150 MB in a header."""
    info = member("a.png", pax_headers={"comment": "a" * 150_000_000})
    return tar_with("comment.tar.gz", (info, b""), mode="w:gz", format=tarfile.PAX_FORMAT)(where)


def pax_sparse_tar(where: Path) -> Path:
    """A member whose map of parts is said to have 10 million entries."""
    headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "q.png", "GNU.sparse.realsize": "9" * 11,
    }  # fmt: skip
    info = member("p.png", pax_headers=headers, size=512)
    return tar_with("map.tar", (info, b"9999999\n" + b"1\n" * 252), format=tarfile.PAX_FORMAT)(where)


def empty_files_tar(where: Path) -> Path:
    """200,000 headers, which are 100 MB, and 400 KB when packed."""
    header = member("a.png").tobuf(tarfile.GNU_FORMAT)
    with gzip.open(where / "empty.tar.gz", "wb", compresslevel=9) as file:
        for _ in range(200):
            file.write(header * 1000)
    return where / "empty.tar.gz"


def overlapping_zip(where: Path) -> Path:
    """200 members that are the same 120 KB, each of 120 MB: 24 GB."""
    size, count = 120_000_000, 200
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = packer.compress(bytes(size)) + packer.flush()
    check = zlib.crc32(bytes(size))
    content = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, check, len(raw), size, 5, 0) + b"0.png" + raw
    start = len(content)
    for number in range(count):
        sizes = (check, len(raw), size, 9, 0, 0, 0, 0, 0, 0)
        content += struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 0, *sizes) + b"%05d.png" % number
    content += struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, len(content) - start, start, 0)
    (where / "overlapping.zip").write_bytes(content)
    return where / "overlapping.zip"


def npy(descr: str, shape: str, data: bytes = b"", name: str = "array.npy") -> Make:
    """An npy whose header says anything."""

    def make(where: Path) -> Path:
        header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
        header += b" " * (64 - (11 + len(header)) % 64) + b"\n"
        (where / name).write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data)
        return where / name

    return make


def brackets(where: Path) -> Path:
    (where / "array.npy").write_bytes(b"\x93NUMPY\2\0" + struct.pack("<I", 50_000) + b"(" * 50_000)
    return where / "array.npy"


def npz_of_objects(where: Path) -> Path:
    """Python objects, which NumPy would unpickle."""
    np.savez(where / "objects.npz", images=np.array([os.system, 1], dtype=object))  # type: ignore[arg-type]
    return where / "objects.npz"


def npz_of_names(where: Path) -> Path:
    np.savez(where / "names.npz", **{f"\x1b[2J{number}{'x' * 100}": np.zeros(1) for number in range(300)})
    return where / "names.npz"


def broken_images_with_new_lines(where: Path) -> Path:
    """Their names would be lines of their own: ``Error: ...``."""
    for number in range(50):
        (where / f"\x1b[2J{'x' * 150}\nError: {number}.png").write_bytes(b"broken")
    return where


def broken_metadata(where: Path) -> Path:
    """The message of pyarrow has several lines."""
    return folder("metadata.parquet", lambda: b"PAR1" + bytes(50) + b"PAR1")(where)


def npz_with_labels_of_objects(where: Path) -> Path:
    labels = np.array(["a", 1, None], dtype=object)
    np.savez(where / "labels.npz", images=np.zeros((3, 8, 8), np.uint8), labels=labels)  # type: ignore[arg-type]
    return where / "labels.npz"


def npz_in_npz(where: Path) -> Path:
    """Labels of 250,000 characters each."""
    with zipfile.ZipFile(where / "long.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in {"images": np.full((20, 8, 8), 99, np.uint8), "labels": np.full(20, "x" * 250_000)}.items():
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"{name}.npy", file.getvalue())
    return where / "long.npz"


def idx(*sizes: int, content: bytes = bytes(100)) -> Make:
    def make(where: Path) -> Path:
        path = where / "train-images-idx3-ubyte"
        path.write_bytes(b"\0\0\x08\x03" + struct.pack(">III", *sizes) + content)
        return path

    return make


def cut_idx(where: Path) -> Path:
    """Found by the fuzzer: 15 bytes are no whole number of sizes."""
    (where / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + bytes(11))
    return where / "train-images-idx3-ubyte"


def jpeg_of_20000_scans() -> bytes:
    """A progressive JPEG of 16 million pixels, one of whose scans is there again and again."""
    file = io.BytesIO()
    Image.new("L", (4096, 4096), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    scan = content[content.rfind(b"\xff\xda") : -2]
    return content[:-2] + 20_000 * scan + content[-2:]


def tables_tar(where: Path) -> Path:
    """A tar.gz of 700 KB with twelve tables of labels of 60 MB."""
    members = [(member(f"{number}/metadata.csv", size=60_000_000), bytes(60_000_000)) for number in range(12)]
    return tar_with("tables.tar.gz", *members, mode="w:gz")(where)


def bz2_tar(where: Path) -> Path:
    """A tar.bz2 of a few hundred bytes with a file of 70 MB that is no image: it would have to be unpacked."""
    return tar_with("bomb.tar.bz2", (member("z.bin", size=70_000_000), bytes(70_000_000)), mode="w:bz2")(where)


def webp_of_49_million() -> bytes:
    """A picture of 7,000 x 7,000 pixels in 14 KB, of which its decoder would keep two copies."""
    file = io.BytesIO()
    Image.new("RGBA", (7000, 7000), (9, 9, 9, 9)).save(file, "WEBP", lossless=True, quality=0, method=0)
    return file.getvalue()


def npz_of_many(where: Path) -> Path:
    array = npy("'|u1'", "(1, 8, 8)", bytes(64))(where).read_bytes()
    with zipfile.ZipFile(where / "many.npz", "w") as archive:
        for number in range(60_000):
            archive.writestr(f"{number}.npy", array)
    return where / "many.npz"


def deep_folder(where: Path) -> Path:
    """An image in 300 folders, one in the other. 1,500 of them, which no path can name, were too many for Python."""
    folder("z.txt", lambda: b"")(where)
    inner = where.joinpath(*["a"] * 300)
    inner.mkdir(parents=True)
    (inner / "a.png").write_bytes(picture())
    return where


def deep_tar(where: Path) -> Path:
    """A tar.gz of 17 KB whose images lie in 200,000 folders, one in the other."""
    deep = [(member(f"{'a/' * 200_000}{number}.png", size=len(picture())), picture()) for number in range(30)]
    return tar_with("deep.tar.gz", *deep, mode="w:gz", format=tarfile.PAX_FORMAT)(where)


def wide_json_lines() -> bytes:
    """A label for 20,000 attributes of one image, and 200,000 lines without any: four billion values."""
    first = b",".join(b'"%d":1' % number for number in range(20_000))
    return b'{"file_name":"0.png","label":1,' + first + b"}\n" + b"{}\n" * 20_000


def json_of_lists() -> bytes:
    """Lists of nothing, which take twenty times their text."""
    return b'{"labels": [' + b"[]," * 200_000 + b"[]]}"


LEFT_OUT = ""  # the good images are read, and the hostile file is left out
DATA: dict[str, tuple[Make, str]] = {  # how each is made, and its error
    "PNG with a text of 200 MB": (
        folder("z.png", lambda: png_with(chunk(b"zTXt", b"x\0\0" + compressed_zeros(200_000_000)))), LEFT_OUT,
    ),
    "GIF of 60,000 x 60,000": (folder("z.gif", gif_of_60000), LEFT_OUT),
    "WebP of 16 million x 16 million": (folder("z.webp", webp_of_16_million), LEFT_OUT),
    "BMP of a negative size": (folder("z.bmp", bmp_of_negative_size), LEFT_OUT),
    "JPEG of 65,535 x 65,535 without pixels": (folder("z.jpg", jpeg_of_65535), LEFT_OUT),
    "PPM of 999,999,999 x 999,999,999": (
        folder("z.ppm", lambda: b"P6 999999999 999999999 255\n" + bytes(100)), LEFT_OUT,
    ),
    "PPM with a number of 100,000 digits": (folder("z.ppm", lambda: b"P2 " + b"9" * 100_000 + b" 1 255\n1"), LEFT_OUT),
    "JPEG of 20,000 scans": (folder("z.jpg", jpeg_of_20000_scans), LEFT_OUT),
    "tar.gz with twelve tables of 60 MB": (tables_tar, "by its header|files that may hold labels"),
    "tar.bz2 with a file of 70 MB": (bz2_tar, "by its header"),
    "tar with devices, pipes and links": (
        tar_with(
            "devices.tar",
            (member("x.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5), b""),
            (member("f.png", type=tarfile.FIFOTYPE), b""),
            (member("h.png", type=tarfile.LNKTYPE, linkname="0.png"), b""),
            (member("s.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
        ),
        LEFT_OUT,
    ),
    "tar with a sparse member of 8 GB": (sparse_tar, "sparse"),
    "tar with a map of 10 million parts": (pax_sparse_tar, "sparse"),
    "tar.gz with a comment of 150 MB": (pax_tar, "a header has 150"),
    "tar.gz of 200,000 empty files": (empty_files_tar, "more than [0-9,]+ files"),
    "zip of 24 GB in 120 KB": (overlapping_zip, "cannot be read"),
    "folder in 300 folders": (deep_folder, LEFT_OUT),
    "tar.gz of paths of 200,000 folders": (deep_tar, LEFT_OUT),
    "metadata.jsonl of four billion values": (folder("metadata.jsonl", wide_json_lines), "columns of [0-9,]+ rows"),
    "dataset.json of 200,000 lists": (folder("dataset.json", json_of_lists), "values for 20 images"),
    "WebP of 7,000 x 7,000": (folder("z.webp", webp_of_49_million), LEFT_OUT),
    "npz of 60,000 arrays": (npz_of_many, "more than 1,000 arrays"),
    "npy with a header of 50,000 brackets": (brackets, "not a readable npz"),
    "npz of 300 long names with controls": (npz_of_names, "no array 'images'"),
    "broken images with new lines in their names": (broken_images_with_new_lines, "50 of 50 images"),
    "folder with a broken metadata.parquet": (broken_metadata, "metadata.parquet cannot be read"),
    "npz of Python objects": (npz_of_objects, "Python objects"),
    "npz with labels of Python objects": (npz_with_labels_of_objects, "Python objects"),
    "npz with long labels": (npz_in_npz, "bytes|characters|claims"),
    "npy of a negative shape": (npy("'|u1'", "(-1, 8, 8)", bytes(640)), "npz|uint8"),
    "npy of 2^96 bytes": (npy("'|u1'", "(4294967296, 4294967296, 4294967296)", bytes(640)), "claims"),
    "npy of 10^12 values of no size": (npy("'|V0'", "(1000000000000, 8, 8)"), "Store uint8"),
    "npy of 10^12 images of no height": (npy("'|u1'", "(1000000000000, 0, 8)"), "Store uint8"),
    "npy of no images": (npy("'|u1'", "(0, 8, 8)"), "no images"),
    "npy of a structured type with objects": (npy("[('a', '|u1'), ('b', '|O')]", "(3, 8, 8)", bytes(9000)), "objects"),
    "npy of a shape of fractions": (npy("'|u1'", "(1.5, 8, 8)", bytes(640)), "not a readable npz"),
    "IDX of 4 billion x 4 billion x 4 billion": (idx(2**32 - 1, 2**32 - 1, 2**32 - 1), "claims"),
    "IDX of a header that is cut short": (cut_idx, "whole IDX"),
    "IDX of 4 billion images of no size": (idx(2**32 - 1, 0, 0), "whole IDX|no images"),
    "IDX of 4 billion images of no width": (idx(2**32 - 1, 2**32 - 1, 0, content=b""), "no images"),
    "device as npz": (link("zero.npz", "/dev/zero"), "regular file"),
    "device as npy": (link("zero.npy", "/dev/zero"), "regular file"),
    "device as tar": (link("zero.tar", "/dev/zero"), "regular file"),
    "device as zip": (link("zero.zip", "/dev/zero"), "regular file"),
    "device as parquet": (link("zero.parquet", "/dev/zero"), "regular file"),
    "device as IDX": (link("train-images-idx3-ubyte", "/dev/zero"), "regular file"),
    "pipe as zip": (pipe("pipe.zip"), "regular file"),
    "pipe as npz": (pipe("pipe.npz"), "regular file"),
}  # fmt: skip


def wide_json() -> bytes:
    first = b",".join(b'"%d":1' % number for number in range(100_000))
    return b'[{"file":"a","label":1,' + first + b"}" + b",{}" * 30_000 + b"]"


def latents(content: Callable[[], dict[str, np.ndarray]]) -> Make:
    def make(where: Path) -> Path:
        np.savez_compressed(where / "found.npz", **content())  # type: ignore[arg-type]
        return where / "found.npz"

    return make


TABLES: dict[str, tuple[Make, str]] = {  # of labels.json beside images
    "labels of 100,000 names for one image and none for 30,000": (
        folder("labels.json", wide_json), "100,002 columns of 30,001 rows",
    ),
    "labels of 2 million objects": (
        folder("labels.json", lambda: b"[" + b'{"a":1},' * 2_000_000 + b"{}]"), "more than 8,000,000 values",
    ),
}  # fmt: skip
LATENTS: dict[str, tuple[Make, str]] = {  # for fashion-cgan
    "latents with 60 million labels": (
        latents(lambda: {"latents": np.zeros((2, 64), np.float32), "labels": np.full(60_000_000, b"a")}),
        "60,000,000 labels for 2",
    ),
    "900 million latents of no width": (
        latents(lambda: {"latents": np.zeros((900_000_000, 0), np.float32)}), "no array of numbers",
    ),
    "latents of Python objects": (
        latents(lambda: {"latents": np.array(["a", None], object)}), "does not fit its content",
    ),
}  # fmt: skip
