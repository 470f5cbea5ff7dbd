"""A whole checkpoint in 200 KB, written with ONNX's own helpers, for the tests that move checkpoints about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gan_serve import __version__
from gan_serve.checkpoint.config import FORMAT_VERSION, Architecture, CheckpointConfig, GoldenSample
from gan_serve.checkpoint.files import digest_files, write_config
from gan_serve.sampling.latents import latents_from_seeds

Z_DIM, SIDE = 50, 32


def network(z_dim: int = Z_DIM, seed: int = 0) -> onnx.ModelProto:
    """img = clip(128 + 16 z W): one linear layer of random weights."""
    constants = {
        "weight": np.random.RandomState(seed).standard_normal((z_dim, SIDE * SIDE)).astype(np.float32) * 2,
        "grey": np.array(128, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(255, np.float32),
        "shape": np.array([-1, SIDE, SIDE, 1], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["z", "weight"], ["product"]),
        helper.make_node("Add", ["product", "grey"], ["level"]),
        helper.make_node("Clip", ["level", "low", "high"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "shape"], ["image"]),
        helper.make_node("Cast", ["image"], ["img"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", z_dim])],
        [helper.make_tensor_value_info("img", TensorProto.UINT8, ["N", SIDE, SIDE, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def pixels(seed: int, weights: int = 0) -> np.ndarray[Any, Any]:
    """The image that the checkpoint must draw for ``seed``, uint8 [SIDE, SIDE, 1], by NumPy alone."""
    weight = np.random.RandomState(weights).standard_normal((Z_DIM, SIDE * SIDE)).astype(np.float32) * 2
    drawn = latents_from_seeds([seed], Z_DIM) @ weight + 128
    return np.clip(drawn, 0, 255).astype(np.uint8).reshape(SIDE, SIDE, 1)


def write_checkpoint(directory: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write a checkpoint whose weights follow from ``seed``; ``changes`` are fields of its config."""
    directory.mkdir(parents=True)
    (directory / "generator.onnx").write_bytes(network(seed=seed).SerializeToString())
    (directory / "generator.safetensors").write_bytes(np.random.RandomState(seed).bytes(50_000))
    (directory / "metrics.json").write_text('{"made_up_metric": 1.5}\n')
    (directory / "parity.json").write_text('{"bound": 1}\n')
    (directory / "README.md").write_text("---\nlicense: mit\nlibrary_name: gan-serve\n---\n# tiny\n")
    return seal(directory, seed=seed, **changes)


def seal(directory: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write the config that fits the other files of ``directory``."""
    config = CheckpointConfig(
        format_version=FORMAT_VERSION,
        gan_serve_version=__version__,
        name="tiny",
        architecture=Architecture(family="none", arguments={}),
        z_dim=Z_DIM,
        img_resolution=SIDE,
        img_channels=1,
        license="mit",
        files=digest_files(directory),
        golden_sample=GoldenSample.of(pixels(0, seed), 0),
    )
    write_config(directory, config)
    if changes:
        path = directory / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    """The files of a directory by name."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}
