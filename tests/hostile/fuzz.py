"""Fuzz what reads files of other people with libFuzzer (atheris): ``make fuzz MINUTES=10``.

Each target may raise the errors that a user is shown, and nothing else. A trace, a crash, an input that takes more
than 10 seconds or 2 GB ends its target; the input stays in build/fuzz/NAME-last, and ``fuzz.py --target NAME FILE``
repeats it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gan_serve", "tarfile", "zipfile"]):
    from gan_serve.checkpoint.files import read_any_config, read_config
    from gan_serve.exports.imports.keras_file import is_keras, read_keras
    from gan_serve.exports.imports.state_dicts import read_safetensors, read_torch_file
    from gan_serve.images.pixels import BROKEN
    from gan_serve.training.data import load, parquet
    from gan_serve.training.data.image_files import read_image
    from gan_serve.training.snapshots import load_snapshot
    from gan_serve.translation.inputs import read_picture
    from gan_serve.verify import verify_image

import numpy as np
import onnx
from disguised_networks import DISGUISED
from hostile_keras import damaged_zip, lambda_layer, packed_weights
from hostile_networks import NETWORKS, added_to_grey, with_nodes
from onnx import helper
from PIL import Image
from test_receipts import CLAIMS, forged
from tiny_checkpoint import network, write_checkpoint
from tiny_translator import write_translator

from gan_serve.checkpoint.bundled import BUNDLED
from gan_serve.checkpoint.operators import OPERATORS
from gan_serve.errors import GanServeError
from gan_serve.images.png import encode_png
from gan_serve.sampling.receipt import RECEIPT_KEY
from gan_serve.sampling.session import Session
from gan_serve.training.data.parquet_files import _check

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "fuzz"
SECONDS = 10  # for one input
LIMITS = (
    f"-timeout={SECONDS}",
    "-rss_limit_mb=2048",
    "-max_len=20000",
    "-print_final_stats=1",
    f"-artifact_prefix={OUT}/",
)
# Up to 32 MB at a time are kept when they are freed: to get pages from the kernel again takes longer than to decode.
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
SUFFIXES = {"zip": ".zip", "tar": ".tar", "parquet": ".parquet", "npz": ".npz", "npy": ".npy", "idx": "-idx3-ubyte"}


class Place:
    """A folder in memory for the file that is read, and a checkpoint."""

    def __init__(self) -> None:
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.folder = Path(tempfile.mkdtemp(dir=memory))
        self.checkpoint = write_checkpoint(self.folder / "tiny")
        self.config = read_config(self.checkpoint)

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


@functools.cache
def place() -> Place:
    return Place()


def read_a_config(data: bytes) -> None:
    (place().checkpoint / "config.json").write_bytes(data)
    read_any_config(place().checkpoint)


def load_a_network(data: bytes) -> None:
    Session(data, place().config)


def run_an_operator(data: bytes) -> None:
    """A network with one more node, its attributes and inputs by ``data``: ONNX Runtime must not end the process."""
    take = atheris.FuzzedDataProvider(data)
    operator = take.PickValueInList(sorted(OPERATORS))
    attributes = {
        name: _value(take, str(schema.type).rpartition(".")[2])
        for name, schema in sorted(onnx.defs.get_schema(operator).attributes.items())
        if take.ConsumeBool()
    }
    constants = {f"input{number}": _array(take) for number in range(take.ConsumeIntInRange(0, 4))}
    inputs = [*constants, *["z"] * take.ConsumeIntInRange(0, 1)]
    node = helper.make_node(operator, inputs, ["result"])
    node.attribute.extend(
        helper.make_attribute(name, value) for name, value in attributes.items() if value not in (None, [])
    )
    model = with_nodes(node, helper.make_node("Cast", ["result"], ["big"], to=1), constants=constants)
    Session(added_to_grey(model, "big").SerializeToString(), place().config)


WORDS = ["SAME_UPPER", "VALID", "cubic", "linear", "reflect", "edge", "wrap", "half_pixel", "align_corners"]
EXTREMES = [0, 1, 2, 3, 7, -1, -2, 64, 2**31 - 1, -(2**31), 2**62, -(2**63)]


def _value(take: atheris.FuzzedDataProvider, kind: str) -> object:
    """A value for an attribute of a type of ONNX; None for a type that has none."""
    match kind:
        case "INT":
            return take.PickValueInList(EXTREMES)
        case "INTS":
            return [take.PickValueInList(EXTREMES) for _ in range(take.ConsumeIntInRange(0, 4))]
        case "FLOAT":
            return take.ConsumeFloat()
        case "FLOATS":
            return take.ConsumeFloatList(take.ConsumeIntInRange(0, 4))
        case "STRING":
            return take.PickValueInList(
                ["SAME_UPPER", "VALID", "cubic", "linear", "reflect", "edge", "wrap", "half_pixel"]
            )
    return None


def _array(take: atheris.FuzzedDataProvider) -> np.ndarray:
    kind = take.PickValueInList(["f4", "i8", "i4", "u1", "i1", "?", "f2", "f8"])
    shape = [take.ConsumeIntInRange(0, 3) for _ in range(take.ConsumeIntInRange(0, 4))]
    numbers = [take.PickValueInList(EXTREMES) for _ in range(int(np.prod(shape)))]
    return np.array(numbers, np.int64).astype(kind).reshape(shape)


def verify_a_receipt(data: bytes) -> None:
    """The text of a receipt, in a PNG of one pixel."""
    text = data.decode(errors="replace").replace("\0", "")
    png = encode_png(np.full((28, 28, 1), 255, np.uint8), {RECEIPT_KEY: text})
    verify_image(place().write("image.png", png))


def verify_a_png(data: bytes) -> None:
    verify_image(place().write("image.png", data))


def read_a_picture(data: bytes) -> None:
    with contextlib.suppress(*BROKEN):
        read_image(io.BytesIO(data), 32)


def read_an_input(data: bytes) -> None:
    read_picture(data)


def read_weights(data: bytes) -> None:
    """As a file of torch.save, of safetensors, of Keras, and as a snapshot."""
    for read in (read_torch_file, read_safetensors, read_keras):
        if read is not read_keras or is_keras(data):
            with contextlib.suppress(GanServeError):
                read(data, "file")
    load_snapshot(place().write("snapshot.pt", data))


def load_images(kind: str, data: bytes) -> None:
    load.load_images(place().write(f"train-images{SUFFIXES[kind]}", data))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "config": read_a_config,
    "network": load_a_network,
    "operator": run_an_operator,
    "receipt": verify_a_receipt,
    "png": verify_a_png,
    "image": read_a_picture,
    "picture": read_an_input,
    "weights": read_weights,
    **{kind: functools.partial(load_images, kind) for kind in SUFFIXES},
}


def seeds(target: str) -> Iterator[bytes]:
    """Yield valid and hostile inputs to begin with."""
    pictures = [_picture(format) for format in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM")]
    match target:
        case "config":
            yield (place().checkpoint / "config.json").read_bytes()
            yield from (path.read_bytes() for path in BUNDLED.glob("*/config.json"))
            yield (write_translator(place().folder / "translator") / "config.json").read_bytes()
        case "network":
            yield network().SerializeToString()
            built = (build() for build in (*NETWORKS, *DISGUISED))
            contents = (model if isinstance(model, bytes) else model.SerializeToString() for model in built)
            yield from (content for content in contents if len(content) < 250_000)
        case "operator":
            yield from (bytes([number]) * 400 for number in range(256))
        case "receipt":
            for claims in ({"seed": 1}, *CLAIMS.values()):
                with Image.open(forged(place().folder / "forged.png", **claims)) as image:
                    yield str(image.info[RECEIPT_KEY]).encode()
        case "png":
            yield forged(place().folder / "forged.png", seed=1).read_bytes()
            yield pictures[0]
        case "image" | "picture":
            yield from pictures
        case "weights":
            yield from _weights()
        case "idx":
            yield b"\0\0\x08\x03" + bytes([0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4]) + bytes(32)
        case "npz" | "npy":
            for images in (np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4, 4, 3), np.float32)):
                file = io.BytesIO()
                if target == "npy":
                    np.save(file, images)
                else:
                    np.savez_compressed(file, images=images, labels=np.arange(3), class_names=list("abc"))
                yield file.getvalue()
        case "parquet":
            yield from _tables(pictures[0])
        case "zip" | "tar":
            yield _archive(target, pictures)


def _picture(format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file, format)
    return file.getvalue()


def _weights() -> Iterator[bytes]:
    import torch
    from safetensors.torch import save

    weights = {"main.0.weight": torch.ones(2, 3, 4, 4), "main.1.bias": torch.ones(3)}
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save({"netG": weights, "shown": 1, "seconds": 1.0}, file, _use_new_zipfile_serialization=zipped)
        yield file.getvalue()
    yield save(weights)
    for write in (damaged_zip, lambda_layer, packed_weights):
        yield write(place().folder).read_bytes()


def _tables(picture: bytes) -> Iterator[bytes]:
    import pyarrow
    import pyarrow.parquet

    for compression in ("NONE", "SNAPPY", "ZSTD"):
        cells = {"image": [{"bytes": picture, "path": f"{i}.png"} for i in range(3)], "label": [0, 1, 2]}
        file = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table(cells), file, compression=compression)
        yield file.getvalue()


def _archive(kind: str, pictures: list[bytes]) -> bytes:
    file = io.BytesIO()
    members = {f"{i % 2}/{i}.png": picture for i, picture in enumerate(pictures)}
    members |= {"dataset.json": b'{"labels": [["0/0.png", 0]]}', "0/0.cls": b"1", "0/0.json": b'{"label": 1}'}
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


class Reader:
    """A fork that reads parquet files, one after another; another takes its place when a file ends it.

    A fork for each file would take 0.3 s, in which the page tables of 300 MB are copied.
    """

    def __init__(self) -> None:
        self._connection: Connection | None = None

    def ends_normally(self, files: Sequence[Path], column: str) -> bool:
        """Return True if the fork still runs when it has read ``files``; the errors of Python are ignored."""
        self._connection = self._connection or self._start()
        try:
            self._connection.send((files, column))
            self._connection.recv()
        except (EOFError, OSError):
            self._connection = None
            return False
        return True

    def _start(self) -> Connection:
        ours, theirs = multiprocessing.Pipe()
        if os.fork() == 0:
            ours.close()
            for number in (signal.SIGALRM, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
                signal.signal(number, signal.SIG_DFL)  # libFuzzer's handlers are for the process that it runs in
            # In a thread, an exception of C++ that no one catches aborts at once; atheris would catch it here.
            thread = threading.Thread(target=self._serve, args=(theirs,))
            thread.start()
            thread.join()
            os._exit(0)
        theirs.close()
        return ours

    def _serve(self, connection: Connection) -> None:
        with contextlib.suppress(EOFError):  # the process that asks has ended
            while True:
                files, column = connection.recv()
                signal.alarm(2 * SECONDS)  # libFuzzer has ended the target by then
                with contextlib.suppress(Exception):
                    parquet.read_all(files, column)
                signal.alarm(0)
                connection.send(None)


def fuzz(target: str, options: list[str]) -> None:
    """Give ``target`` inputs until the time of ``options`` is over, or one fails."""
    Image.init()
    reader = Reader()  # a new process for each input would take too long
    parquet.check_images = lambda files, column, where: _check(reader.ends_normally(files, column), where)

    def one(data: bytes) -> None:
        (OUT / f"{target}-last").write_bytes(data)  # libFuzzer does not keep what ends this process
        with contextlib.suppress(GanServeError):
            TARGETS[target](data)

    given = [option for option in options if not option.startswith("-")]
    corpus = OUT / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds(target)):
        (corpus / f"seed-{number}").write_bytes(content)
    places = [] if given else [str(corpus)]  # a file is repeated alone
    atheris.Setup([sys.argv[0], *LIMITS, *options, *places], one)
    atheris.Fuzz()


def main() -> None:
    """Fuzz all targets, one after another, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for all targets together")
    parser.add_argument("--target", choices=TARGETS)
    arguments, options = parser.parse_known_args()
    if arguments.target:
        fuzz(arguments.target, options)
        return
    failed = []
    OUT.mkdir(parents=True, exist_ok=True)
    for target in TARGETS:
        seconds = max(1, int(60 * arguments.minutes / len(TARGETS)))
        command = [sys.executable, __file__, "--target", target, f"-max_total_time={seconds}", *options]
        with (OUT / f"{target}.log").open("w") as log:
            code = subprocess.run(command, stdout=log, stderr=log, env=os.environ | KEEP, check=False).returncode
        lines = (OUT / f"{target}.log").read_text(errors="replace").splitlines()
        inputs = next((line.split()[-1] for line in lines if line.startswith("stat::number_of_executed_units")), "?")
        print(f"{target}: {seconds} s, {inputs} inputs, {'ok' if code == 0 else 'FAILED'}", flush=True)
        failed += [target] * (code != 0)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}. The inputs and the logs are in {OUT}.")


if __name__ == "__main__":
    main()
