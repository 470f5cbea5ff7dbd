"""Labels, on a small conditional network written with ONNX's own helpers: img = 100 * c + 10 * round(z[0])."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gan_serve import Generator, UnknownLabel, __version__
from gan_serve.checkpoint import (
    FORMAT_VERSION,
    Architecture,
    CheckpointConfig,
    GoldenSample,
    digest_files,
    write_config,
)

CLASSES = ("Bag", "Ankle boot")
SIZE = 4


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    directory: Path = tmp_path_factory.mktemp("conditional")
    constants = {
        "hundred": np.array(100, np.float32),
        "first": np.array([0], np.int64),
        "shape": np.array([-1, 1, 1, 1], np.int64),
        "full": np.ones((1, SIZE, SIZE, 1), np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["z", "first"], ["z0"], axis=1),
        helper.make_node("Abs", ["z0"], ["abs_z0"]),
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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, directory / "generator.onnx")
    level = 100 + int(abs(np.random.RandomState(0).standard_normal(2)[0]))
    config = CheckpointConfig(
        format_version=FORMAT_VERSION,
        gan_serve_version=__version__,
        name="conditional",
        architecture=Architecture(family="none", arguments={}),
        z_dim=2,
        c_dim=2,
        class_names=CLASSES,
        img_resolution=SIZE,
        img_channels=1,
        license="mit",
        files=digest_files(directory),
        golden_sample=GoldenSample.of(np.full((SIZE, SIZE, 1), level, np.uint8), 0, label=1),
    )
    write_config(directory, config)
    return Generator.from_pretrained(directory)


def classes_of(pixels: np.ndarray) -> list[int]:
    return [int(image.max()) // 100 for image in pixels]


def test_a_label_is_a_name_or_an_index(conditional):
    assert classes_of(conditional.generate(n=3, seed=0, label="Ankle boot", output="numpy")) == [1, 1, 1]
    assert classes_of(conditional.generate(n=2, seed=0, label=0, output="numpy")) == [0, 0]
    assert classes_of(conditional.generate(n=2, seed=0, label=np.int64(1), output="numpy")) == [1, 1]
    assert classes_of(conditional.generate(n=2, seed=0, label=np.array([1, 0]), output="numpy")) == [1, 0]
    assert classes_of(conditional.generate(seeds="0-2", label=["Bag", 1, "Bag"], output="numpy")) == [0, 1, 0]


def test_without_a_label_the_seed_decides(conditional):
    samples = conditional.sample(seeds=[4, 7, 4])
    assert samples.labels == ["Bag", "Ankle boot", "Bag"]
    assert classes_of(samples.pixels) == [0, 1, 0]


def test_the_receipt_names_the_label(conditional):
    [image] = conditional.generate(seeds=3, label=0)
    assert image.info["gan_serve"]["label"] == "Bag"


def test_a_walk_holds_one_label(conditional):
    frames = conditional.interpolate([0, 1], steps=3, label="Ankle boot", output="numpy")
    assert classes_of(frames) == [1, 1, 1, 1]
    assert conditional.sample_walk([1, 0], steps=2).labels == ["Ankle boot"] * 3


NO_LABELS = ["bag", "Boot", 2, -1, True, 1.0, ["Bag"], ["Bag", "Bag", "Bag"], [None, None], b"\0\1", 10**400]


@pytest.mark.parametrize("label", NO_LABELS)
def test_any_other_label_is_refused(conditional, label):
    with pytest.raises(UnknownLabel):
        conditional.generate(seeds=[0, 1], label=label)


def test_an_unknown_label_lists_the_names_and_the_nearest(conditional):
    with pytest.raises(UnknownLabel, match="Bag, Ankle boot") as error:
        conditional.generate(label="ankle boots")
    assert error.value.hint == "Did you mean 'Ankle boot'?"
