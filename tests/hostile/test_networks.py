"""A stranger's network is refused before it takes memory or time, with one error that says why."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import hostile_networks
import numpy as np
import onnx
import pytest
from disguised_networks import DISGUISED, only_five_images, size_by_the_crossover
from hostile_networks import NETWORKS, write
from measured import measure
from onnx import helper
from tiny_checkpoint import network

from gan_serve import Generator, InvalidCheckpoint, list_models
from gan_serve.checkpoint import network_cost as network_cost_module
from gan_serve.checkpoint import operators
from gan_serve.checkpoint.config import PRECISION_FILES, precisions
from gan_serve.checkpoint.files import read_config
from gan_serve.checkpoint.network_cost import LOWEST_OPSET, NetworkBounds, network_cost
from gan_serve.checkpoint.operator_attributes import ATTRIBUTES, attributes_in
from gan_serve.checkpoint.operators import OPERATORS
from gan_serve.hub.resolve import resolve
from gan_serve.sampling import golden_sample

ALL = {**NETWORKS, **DISGUISED, size_by_the_crossover: "depends on"}
HEAVY = ("constant_of_shape", "tiles", "sleeper", "images_times_images", "one_pixel")


@pytest.mark.parametrize("build", ALL, ids=lambda build: build.__name__)
def test_a_hostile_network_is_one_clear_error(tiny, build):
    with pytest.raises(InvalidCheckpoint, match=ALL[build]) as error:
        Generator.from_pretrained(write(tiny, build()))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("name", [HEAVY[0], *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY[1:])])
def test_it_takes_little_memory(tiny, name):
    measured = measure("load", write(tiny, getattr(hostile_networks, name)()))
    assert measured.error == "InvalidCheckpoint"
    assert measured.megabytes < 100


def test_a_small_part_of_the_networks_of_the_package_is_all_that_is_needed():
    for name in list_models():
        config = read_config(resolve(name))
        for precision in precisions(config):
            content = (resolve(name) / PRECISION_FILES[precision]).read_bytes()
            example = {"z": (1, config.z_dim), "c": (1,), "psi": (1,)}
            side = config.img_resolution
            assert NetworkBounds(content, example).largest_batch((side, side, config.img_channels), 16) == 16
            assert network_cost(content, example).peak < 2**21


@pytest.mark.parametrize("name", ["If", "Loop", "Scan", "RandomNormal", "NonZero", "Compress", "Unique", "Multinomial"])
def test_nothing_without_a_bound_is_in_the_list(name):
    assert name not in OPERATORS


def test_each_operator_of_the_list_is_one_of_onnx():
    assert all(onnx.defs.has(name) for name in OPERATORS)


def test_the_shapes_are_those_of_onnx():
    """Against the inference of the package onnx, for the networks of the package."""
    for name in list_models():
        model = onnx.load(resolve(name) / "generator.onnx")
        sizes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.input}
        example = {key: (3, *shape[1:]) for key, shape in sizes.items()}
        cost = network_cost(model.SerializeToString(), example)
        output = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape
        assert cost.output == (3, *(d.dim_value for d in output.dim[1:]))


def test_images_of_another_dtype_are_refused(tiny):
    model = network()
    model.graph.node[-1].attribute[0].CopyFrom(helper.make_attribute("to", onnx.TensorProto.INT8))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    with pytest.raises(InvalidCheckpoint, match="inputs"):
        Generator.from_pretrained(write(tiny, model))


def test_a_golden_sample_that_takes_too_long_is_ended(tiny, monkeypatch):
    """Ended between two nodes: the network has many."""
    monkeypatch.setattr(golden_sample, "GOLDEN_SECONDS", 0.3)
    names = ["product0", *(f"product{i}" for i in range(1, 12))]
    nodes = [helper.make_node("MatMul", [a, a], [b]) for a, b in itertools.pairwise(names)]
    first = [
        helper.make_node("ReduceMax", ["z"], ["most"], keepdims=1),
        helper.make_node("Expand", ["most", "size"], ["product0"]),
    ]
    model = hostile_networks.with_nodes(*first, *nodes, constants={"size": np.array([2500, 2500], np.int64)})
    model = hostile_networks.added_to_grey(model, names[-1])
    with pytest.raises(InvalidCheckpoint, match="golden sample in"):
        Generator.from_pretrained(write(tiny, model))


def test_a_network_that_computes_with_the_number_of_images_is_checked_for_each(tiny):
    generator = Generator.from_pretrained(write(tiny, only_five_images()))
    assert len(generator.generate(4)) == 4
    with pytest.raises(InvalidCheckpoint, match="grows faster"):
        generator.generate(5)
    assert len(generator.generate(16)) == 16
    with pytest.raises(InvalidCheckpoint, match="grows faster"):
        generator.generate(16 + 5)


def test_the_attributes_that_are_read_are_those_of_each_opset():
    """Against the schemas of the package onnx."""
    for name, attributes in ATTRIBUTES.items():
        read = {re.split("[<>]", attribute)[0] for attribute in attributes.split()}
        for opset in range(LOWEST_OPSET, onnx.defs.onnx_opset_version() + 1):
            try:
                known = set(onnx.defs.get_schema(name, opset, "").attributes)
            except onnx.defs.SchemaError:  # the operator is a later one
                continue
            assert attributes_in(name, opset) == read & known, (name, opset)


def test_a_rule_reads_no_other_attribute():
    source = Path(operators.__file__).read_text() + Path(network_cost_module.__file__).read_text()
    read = set(re.findall(r"""(?:attributes|get)(?:\.get)?[\[(]"(\w+)""", source))
    assert read <= {re.split("[<>]", each)[0] for entry in ATTRIBUTES.values() for each in entry.split()}
