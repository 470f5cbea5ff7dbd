"""Files of weights that are broken or hostile, for ``gan-serve import``. One that runs anything writes ``RAN``."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from foreign_generators import NetD, dense_nhwc, net_g, write_onnx
from hostile_keras import (
    config_that_is_a_number,
    damaged_hdf5,
    damaged_zip,
    escape_in_a_layer,
    external_weights,
    huge_upsampling,
    keras_zip_bomb,
    lambda_layer,
    large_layers,
    many_layers,
    one_weight_in_1000_places,
    packed_weights,
    storage_beyond_the_file,
    weights_elsewhere,
    wrong_weights,
)
from hostile_runs import BYTEARRAY, packed
from torch import nn

RAN = "something-ran"
Write = Callable[[Path], Path]


class Runs:
    """An object whose unpickling writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {RAN}",)


def bare_pickle(folder: Path) -> Path:
    path = folder / "netG.pth"
    path.write_bytes(pickle.dumps({"main.0.weight": Runs()}, protocol=2))
    return path


def pickle_in_a_torch_file(folder: Path) -> Path:
    torch.save({"main.0.weight": torch.zeros(4, 4, 4, 4), "extra": Runs()}, folder / "netG.pth")
    return folder / "netG.pth"


def whole_module(folder: Path) -> Path:
    torch.save(net_g(), folder / "netG.pth")
    return folder / "netG.pth"


def torchscript(folder: Path) -> Path:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), folder / "netG.pt")
    return folder / "netG.pt"


def zip_bomb(folder: Path) -> Path:
    torch.save(net_g(ngf=2).state_dict(), folder / "small.pth")
    with zipfile.ZipFile(folder / "small.pth") as small, zipfile.ZipFile(folder / "netG.pth", "w", 8) as bomb:
        for entry in small.infolist():
            content = small.read(entry)
            bomb.writestr(entry.filename, content if "data.pkl" in entry.filename else bytes(2**22))
    return folder / "netG.pth"


def endless_tensor(folder: Path) -> Path:
    weights = net_g().state_dict()
    weights["main.0.weight"] = torch.zeros(1).expand(10**5, 10**5, 4, 4)
    torch.save(weights, folder / "netG.pth")
    return folder / "netG.pth"


def truncated_torch_file(folder: Path) -> Path:
    torch.save(net_g().state_dict(), folder / "netG.pth")
    content = (folder / "netG.pth").read_bytes()
    (folder / "netG.pth").write_bytes(content[: len(content) // 2])
    return folder / "netG.pth"


def discriminator(folder: Path) -> Path:
    torch.save(NetD().state_dict(), folder / "netD.pth")
    return folder / "netD.pth"


def not_finite(folder: Path) -> Path:
    weights = net_g().state_dict()
    weights["main.3.weight"][0, 0, 0, 0] = torch.nan
    torch.save(weights, folder / "netG.pth")
    return folder / "netG.pth"


def safetensors_with_a_false_header(folder: Path) -> Path:
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    return folder / "model.safetensors"


def external_data(folder: Path) -> Path:
    model = onnx.load(dense_nhwc(folder / "inside.onnx"))
    (folder / "inside.onnx").unlink()
    onnx.save(model, folder / "g.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return folder / "g.onnx"


def loop(folder: Path) -> Path:
    model = onnx.load(dense_nhwc(folder / "g.onnx"))
    model.graph.node[-1].op_type = "Loop"
    (folder / "g.onnx").write_bytes(model.SerializeToString())
    return folder / "g.onnx"


def other_domain(folder: Path) -> Path:
    model = onnx.load(dense_nhwc(folder / "g.onnx"))
    model.graph.node[-1].domain = "com.evil"
    (folder / "g.onnx").write_bytes(model.SerializeToString())
    return folder / "g.onnx"


def wrong_rank(folder: Path) -> Path:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float["n", 3, 7] z) => (float["n", 3, 7] images) { images = Tanh(z) }"""
    return write_onnx(folder / "g.onnx", text, {})


def flat_images(folder: Path) -> Path:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float["n", 784] z) => (float["n", 784] images) { images = Tanh(z) }"""
    return write_onnx(folder / "g.onnx", text, {})


def huge_images(folder: Path) -> Path:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float["n", 1] z) => (float["n", 1, "h", "w"] images) {
        map = Reshape(z, shape)
        large = Expand(map, size)
        images = Tanh(large)
    }"""
    constants = {"shape": np.array([-1, 1, 1, 1]), "size": np.array([1, 1, 2**16, 2**16])}
    return write_onnx(folder / "g.onnx", text, constants)


def truncated_onnx(folder: Path) -> Path:
    path = dense_nhwc(folder / "g.onnx")
    path.write_bytes(path.read_bytes()[:-500])
    return path


def text(folder: Path) -> Path:
    (folder / "g.onnx").write_text("<html>404</html>")
    return folder / "g.onnx"


def empty(folder: Path) -> Path:
    (folder / "g.pth").touch()
    return folder / "g.pth"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "g.onnx")
    return folder / "g.onnx"


def bytearray_of_3_gb(folder: Path) -> Path:
    """A kilobyte whose only object is one that torch allows, and that takes 3 GB."""
    (folder / "netG.pth").write_bytes(packed(BYTEARRAY))
    return folder / "netG.pth"


def bytearray_in_an_old_file(folder: Path) -> Path:
    """The same, in the format from before torch 1.6."""
    (folder / "netG.pth").write_bytes(BYTEARRAY)
    return folder / "netG.pth"


def dictionaries_of_dictionaries(folder: Path) -> Path:
    """300 entries that are one dictionary of 300 entries, and so on: eight billion on the fourth level."""
    weights: dict[str, Any] = {"x": torch.zeros(1)}
    for _ in range(4):
        weights = {f"entry{number}": weights for number in range(300)}
    torch.save(weights, folder / "netG.pth")
    return folder / "netG.pth"


def no_numbers(folder: Path) -> Path:
    weights = net_g().state_dict()
    weights["main.0.weight"] = torch.zeros(0, 64, 4, 4)
    torch.save(weights, folder / "netG.pth")
    return folder / "netG.pth"


def long_safetensors_header(folder: Path) -> Path:
    """A million tensors without numbers."""
    tensors = (f'"w{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for number in range(1_000_000))
    header = ("{" + ",".join(tensors) + "}").encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder / "model.safetensors"


def million_images(folder: Path) -> Path:
    """A file that computes a million images at once."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1000000, 64] z) => (float[1000000, 1, 32, 32] images) {
        pixels = MatMul(z, weight)
        map = Reshape(pixels, shape)
        images = Tanh(map)
    }"""
    constants = {"weight": np.ones((64, 1024), np.float32), "shape": np.array([1_000_000, 1, 32, 32])}
    return write_onnx(folder / "g.onnx", text, constants)


def many_outputs(folder: Path) -> Path:
    """3,000 outputs of 4 MB beside the images."""
    lines = "".join(f"o{number} = Expand(number{number}, size)\n" for number in range(3000))
    numbers = "".join(f"number{number} = Add(map, one)\n" for number in range(3000))
    outputs = ", ".join(f'float["n", 1, 2000, 500] o{number}' for number in range(3000))
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    net (float["n", 1] z) => (float["n", 1, 8, 8] images, {outputs}) {{
        map = Reshape(z, shape)
        large = Expand(map, image)
        images = Tanh(large)
        {numbers}{lines}
    }}"""
    constants = {
        "shape": np.array([-1, 1, 1, 1]), "image": np.array([1, 1, 8, 8]), "one": np.ones(1, np.float32),
        "size": np.array([1, 1, 2000, 500]),
    }  # fmt: skip
    return write_onnx(folder / "g.onnx", text, constants)


def billions_of_classes(folder: Path) -> Path:
    """One-hot labels of 10 billion classes, each of which would get a name."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float["n", 4] z, float["n", 10000000000] labels) => (float["n", 1, 8, 8] images) {
        most = ReduceMax <axes = [1], keepdims = 1> (labels)
        row = Add(z, most)
        map = Reshape(row, shape)
        images = Resize(map, , scales)
    }"""
    constants = {"shape": np.array([-1, 1, 2, 2]), "scales": np.array([1, 1, 4, 4], np.float32)}
    return write_onnx(folder / "g.onnx", text, constants)


def escape_in_an_input(folder: Path) -> Path:
    model = onnx.load(dense_nhwc(folder / "g.onnx"))
    model.graph.input[0].name = "\x1b]0;owned\x07"
    (folder / "g.onnx").write_bytes(model.SerializeToString())
    return folder / "g.onnx"


def old_file(folder: Path, pickled: bytes) -> Path:
    """A file of torch.save without a zip, whose first pickle is another one."""
    (folder / "netG.pth").write_bytes(pickled)
    return folder / "netG.pth"


TEXT = b"X" + (2**20).to_bytes(4, "little") + b"a" * 2**20 + b"q\x00"  # of a megabyte, and kept as number 0


def text_that_is_encoded_100_000_times(folder: Path) -> Path:
    """100 GB: weights_only allows this function, which makes bytes."""
    calls = b"h\x01h\x00X\x05\0\0\0ascii\x86R" * 100_000
    return old_file(folder, b"\x80\x02](" + TEXT + b"c_codecs\nencode\nq\x01" + calls + b"e.")


def dictionary_that_is_copied_100_000_times(folder: Path) -> Path:
    """A dictionary of a thousand entries, and calls that copy it."""
    entries = b"".join(b"M" + number.to_bytes(2, "little") + b"N" for number in range(1000))
    calls = b"h\x01h\x00\x85R" * 100_000
    return old_file(folder, b"\x80\x02](}(" + entries + b"uq\x00ccollections\nOrderedDict\nq\x01" + calls + b"e.")


def dictionary_that_is_copied_as_a_state(folder: Path) -> Path:
    """The same by the state of 100,000 dictionaries."""
    entries = b"".join(b"X\x02\0\0\0" + b"%02x" % number + b"N" for number in range(256))
    calls = b"h\x01)Rh\x00b" * 100_000
    return old_file(folder, b"\x80\x02](}(" + entries + b"uq\x00ccollections\nOrderedDict\nq\x01" + calls + b"e.")


def millions_of_sets(folder: Path) -> Path:
    """A set takes 216 bytes, and its pickle one."""
    return old_file(folder, b"\x80\x02](" + b"\x8f" * 3_000_000 + b"e.")


def millions_of_dictionaries(folder: Path) -> Path:
    """A dictionary takes 72 bytes, and its pickle one."""
    return old_file(folder, b"\x80\x02](" + b"}" * 20_000_000 + b"e.")


def zip_of_two_directories(folder: Path) -> Path:
    """A zip in which zipfile finds another directory than torch: that of a file without the bytearray."""
    empty = packed(b"\x80\x02}.".ljust(len(BYTEARRAY), b"\0"))
    parts = []
    for content in (packed(BYTEARRAY), empty):
        start, size = int.from_bytes(content[-6:-2], "little"), int.from_bytes(content[-10:-6], "little")
        parts.append((content[:start], content[start : start + size], content[-22:]))
    (hostile, directory, end), (harmless, other, _) = parts
    entry = 0
    while (entry := other.find(b"PK\1\2", entry)) >= 0:  # zipfile adds what lies between both directories
        place = int.from_bytes(other[entry + 42 : entry + 46], "little") + len(hostile) - len(harmless)
        other = other[: entry + 42] + place.to_bytes(4, "little") + other[entry + 46 :]
        entry += 46
    return old_file(folder, hostile + directory + harmless + other + end)


# Each with a part of the error that it must get.
def numbers_of_four_bits(folder: Path) -> Path:
    """A type that safetensors has and its reader for torch does not."""
    header = json.dumps({"weight": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}).encode()
    path = folder / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return path


FILES: dict[Write, str] = {
    numbers_of_four_bits: "it is no safetensors file",
    bare_pickle: "and only tensors are loaded",
    pickle_in_a_torch_file: "and only tensors are loaded",
    whole_module: "Python object foreign_generators.NetG",
    torchscript: "is TorchScript, which is code",
    zip_bomb: "unpacks to more than its own size",
    endless_tensor: "of another kind or size than the file can hold",
    truncated_torch_file: "damaged",
    discriminator: "is a discriminator",
    not_finite: "weights that are not finite",
    safetensors_with_a_false_header: "is no safetensors file",
    external_data: "external data",
    loop: "the operator 'Loop'",
    other_domain: "operators of the domain 'com.evil'",
    wrong_rank: "have the shape [0, 3, 7]",
    flat_images: "does not give images",
    huge_images: "GB for 2 images",
    truncated_onnx: "is not read",
    lambda_layer: "Lambda layer, which is Python code",
    keras_zip_bomb: "unpacks to more than its own size",
    packed_weights: "packed weights",
    weights_elsewhere: "keeps weights in other files",
    external_weights: "keeps weights in other files",
    huge_upsampling: "its output has the shape",
    wrong_weights: "its weights have the shapes",
    damaged_hdf5: "is a damaged Keras model",
    text: "is not an ONNX file",
    empty: "is no file of a generator",
    pipe: "not a regular file",
    bytearray_of_3_gb: "the Python object bytearray",
    bytearray_in_an_old_file: "the Python object bytearray",
    text_that_is_encoded_100_000_times: "the Python object _codecs.encode",
    dictionary_that_is_copied_100_000_times: "copies one value",
    dictionary_that_is_copied_as_a_state: "copies one value",
    millions_of_sets: "sets",
    millions_of_dictionaries: "more than 2,000,000 values",
    zip_of_two_directories: "damaged zip",
    one_weight_in_1000_places: "unpacks to more than its own size",
    config_that_is_a_number: "is damaged",
    dictionaries_of_dictionaries: "are no transposed convolution",
    no_numbers: "a tensor without numbers",
    long_safetensors_header: "more than 10,000 tensors",
    million_images: "GB for 1000000 images",
    many_outputs: "GB for",
    billions_of_classes: "has 10,000,000,000 classes",
    damaged_zip: "is a damaged Keras model",
    escape_in_a_layer: "which is not read",
    escape_in_an_input: "",
    many_layers: "more than 1,000 layers",
    large_layers: "numbers for an image",
    storage_beyond_the_file: "damaged Keras model",
}
