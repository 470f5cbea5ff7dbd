"""Whole translator checkpoints of a few kilobytes, written with ONNX's own helpers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gan_serve import __version__
from gan_serve.checkpoint.config import FORMAT_VERSION, TRANSLATE, Architecture, GoldenTranslation, TranslatorConfig
from gan_serve.checkpoint.files import digest_files, write_config
from gan_serve.images.pixels import UInt8Array

SIDE = 16
REACH = 2


def expected(x: UInt8Array, *, any_size: bool) -> UInt8Array:
    """The output that a tiny translator must give for x uint8 [H, W, 3], by NumPy alone."""
    if not any_size:
        return 255 - x
    values = np.pad(x.astype(np.float32), ((REACH, REACH), (REACH, REACH), (0, 0)))
    height, width, _ = x.shape
    windows = [values[i : i + height, j : j + width] for i in range(2 * REACH + 1) for j in range(2 * REACH + 1)]
    mean = np.sum(windows, axis=0) * np.float32(1 / len(windows))
    return np.floor(mean + 0.5).astype(np.uint8).repeat(2, 0).repeat(2, 1)


def network(*, any_size: bool) -> onnx.ModelProto:
    """Of any size: the mean of 5x5 pixels, zeros around, at twice the size; else the negative of 16x16 pixels."""
    size = ["H", "W"] if any_size else [SIDE, SIDE]
    out = ["H2", "W2"] if any_size else size
    kernel = np.zeros((3, 3, 2 * REACH + 1, 2 * REACH + 1), np.float32)
    for channel in range(3):
        kernel[channel, channel] = 1 / (2 * REACH + 1) ** 2
    constants = {
        "kernel": kernel, "scales": np.array([1, 1, 2, 2], np.float32), "half": np.array(0.5, np.float32),
        "white": np.array(255, np.float32),
    }  # fmt: skip
    if any_size:
        nodes = [
            helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["planes"], ["values"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["values", "kernel"], ["means"], pads=[REACH] * 4),
            helper.make_node("Add", ["means", "half"], ["rounded"]),
            helper.make_node("Floor", ["rounded"], ["levels"]),
            helper.make_node(
                "Resize", ["levels", "", "scales"], ["large"], mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor",
            ),
            helper.make_node("Cast", ["large"], ["bytes"], to=TensorProto.UINT8),
            helper.make_node("Transpose", ["bytes"], ["img"], perm=[0, 2, 3, 1]),
        ]  # fmt: skip
    else:
        nodes = [
            helper.make_node("Cast", ["x"], ["values"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["white", "values"], ["negative"]),
            helper.make_node("Cast", ["negative"], ["img"], to=TensorProto.UINT8),
        ]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", *size, 3])],
        [helper.make_tensor_value_info("img", TensorProto.UINT8, ["N", *out, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def write_translator(directory: Path, *, any_size: bool = False, **changes: Any) -> Path:
    """Write a checkpoint; ``changes`` are fields of its config."""
    directory.mkdir(parents=True)
    (directory / "generator.onnx").write_bytes(network(any_size=any_size).SerializeToString())
    (directory / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# tiny\n")
    source = np.random.RandomState(3).randint(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    scale = 2 if any_size else 1
    config = {
        "format_version": FORMAT_VERSION,
        "gan_serve_version": __version__,
        "task": TRANSLATE,
        "name": directory.name,
        "architecture": Architecture(family="tiny", arguments={}),
        "in_resolution": SIDE,
        "in_channels": 3,
        "scale": scale,
        "any_size": any_size,
        "reach": REACH if any_size else 0,
        "img_resolution": scale * SIDE,
        "img_channels": 3,
        "license": "cc0-1.0",
        "files": digest_files(directory),
        "golden_sample": GoldenTranslation.of_input(source, expected(source, any_size=any_size)),
    }
    write_config(directory, TranslatorConfig(**(config | changes)))
    return directory
