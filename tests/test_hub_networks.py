"""Networks that would reach outside their file, or that are no networks: real ONNX files, built to be refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_checkpoint import SIDE, Z_DIM, network, seal

from gan_serve import Generator, InvalidCheckpoint
from gan_serve.checkpoint.self_contained import MAX_FIELDS, check_self_contained


def loaded(directory: Path, model: onnx.ModelProto | bytes) -> Generator:
    """Return the error for a checkpoint with this network and a correct digest."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    (directory / "generator.onnx").write_bytes(content)
    return Generator.from_pretrained(seal(directory))


def outside(location: str) -> TensorProto:
    """A tensor like the weight of the tiny network, kept in another file."""
    tensor = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[Z_DIM, SIDE * SIDE])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(Z_DIM * SIDE * SIDE * 4)}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.mark.parametrize("where", ["beside", "above", "absolute"])
def test_external_data_is_refused_wherever_it_lies(tiny, tmp_path, monkeypatch, where):
    monkeypatch.chdir(tiny)
    for path in (tiny / "secret.bin", tmp_path / "secret.bin"):
        path.write_bytes(bytes(Z_DIM * SIDE * SIDE * 4))
    location = {"beside": "secret.bin", "above": "../secret.bin", "absolute": str(tmp_path / "secret.bin")}[where]
    model = network()
    model.graph.initializer[0].CopyFrom(outside(location))
    with pytest.raises(InvalidCheckpoint, match="tensors in other files"):
        loaded(tiny, model)


def hiding(kind: str) -> onnx.ModelProto:
    """The tiny network with external data in one of the places that may hold a tensor."""
    model, tensor = network(), outside("secret.bin")
    graph = helper.make_graph([], "inner", [], [], [tensor])
    node = model.graph.node.add(op_type="Identity", input=["z"], output=["unused"])
    sparse = onnx.SparseTensorProto(values=tensor, indices=tensor)
    match kind:
        case "constant":
            node.attribute.append(helper.make_attribute("value", tensor))
        case "list of tensors":
            node.attribute.append(helper.make_attribute("values", [tensor]))
        case "branch":
            node.attribute.append(helper.make_attribute("then_branch", graph))
        case "list of graphs":
            node.attribute.append(helper.make_attribute("graphs", [graph]))
        case "sparse constant":
            node.attribute.append(helper.make_attribute("sparse_value", sparse))
        case "sparse weight":
            model.graph.sparse_initializer.append(sparse)
        case "function":
            inner = helper.make_node("Constant", [], ["out"], value=tensor)
            model.functions.append(helper.make_function("", "F", [], ["out"], [inner], [helper.make_opsetid("", 20)]))
        case "default of a function":
            function = helper.make_function("", "F", [], [], [], [helper.make_opsetid("", 20)])
            function.attribute_proto.append(helper.make_attribute("value", tensor))
            model.functions.append(function)
        case "training":
            model.training_info.add().algorithm.CopyFrom(graph)
        case "location alone":
            model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    return model


@pytest.mark.parametrize(
    "kind",
    [
        "constant", "list of tensors", "branch", "list of graphs", "sparse constant", "sparse weight", "function",
        "default of a function", "training", "location alone",
    ],
)  # fmt: skip
def test_external_data_is_found_wherever_a_tensor_may_be(tiny, kind):
    with pytest.raises(InvalidCheckpoint, match="tensors in other files"):
        loaded(tiny, hiding(kind))


@pytest.mark.parametrize("domain", ["com.microsoft", "com.example.custom", "ai.onnx.ml", "ai.onnx\0"])
def test_an_operator_of_another_domain_is_refused_and_named(tiny, domain):
    model = network()
    model.opset_import.append(helper.make_opsetid(domain, 1))
    model.graph.node.append(helper.make_node("EPContext", ["z"], ["more"], domain=domain))
    with pytest.raises(InvalidCheckpoint, match="operators of the domain") as error:
        loaded(tiny, model)
    assert repr(domain) in error.value.message


def test_an_operator_in_a_branch_is_refused_too(tiny):
    model = network()
    inner = helper.make_graph([helper.make_node("Evil", [], ["out"], domain="com.example")], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["z"], ["more"], then_branch=inner, else_branch=inner))
    with pytest.raises(InvalidCheckpoint, match=r"'com\.example'"):
        loaded(tiny, model)


def test_a_file_in_the_format_of_onnx_runtime_is_refused(tiny):
    with pytest.raises(InvalidCheckpoint, match="own format"):
        loaded(tiny, b"\x10\0\0\0ORTM" + bytes(64))


@pytest.mark.parametrize(
    "content",
    [
        b"not a network",
        b"\0" * 64,
        b"\x3a\xff\xff\xff\xff\x0f",  # a graph that is longer than the file
        b"\x3a" + b"\x80" * 12,  # a length that never ends
        b"\x3b\x3c",  # a group, which ONNX never had
        b"\xba\x80\x80\x80\x90\x01\x00",  # the graph's tag with a bit that ONNX Runtime would not see
        b"\x3a",
    ],
)
def test_what_is_no_onnx_file_is_refused(tiny, content):
    with pytest.raises(InvalidCheckpoint, match="not an ONNX file"):
        loaded(tiny, content)


def test_a_file_of_tiny_fields_does_not_keep_a_processor_busy():
    with pytest.raises(InvalidCheckpoint, match="too many parts"):
        check_self_contained(b"\x08\x0a" * (MAX_FIELDS + 1))


def test_every_kind_of_field_is_passed_by():
    """Strings, floats, long lists and unknown fields are no reason to refuse a network."""
    model = network()
    model.doc_string, model.producer_name = "é" * 1000, "tests"
    model.metadata_props.add(key="k", value="v" * 300)
    model.graph.node[0].attribute.append(helper.make_attribute("alpha", 0.5))
    model.graph.node[0].attribute.append(helper.make_attribute("axes", [1, -1, 2**40]))
    model.graph.initializer.append(helper.make_tensor("floats", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(["text"], object), "strings"))
    check_self_contained(model.SerializeToString())


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        "",
        "a\\b",
        "C:x",
        "config.json",
        "a\nb",
        "a\0b",
        "*",
        "x\u202ey",
        ".git",
        "CONFIG.JSON",
        "NUL",
        "con.txt",
        "a.",
        "a ",
        "n" * 300 + "/",
    ],
)
def test_a_config_that_lists_files_elsewhere_is_refused(tiny, name):
    config = json.loads((tiny / "config.json").read_text())
    config["files"][name] = {"sha256": "0" * 64, "size": 1}
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidCheckpoint, match="file names must be plain") as error:
        Generator.from_pretrained(tiny)
    assert "n" * 50 not in error.value.message


def test_a_link_to_another_file_is_no_way_around_the_digest(tiny, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tiny / "README.md").unlink()
    (tiny / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(Exception, match=r"README\.md is not the file"):
        Generator.from_pretrained(tiny).save_pretrained(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
