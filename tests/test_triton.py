"""A checkpoint in Triton's form: read by protobuf with Triton's own schema. crosscheck_triton.py asks Triton itself."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from conditional_checkpoint import write_conditional
from google.protobuf import text_format
from tiny_translator import SIDE, write_translator

from gan_serve import Generator
from gan_serve.checkpoint.files import read_config
from gan_serve.errors import CannotWrite, InvalidOption, UnknownModel
from gan_serve.sampling.request import RequestBuilder
from gan_serve.triton import export_triton, triton_config


@pytest.fixture(scope="module")
def schema() -> ModuleType:
    """Triton's model_config.proto, which its client carries; the rest of it needs gRPC: one file is loaded."""
    client = importlib.util.find_spec("tritonclient")
    if client is None or client.origin is None:
        pytest.skip("tritonclient is not installed")
    path = Path(client.origin).parent / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # protobuf remarks that the file is of an older protobuf
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def conditional(tmp_path: Path) -> Path:
    (tmp_path / "checkpoint").mkdir()
    return write_conditional(tmp_path / "checkpoint", ('a "b"\\', "Ärmel 猫"))


def parse(schema: ModuleType, text: str) -> Any:
    return text_format.Parse(text, schema.ModelConfig())


def shape(tensor: Any) -> list[int]:
    """Shapes of the inputs and outputs of the network, without the batch."""
    return list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)


@pytest.mark.parametrize("model", ["fashion-dcgan", "conditional"])
def test_the_configuration_describes_the_network(schema, model, tmp_path, request):
    source = request.getfixturevalue("conditional") if model == "conditional" else model
    directory = export_triton(source, tmp_path / "repository", max_batch_size=32, instances=2)
    assert directory == tmp_path / "repository" / model
    config = parse(schema, (directory / "config.pbtxt").read_text())
    assert (config.name, config.backend, config.max_batch_size) == (model, "onnxruntime", 32)
    assert config.instance_group[0].count == 2
    assert config.HasField("dynamic_batching")
    session = onnxruntime.InferenceSession(directory / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    kinds = {schema.TYPE_FP32: "tensor(float)", schema.TYPE_INT64: "tensor(int64)", schema.TYPE_UINT8: "tensor(uint8)"}
    for told, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert {tensor.name: (kinds[tensor.data_type], shape(tensor)) for tensor in told} == {
            value.name: (value.type, value.shape[1:]) for value in real
        }
        assert all(len(tensor.dims) for tensor in told)  # Triton refuses none


def test_the_network_is_the_checkpoints_and_draws_its_images(tmp_path, conditional):
    directory = export_triton(conditional, tmp_path)
    session = onnxruntime.InferenceSession(directory / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    generator = Generator.from_pretrained(conditional)
    plan = generator.sample_request(5, seed=3, truncation=0.5)
    np.testing.assert_array_equal(session.run(["img"], plan.inputs())[0], generator.run(plan))


def test_clients_are_told_what_the_model_is(schema, tmp_path, conditional):
    config = parse(schema, (export_triton(conditional, tmp_path) / "config.pbtxt").read_text())
    facts = {key: value.string_value for key, value in config.parameters.items()}
    assert facts["gan_serve_digest"] == Generator.from_pretrained(conditional).digest
    assert json.loads(facts["class_names"]) == ['a "b"\\', "Ärmel 猫"]
    assert (facts["precision"], facts["license"], facts["intra_op_thread_count"]) == ("fp32", "mit", "1")


def test_a_network_that_truncates_in_w_is_given_psi(schema, checkpoint):
    in_w = read_config(checkpoint).model_copy(update={"truncation_space": "w"})
    config = parse(schema, triton_config(RequestBuilder(in_w), 'na"me', 1, 1))
    assert config.name == 'na"me'
    assert [(tensor.name, list(tensor.dims), shape(tensor)) for tensor in config.input] == [
        ("z", [100], [100]),
        ("psi", [1], []),
    ]


def test_models_share_a_repository_and_none_is_overwritten(tmp_path):
    export_triton("fashion-dcgan", tmp_path)
    export_triton("fashion-dcgan", tmp_path, name="second")
    before = (tmp_path / "second" / "config.pbtxt").read_bytes()
    with pytest.raises(CannotWrite, match="already exists"):
        export_triton("fashion-dcgan", tmp_path, name="second", max_batch_size=1)
    assert (tmp_path / "second" / "config.pbtxt").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fashion-dcgan", "second"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "é", ".hidden", "a\n"])
def test_names_that_triton_cannot_have_are_refused(tmp_path, name):
    with pytest.raises(InvalidOption):
        export_triton("fashion-dcgan", tmp_path, name=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"max_batch_size": 0}, {"instances": 0}, {"precision": "int4"}])
def test_options_out_of_range_are_refused(tmp_path, options):
    with pytest.raises(InvalidOption):
        export_triton("fashion-dcgan", tmp_path / "repository", **options)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_the_folder_and_says_where(cli, tmp_path, schema):
    outcome = cli("export-triton", "fashion-dcgan", "--out", tmp_path, "--name", "clothes", "--max-batch-size", 8)
    assert outcome == (0, f"{tmp_path / 'clothes'}\n", "")
    assert parse(schema, (tmp_path / "clothes" / "config.pbtxt").read_text()).max_batch_size == 8
    assert cli("export-triton", "fashion-dcgan", "--out", tmp_path, "--name", "clothes").code == 1


def test_an_unknown_model_leaves_no_repository(tmp_path):
    with pytest.raises(UnknownModel):
        export_triton("fashion-dcgam", tmp_path / "repository")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("any_size", [False, True])
def test_a_translator_takes_images(schema, tmp_path, any_size):
    source = write_translator(tmp_path / "translator", any_size=any_size)
    directory = export_triton(source, tmp_path / "repository")
    config = parse(schema, (directory / "config.pbtxt").read_text())
    side = -1 if any_size else SIDE
    assert [tensor.name for tensor in (*config.input, *config.output)] == ["x", "img"]
    assert [shape(tensor) for tensor in (*config.input, *config.output)] == [[side, side, 3]] * 2
    assert (directory / "1" / "model.onnx").read_bytes() == (source / "generator.onnx").read_bytes()
