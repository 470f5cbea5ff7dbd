"""Checkpoints of translators, and pictures for them."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hostile_networks import ints
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tiny_translator import SIDE, network, write_translator

from gan_serve.checkpoint.files import digest_files
from gan_serve.images.png import encode_png

Make = Callable[[Path], Path]
LARGEST = 128 + 2 * 2  # the side up to which a tiny translator of any size translates a picture in one piece


def translator(where: Path, model: onnx.ModelProto | None = None, *, any_size: bool = False, **changes: Any) -> Path:
    """A tiny translator with another network and other fields of its config, the digests being right."""
    directory = write_translator(where / "translator", any_size=any_size)
    if model is not None:
        (directory / "generator.onnx").write_bytes(model.SerializeToString())
    config = json.loads((directory / "config.json").read_text())
    config["files"] = {name: digest.model_dump() for name, digest in digest_files(directory).items()}
    (directory / "config.json").write_text(json.dumps(config | changes))
    return directory


def only_small_pictures() -> onnx.ModelProto:
    """Nothing for the largest picture, and 20 million numbers for each row that another one is smaller."""
    model = network(any_size=True)
    nodes = [
        helper.make_node("Shape", ["x"], ["height"], start=1, end=2),
        helper.make_node("Sub", ["largest", "height"], ["missing"]),
        helper.make_node("Mul", ["missing", "million"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("Concat", ["zeros", "one_zero"], ["some"], axis=0),
        helper.make_node("ReduceMax", ["some"], ["zero"], keepdims=0),
        helper.make_node("Add", ["half", "zero"], ["still_half"]),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    model.graph.node[len(nodes) + 3].input[1] = "still_half"
    constants = {"largest": ints(LARGEST), "million": ints(20_000_000), "one_zero": np.zeros(1, np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return model


def other_size() -> onnx.ModelProto:
    """Three times the width and height, where the config says twice."""
    model = network(any_size=True)
    for tensor in model.graph.initializer:
        if tensor.name == "scales":
            tensor.CopyFrom(numpy_helper.from_array(np.array([1, 1, 3, 3], np.float32), "scales"))
    return model


def enlarged_a_thousand_times() -> onnx.ModelProto:
    """A picture of 16,000 x 16,000 numbers on the way."""
    model = network(any_size=False)
    nodes = [
        helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Resize", ["numbers", "", "thousand"], ["huge"], mode="nearest"),
        helper.make_node("ReduceMax", ["huge"], ["most"], keepdims=0),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 1000, 1000], np.float32), "thousand"))
    return model


def endless(where: Path) -> Path:
    model = network(any_size=False)
    model.graph.node[0].op_type = "Loop"
    return translator(where, model)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_two_sizes(small: tuple[int, int], large: tuple[int, int]) -> bytes:
    """A gray PNG of ``large`` pixels, with a chunk before its header that looks like the header of a small one."""
    width, height = large
    rows = zlib.compress((b"\0" + bytes(width)) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    looks = chunk(b"tEXt", struct.pack(">II", *small) + b"a\0b")
    return b"\x89PNG\r\n\x1a\n" + looks + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def golden(content: Callable[[], bytes], field: str = "png") -> Make:
    """A translator whose golden sample has another PNG."""

    def make(where: Path) -> Path:
        directory = translator(where)
        config = json.loads((directory / "config.json").read_text())
        config["golden_sample"][field] = base64.b64encode(content()).decode()
        (directory / "config.json").write_text(json.dumps(config))
        return directory

    return make


def png_with_a_profile_of_nothing() -> bytes:
    """An empty colour profile behind the pixels, for which Pillow raises IndexError."""
    png = encode_png(np.full((SIDE, SIDE, 3), 255, np.uint8))
    return png[:-12] + chunk(b"iCCP", b"") + png[-12:]


TRANSLATORS: dict[str, tuple[Make, str]] = {  # how each is made, and its error
    "translator with a Loop": (endless, "the operator 'Loop'"),
    "translator of 16,000 x 16,000 numbers": (
        lambda where: translator(where, enlarged_a_thousand_times()), "takes .* for one image",
    ),
    "translator that takes memory for small pictures only": (
        lambda where: translator(where, only_small_pictures(), any_size=True), "grows faster|constants of more",
    ),
    "translator to another size": (lambda where: translator(where, other_size(), any_size=True), "requires"),
    "translator of pictures of 2^60 pixels": (lambda where: translator(where, in_resolution=2**60), "in_resolution"),
    "translator to a million times the size": (lambda where: translator(where, scale=10**6), "scale"),
    "translator that looks a million pixels around": (
        lambda where: translator(where, any_size=True, reach=10**6), "reach",
    ),
    "translator with a name that is a command": (lambda where: translator(where, name="$(touch x)"), "name"),
    "translator without an input in its golden sample": (golden(lambda: b"", "input"), "not a PNG"),
    "translator with a golden sample of two sizes": (
        golden(lambda: png_of_two_sizes((SIDE, SIDE), (9_000, 9_000))), "9000x9000",
    ),
    "translator with an input of two sizes": (
        golden(lambda: png_of_two_sizes((SIDE, SIDE), (9_000, 9_000)), "input"), "9000x9000",
    ),
    "translator with a colour profile of nothing": (golden(png_with_a_profile_of_nothing), "cannot be decoded"),
}  # fmt: skip


def picture(name: str, content: Callable[[], bytes]) -> Make:
    def make(where: Path) -> Path:
        (where / name).write_bytes(content())
        return where / name

    return make


def animation() -> bytes:
    """10,000 frames."""
    file = io.BytesIO()
    frames = [Image.new("L", (8, 8), 255 * (number % 2)) for number in range(10_000)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def many_scans() -> bytes:
    """A progressive JPEG of which the last scan is there 3,000 times."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + scan * 3000 + b"\xff\xd9"


PICTURES: dict[str, tuple[Make, str]] = {
    "picture of 60,000 x 60,000": (
        picture("a.gif", lambda: b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0x80, 0, 0) + bytes(6)
                + b"\x2c" + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02\x44\x01\0;"), "claims more",
    ),
    "picture of 13,000 x 13,000": (
        picture("a.png", lambda: png_of_two_sizes((8, 8), (13_000, 13_000))), "at most 16,777,216",
    ),
    "picture of 10,000 frames": (picture("a.gif", animation), "is an animation"),
    "picture of 3,000 scans": (picture("a.jpg", many_scans), "scans"),
    "picture with a colour profile of nothing": (picture("a.png", png_with_a_profile_of_nothing), "cannot be decoded"),
    "picture that is PostScript": (picture("a.png", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n"), "not an image of a"),
    "picture that is a TIFF": (picture("a.png", lambda: b"II*\0" + bytes(100)), "not an image of a"),
    "picture is /dev/zero": (lambda where: Path("/dev/zero"), "not a regular file"),
}  # fmt: skip
