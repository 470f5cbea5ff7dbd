"""A checkpoint with two classes, written with ONNX's own helpers: img = 100 c + |10 z[0]|."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gan_serve import __version__
from gan_serve.checkpoint.config import FORMAT_VERSION, Architecture, CheckpointConfig, GoldenSample
from gan_serve.checkpoint.files import digest_files, write_config

CLASSES = ("Bag", "Ankle boot")
SIZE = 4


def network() -> onnx.ModelProto:
    """z float32 [N, 2] and c int64 [N] -> img uint8 [N, SIZE, SIZE, 1]."""
    constants = {
        "hundred": np.array(100, np.float32),
        "ten": np.array(10, np.float32),
        "first": np.array([0], np.int64),
        "shape": np.array([-1, 1, 1, 1], np.int64),
        "full": np.ones((1, SIZE, SIZE, 1), np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["z", "first"], ["z0"], axis=1),
        helper.make_node("Mul", ["z0", "ten"], ["z0_level"]),
        helper.make_node("Abs", ["z0_level"], ["abs_z0"]),
        helper.make_node("Cast", ["c"], ["c_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["c_float", "hundred"], ["c_level"]),
        helper.make_node("Reshape", ["c_level", "shape"], ["c_image"]),
        helper.make_node("Reshape", ["abs_z0", "shape"], ["z_image"]),
        helper.make_node("Add", ["c_image", "z_image"], ["sum"]),
        helper.make_node("Mul", ["sum", "full"], ["image"]),
        helper.make_node("Cast", ["image"], ["img"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "conditional",
        [
            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("c", TensorProto.INT64, ["N"]),
        ],
        [helper.make_tensor_value_info("img", TensorProto.UINT8, ["N", SIZE, SIZE, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def level(seed: int, number: int) -> int:
    """The grey level that the network draws for a seed and a class, by NumPy alone."""
    return 100 * number + int(abs(np.random.RandomState(seed).standard_normal(2)[0] * 10))


def write_conditional(directory: Path, class_names: tuple[str, str] = CLASSES) -> Path:
    """Write the checkpoint."""
    onnx.save(network(), directory / "generator.onnx")
    config = CheckpointConfig(
        format_version=FORMAT_VERSION,
        gan_serve_version=__version__,
        name="conditional",
        architecture=Architecture(family="none", arguments={}),
        z_dim=2,
        c_dim=2,
        class_names=class_names,
        img_resolution=SIZE,
        img_channels=1,
        license="mit",
        files=digest_files(directory),
        golden_sample=GoldenSample.of(np.full((SIZE, SIZE, 1), level(0, 1), np.uint8), 0, label=1),
    )
    write_config(directory, config)
    return directory
