"""Files of weights that are broken or hostile, for ``gan-serve import``. One that runs anything writes ``RAN``."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import torch
from foreign_generators import NetD, dense_nhwc, net_g, write_onnx
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
    torch.save(net_g().state_dict(), folder / "small.pth")
    with zipfile.ZipFile(folder / "small.pth") as small, zipfile.ZipFile(folder / "netG.pth", "w", 8) as bomb:
        for entry in small.infolist():
            content = small.read(entry)
            bomb.writestr(entry.filename, content if "data.pkl" in entry.filename else bytes(2**26))
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


def keras_file(
    folder: Path, layers: list[dict[str, Any]], weights: Callable[[Any], None], compression: int = 0
) -> Path:
    """A .keras file, written without Keras."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        weights(file)
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    with zipfile.ZipFile(folder / "g.keras", "w", compression) as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", content.getvalue())
    return folder / "g.keras"


def layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": {"name": kind.lower(), **config}}


DENSE = [
    layer("InputLayer", batch_shape=[None, 4]),
    layer("Dense", units=16, activation="tanh", use_bias=False),
    layer("Reshape", target_shape=[4, 4, 1]),
]


def dense_weights(file: Any) -> None:
    file.create_dataset("layers/dense/vars/0", data=np.ones((4, 16), np.float32))


def lambda_layer(folder: Path) -> Path:
    code = layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "cHJpbnQoMSk="}})
    return keras_file(folder, [*DENSE, code], dense_weights)


def keras_zip_bomb(folder: Path) -> Path:
    def many_zeros(file: Any) -> None:
        file.create_dataset("layers/dense/vars/0", data=np.zeros((4, 2**22), np.float32))

    return keras_file(folder, DENSE, many_zeros, compression=zipfile.ZIP_DEFLATED)


def packed_weights(folder: Path) -> Path:
    def packed(file: Any) -> None:
        file.create_dataset("layers/dense/vars/0", (4, 2**26), np.float32, compression="gzip")

    return keras_file(folder, DENSE, packed)


def weights_elsewhere(folder: Path) -> Path:
    def linked(file: Any) -> None:
        file.require_group("layers/dense/vars")["0"] = h5py.ExternalLink("/etc/passwd", "/x")

    return keras_file(folder, DENSE, linked)


def external_weights(folder: Path) -> Path:
    def external(file: Any) -> None:
        file.create_dataset("layers/dense/vars/0", (4, 16), np.float32, external=[("/etc/passwd", 0, 256)])

    return keras_file(folder, DENSE, external)


def huge_upsampling(folder: Path) -> Path:
    return keras_file(folder, [*DENSE, layer("UpSampling2D", size=[10**6, 10**6])], dense_weights)


def wrong_weights(folder: Path) -> Path:
    def wrong(file: Any) -> None:
        file.create_dataset("layers/dense/vars/0", data=np.ones((4, 16, 2), np.float32))

    return keras_file(folder, DENSE, wrong)


def damaged_hdf5(folder: Path) -> Path:
    (folder / "g.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + os.urandom(500))
    return folder / "g.h5"


def text(folder: Path) -> Path:
    (folder / "g.onnx").write_text("<html>404</html>")
    return folder / "g.onnx"


def empty(folder: Path) -> Path:
    (folder / "g.pth").touch()
    return folder / "g.pth"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "g.onnx")
    return folder / "g.onnx"


# Each with a part of the error that it must get.
FILES: dict[Write, str] = {
    bare_pickle: "and only tensors are loaded",
    pickle_in_a_torch_file: "and only tensors are loaded",
    whole_module: "Python object foreign_generators.NetG",
    torchscript: "is TorchScript, which is code",
    zip_bomb: "unpacks to more than its own size",
    endless_tensor: "of another kind or size than the file can hold",
    truncated_torch_file: "damaged",
    discriminator: "is a discriminator",
    not_finite: "weights that are not finite",
    safetensors_with_a_false_header: "is not a safetensors file",
    external_data: "external data",
    loop: "the operator 'Loop'",
    other_domain: "operators of the domain 'com.evil'",
    wrong_rank: "have the shape [0, 3, 7]",
    flat_images: "does not give images",
    huge_images: "GB and",
    truncated_onnx: "is not read",
    lambda_layer: "Lambda layer, which is Python code",
    keras_zip_bomb: "unpacks to more than its own size",
    packed_weights: "packed weights",
    weights_elsewhere: "keeps weights in other files",
    external_weights: "keeps weights in other files",
    huge_upsampling: "its output has the shape",
    wrong_weights: "its weights have the shapes",
    damaged_hdf5: "is a damaged Keras model",
    text: "is no ONNX file",
    empty: "is no file of a generator",
    pipe: "not a regular file",
}
