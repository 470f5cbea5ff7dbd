"""Folders that others wrote: training runs, feature extractors, and weights for fine-tuning."""

from __future__ import annotations

import hashlib
import io
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
from hostile_networks import ints
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save
from tiny_checkpoint import seal, write_checkpoint

from gan_serve.training.config import generator_arguments, make_config
from gan_serve.training.networks import build_generator
from gan_serve.training.run_info import DataInfo, RunInfo
from gan_serve.training.translation.examples import FILE, Examples, write_examples
from gan_serve.training.translation.settings import make_translation_config
from gan_serve.training.translation.step import build_translator

Make = Callable[[Path], Path]
BYTEARRAY = b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x5e\xd0\xb2\x00\x85R."  # bytearray(3_000_000_000)


def run(where: Path, **settings: Any) -> Path:
    """A whole run of a small network, with one snapshot."""
    config = make_config("dcgan-28", {"data": "images", "resolution": 8, "z_dim": 4, "width": 0.02} | settings)
    data = DataInfo(
        name="images", digest="sha256:" + "0" * 64, n=10, img_resolution=8, img_channels=1, class_names=(),
        license="", credit="", metrics={},
    )  # fmt: skip
    (where / "snapshots").mkdir(parents=True)
    (where / "config.json").write_text(config.model_dump_json())
    info = RunInfo(data=data, machines=("a machine",), gan_serve_version="1")
    (where / "run.json").write_text(info.model_dump_json())
    (where / "log.jsonl").write_text('{"kimg": 1.0, "quality": 5.0}\n')
    arguments = generator_arguments(config, img_channels=1, c_dim=0)
    state = {"ema": build_generator(config.family, **arguments).state_dict(), "shown": 1000, "seconds": 1.0}
    torch.save(state, where / "snapshots" / "kimg000001.000.pt")
    return where


def with_file(name: str, content: Callable[[], bytes]) -> Make:
    """A run in which one file has other content."""

    def make(where: Path) -> Path:
        (run(where / "run") / name).write_bytes(content())
        return where / "run"

    return make


def with_special_file(name: str, target: str) -> Make:
    """A run in which one file is a link to a device, or a pipe."""

    def make(where: Path) -> Path:
        path = run(where / "run") / name
        path.unlink()
        if target:
            path.symlink_to(target)
        else:
            os.mkfifo(path)
        return where / "run"

    return make


def wide(where: Path) -> Path:
    """A config of a network of terabytes, with the snapshot of a small one."""
    config = run(where / "run") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"width": 1e6}))
    return where / "run"


def packed(pickled: bytes, name: str = "archive/data.pkl", compression: int = zipfile.ZIP_STORED) -> bytes:
    """A file as torch.save writes it, with another pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(name, pickled)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
    return file.getvalue()


def translation_run(where: Path, settings: dict[str, Any] | None = None, **state: Any) -> Path:
    """A whole run of a small translator; ``settings`` of its config and the ``state`` of its snapshot may not fit."""
    run(where)
    config = make_translation_config("pix2pix", {"data": "images", "pairs": "edges", "resolution": 16, "ngf": 2})
    config = config.model_copy(update={"channels": 1, "in_channels": 1})
    weights = build_translator(config, 1, 1).state_dict()
    torch.save({"shown": 1, "seconds": 1.0, "averages": {"there": weights}} | state, where / SNAPSHOT)
    (where / "config.json").write_text(json.dumps(config.model_dump(mode="json") | (settings or {})))
    write_examples(where, Examples(*[np.zeros((2, 16, 16, 1), np.uint8)] * 2))
    return where


def with_examples(content: Callable[[], bytes] | None) -> Make:
    """A translator's run with other examples; None: a pipe."""

    def make(where: Path) -> Path:
        path = translation_run(where / "run") / FILE
        path.unlink()
        if content is None:
            os.mkfifo(path)
        else:
            path.write_bytes(content())
        return where / "run"

    return make


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def claims_931_gib() -> bytes:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000, 1), }".ljust(117) + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("inputs.npy", "targets.npy"):
            archive.writestr(name, b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    return file.getvalue()


SNAPSHOT = "snapshots/kimg000001.000.pt"
RUNS: dict[str, tuple[Make, str]] = {  # how each is made, and its error
    "config.json is /dev/zero": (with_special_file("config.json", "/dev/zero"), "not the config"),
    "config.json is a pipe": (with_special_file("config.json", ""), "not the config"),
    "config.json of a network of terabytes": (wide, "does not fit the run's config"),
    "run.json is /dev/zero": (with_special_file("run.json", "/dev/zero"), "is damaged"),
    "run.json is a pipe": (with_special_file("run.json", ""), "is damaged"),
    "run.json of 20 million lists": (with_file("run.json", lambda: b"[" + b"[]," * 20_000_000 + b"[]]"), "is damaged"),
    "run.json that is nested 100,000 deep": (with_file("run.json", lambda: b"[" * 100_000), "is damaged"),
    "snapshot is /dev/zero": (with_special_file(SNAPSHOT, "/dev/zero"), "not a regular file"),
    "snapshot is a pipe": (with_special_file(SNAPSHOT, ""), "not a regular file"),
    "snapshot with a bytearray of 3 GB": (with_file(SNAPSHOT, lambda: packed(BYTEARRAY)), "bytearray"),
    "snapshot that is compressed": (
        with_file(SNAPSHOT, lambda: packed(bytes(300_000_000), compression=zipfile.ZIP_DEFLATED)), "unpacks to more",
    ),
    "snapshot of text": (with_file(SNAPSHOT, lambda: b"<html>"), "damaged, or no file of torch.save"),
    "snapshot without numbers": (with_file(SNAPSHOT, lambda: packed(pickle.dumps({}, 2))), "is not a snapshot"),
    "snapshot without weights": (
        with_file(SNAPSHOT, lambda: packed(pickle.dumps({"shown": 1, "seconds": 1}, 2))), "does not fit the run's",
    ),
    "snapshot with numbers for weights": (
        with_file(SNAPSHOT, lambda: packed(pickle.dumps({"shown": 1, "seconds": 1, "ema": {"a": 1}}, 2))),
        "does not fit the run's",
    ),
}  # fmt: skip

TRANSLATION_RUNS: dict[str, tuple[Make, str]] = {
    "translator of a million channels": (
        lambda where: translation_run(where / "run", {"ngf": 10**6}), "does not fit the run's config",
    ),
    "translator of a billion blocks": (
        lambda where: translation_run(where / "run", {"family": "resnet", "blocks": 10**9}), "is not the config",
    ),
    "translator without weights": (lambda where: translation_run(where / "run", averages=5), "does not fit the run's"),
    "translator of numbers": (
        lambda where: translation_run(where / "run", averages={"there": {"a": 1}}), "does not fit the run's",
    ),
    "examples of 931 GiB": (with_examples(claims_931_gib), "examples.npz is damaged"),
    "examples of another size": (
        with_examples(lambda: npz(inputs=np.zeros((2, 9, 9, 1), np.uint8), targets=np.zeros((2, 9, 9, 1), np.uint8))),
        "examples.npz is damaged",
    ),
    "examples of text": (with_examples(lambda: b"PK\3\4 no zip"), "examples.npz is damaged"),
    "examples are a pipe": (with_examples(None), "examples.npz is damaged"),
}  # fmt: skip

LOGS: dict[str, tuple[Make, str]] = {  # the error, empty where the rest of the log is read
    "log.jsonl is /dev/zero": (with_special_file("log.jsonl", "/dev/zero"), "cannot be read"),
    "log.jsonl is a pipe": (with_special_file("log.jsonl", ""), "cannot be read"),
    "log.jsonl of 20 million lists": (with_file("log.jsonl", lambda: b"[" + b"[]," * 20_000_000), "more than"),
    "log.jsonl with text for numbers": (
        with_file(
            "log.jsonl",
            lambda: b'{"kimg": "x"}\n{"kimg": NaN}\n{"kimg": 2, "quality": "x"}\n' + b"[" * 100_000
            + b'\n\xff\xfe\n{"kimg": 1, "quality": 5}\n',
        ),
        "",
    ),
}  # fmt: skip


def extractor(where: Path, model: onnx.ModelProto | None = None, **changes: Any) -> Path:
    """The folder of a feature extractor for gray images of 8x8, of 5 classes."""
    where = where / "extractor"
    where.mkdir()
    content = (model or extractor_network()).SerializeToString()
    (where / "extractor.onnx").write_bytes(content)
    info = {
        "name": "stranger", "img_resolution": 8, "img_channels": 1, "class_names": list("abcde"), "attributes": False,
        "accuracy": 0.9, "accuracy_by_class": {}, "held_out": "", "data": "", "data_digest": "", "credit": "",
        "license": "", "command": "", "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    (where / "extractor.json").write_text(json.dumps(info | changes))
    return where


def extractor_network(*nodes: onnx.NodeProto, features: int = 128, **constants: np.ndarray) -> onnx.ModelProto:
    """features and logits as products of the pixels; ``nodes`` compute ``extra``, which is added to the features."""
    values = {
        "flat": ints(-1, 64), "to_features": np.ones((64, features), np.float32),
        "to_logits": np.ones((features, 5), np.float32), "extra": np.zeros(1, np.float32), **constants,
    }  # fmt: skip
    if nodes:
        del values["extra"]
    own = [
        helper.make_node("Cast", ["img"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["values", "flat"], ["rows"]),
        *nodes,
        helper.make_node("MatMul", ["rows", "to_features"], ["sums"]),
        helper.make_node("Add", ["sums", "extra"], ["features"]),
        helper.make_node("MatMul", ["features", "to_logits"], ["logits"]),
    ]
    graph = helper.make_graph(
        own, "extractor", [helper.make_tensor_value_info("img", TensorProto.UINT8, ["N", 8, 8, 1])],
        [helper.make_tensor_value_info("features", 1, ["N", features]),
         helper.make_tensor_value_info("logits", 1, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def large_extractor(where: Path) -> Path:
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["extra"], keepdims=1),
    ]
    return extractor(where, extractor_network(*nodes, size=ints(750_000_000)))


def extractor_file(name: str, target: str) -> Make:
    def make(where: Path) -> Path:
        path = extractor(where) / name
        path.unlink()
        if target:
            path.symlink_to(target)
        else:
            os.mkfifo(path)
        return path.parent

    return make


EXTRACTORS: dict[str, tuple[Make, str]] = {
    "extractor.json is /dev/zero": (extractor_file("extractor.json", "/dev/zero"), "no feature extractor"),
    "extractor.onnx is a pipe": (extractor_file("extractor.onnx", ""), "no feature extractor"),
    "extractor for images of a million pixels a side": (
        lambda where: extractor(where, img_resolution=10**6), "no feature extractor",
    ),
    "extractor with an escape sequence as its name": (
        lambda where: extractor(where, name="\x1b[31m"), "no feature extractor",
    ),
    "extractor that takes 3 GB": (large_extractor, "constants of more than"),
    "extractor of other features": (
        lambda where: extractor(where, extractor_network(features=7)), "requires",
    ),
}  # fmt: skip


def weights(where: Path, family: str = "dcgan", **arguments: Any) -> Path:
    """A checkpoint with a small file of weights, and these arguments of its network."""
    directory = write_checkpoint(where / "checkpoint")
    (directory / "generator.safetensors").write_bytes(save({"layers.dense.weight": torch.zeros(4, 4)}))
    given = {"z_dim": 50, "img_resolution": 32, "img_channels": 1} | arguments
    return seal(directory, architecture={"family": family, "arguments": given})


WEIGHTS: dict[str, tuple[Make, str]] = {
    "weights of a network of terabytes": (lambda where: weights(where, width=1e6), "does not have the weights"),
    "weights of a network of 10^300 channels": (lambda where: weights(where, width=1e300), "does not have the weights"),
    "weights of a network of text": (lambda where: weights(where, width="wide"), "does not have the weights"),
    "weights of a network of a billion layers": (
        lambda where: weights(where, "stylegan", mapping_layers=10**9), "mapping_layers",
    ),
    "weights for images of another size": (lambda where: weights(where, img_resolution=2**40), "another img_resol"),
    "weights with an argument that is an escape sequence": (
        lambda where: weights(where, **{"\x1b[31m": 1}), "which this gan-serve does not know",
    ),
}  # fmt: skip
