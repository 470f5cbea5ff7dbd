"""Keras files that are broken or hostile, written without Keras."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def keras_file(
    folder: Path,
    layers: list[dict[str, Any]],
    weights: Callable[[Any], None],
    compression: int = 0,
    kind: str = "Sequential",
) -> Path:
    """A .keras file, written without Keras."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        weights(file)
    config = {"module": "keras", "class_name": kind, "config": {"name": "s", "layers": layers}}
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


def one_weight_in_1000_places(folder: Path) -> Path:
    """A megabyte under 1,000 names: a gigabyte when each is read."""

    def linked(file: Any) -> None:
        variables = file.require_group("layers/dense/vars")
        variables["0"] = np.ones(2**18, np.float32)
        for number in range(1, 1000):
            variables[str(number)] = variables["0"]

    return keras_file(folder, DENSE, linked)


def config_that_is_a_number(folder: Path) -> Path:
    """An .h5 file whose config is 4 billion: Python's bytes() would make so many."""
    with h5py.File(folder / "g.h5", "w") as file:
        file.attrs["model_config"] = 4_000_000_000
    return folder / "g.h5"


def huge_upsampling(folder: Path) -> Path:
    return keras_file(folder, [*DENSE, layer("UpSampling2D", size=[10**6, 10**6])], dense_weights)


def wrong_weights(folder: Path) -> Path:
    def wrong(file: Any) -> None:
        file.create_dataset("layers/dense/vars/0", data=np.ones((4, 16, 2), np.float32))

    return keras_file(folder, DENSE, wrong)


def damaged_hdf5(folder: Path) -> Path:
    (folder / "g.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + os.urandom(500))
    return folder / "g.h5"


def damaged_zip(folder: Path) -> Path:
    """A Keras file whose packed config is damaged."""
    path = keras_file(folder, DENSE, dense_weights)
    with zipfile.ZipFile(path) as archive:
        config, weights = archive.read("config.json"), archive.read("model.weights.h5")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config, zipfile.ZIP_DEFLATED)
        archive.writestr("model.weights.h5", weights)
    content = bytearray(path.read_bytes())
    start = content.index(b"config.json") + len("config.json")
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    return path


def escape_in_a_layer(folder: Path) -> Path:
    """A layer whose class and name would recolour a terminal."""
    return keras_file(folder, [*DENSE, layer("\x1b[31mEvil\x07\u202e")], dense_weights)


def many_layers(folder: Path) -> Path:
    """30,000 layers, each before the one that it takes its input from."""
    layers = [layer("InputLayer", batch_shape=[None, 4], name="l0")]
    layers += [layer("ReLU", name=f"l{number}") for number in range(1, 30_000)]
    for number in range(1, 30_000):
        layers[number]["inbound_nodes"] = [[[f"l{number - 1}"]]]
    return keras_file(folder, layers[::-1], lambda file: None, kind="Functional")


def large_layers(folder: Path) -> Path:
    """Images of 4096 x 4096 from 16 numbers."""
    large = [layer("UpSampling2D", size=[1024, 1024]), layer("Activation", activation="tanh")]
    return keras_file(folder, [*DENSE, *large], dense_weights)


def storage_beyond_the_file(folder: Path) -> Path:
    """Weights of an .h5 file that are said to be 4 GB."""
    path = folder / "g.h5"
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": DENSE}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        group = file.require_group("model_weights/dense")
        file["model_weights"].attrs["layer_names"] = ["dense"]
        group.attrs["weight_names"] = ["kernel"]
        group.create_dataset("kernel", data=np.ones((4, 16), np.float32))
    content, sides = path.read_bytes(), np.array([4, 16], "<u8").tobytes()
    assert content.count(sides) == 2  # the present and the largest shape
    content = content.replace(sides, np.array([4, 2**28], "<u8").tobytes())
    path.write_bytes(content.replace(np.array([256], "<u8").tobytes(), np.array([2**32], "<u8").tobytes()))
    return path
