"""ONNX files that others exported: recognised, wrapped, and compared with the original file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from foreign_generators import NZ, dense_nhwc, embedded_bytes, export_onnx, net_g, write_onnx
from hub_server import DEPRECATED, WRITER
from onnx import numpy_helper
from servers import running

from gan_serve import Generator
from gan_serve.checkpoint.files import read_json, verify_checkpoint
from gan_serve.errors import ExportRefused, ImportRefused, InvalidOption
from gan_serve.exports.imports.import_generator import import_generator
from gan_serve.exports.imports.onnx_file import OriginalFile, read_onnx
from gan_serve.exports.imports.options import ImportOptions
from gan_serve.exports.parity import compare_with
from gan_serve.exports.rewrite import optimize
from gan_serve.exports.to_onnx import serialize
from gan_serve.sampling.latents import latents_from_seeds

pytestmark = pytest.mark.usefixtures("fewer_images")


@pytest.fixture(scope="module")
def dcgan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator of PyTorch's DCGAN example, as torch exports it: latents [N, 100, 1, 1]."""
    return export_onnx(net_g(), tmp_path_factory.mktemp("onnx") / "netG.onnx", torch.zeros(2, NZ, 1, 1))


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    source = dense_nhwc(folder / "dense.onnx")
    options = ImportOptions(class_names=("red", "green", "blue"))
    return import_generator(source, folder / "dense", license="mit", options=options).directory


def run_original(path: Path, **inputs: np.ndarray) -> np.ndarray:
    [images] = onnxruntime.InferenceSession(path).run(None, inputs)
    return images


def test_the_checkpoint_computes_what_the_file_does(imported):
    config = verify_checkpoint(imported)
    assert (config.z_dim, config.class_names, config.img_resolution) == (5, ("red", "green", "blue"), 6)
    images = Generator.from_pretrained(imported).generate(seeds="0-9", label="blue", output="numpy")
    onehot = np.eye(3, dtype=np.float32)[[2] * 10]
    expected = run_original(imported.parent / "dense.onnx", latent=latents_from_seeds(range(10), 5), class_id=onehot)
    assert np.abs(images - expected * 255).max() <= 1
    parity = read_json(imported, config, "parity.json")
    assert parity["reference"] == "the original ONNX file"
    assert parity["max_difference"] <= 1
    assert "generator.int8.onnx" in config.files or "int8" in parity["refused"]
    model = onnx.load(imported / "generator.onnx")
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]


@pytest.mark.slow  # every day in test_import_torch.py
@pytest.mark.filterwarnings(DEPRECATED)
def test_it_is_served_pushed_and_pulled(imported, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    Generator.from_pretrained(imported).push_to_hub("somebody/dense")
    pulled = Generator.from_pretrained("somebody/dense").generate(seed=3, label="red", output="numpy")
    assert (pulled == Generator.from_pretrained(imported).generate(seed=3, label="red", output="numpy")).all()
    with running([str(imported)], tmp_path) as client:
        response = client.post("/sample", json={"model": "dense", "seed": 3, "label": "red"})
        assert response.status_code == 200, response.text


def wrap(path: Path, **options: object) -> tuple[bytes, OriginalFile, tuple[str, ...]]:
    """The fp32 file that an import would write, the original, and what was recognised."""
    plain, original, taken = read_onnx(path.read_bytes(), path.name, ImportOptions(**options))
    optimize(plain)
    return serialize(plain), original, taken


def test_a_map_of_latents_and_a_tanh_are_recognised(dcgan):
    model, original, taken = wrap(dcgan)
    assert compare_with(model, original).max_difference <= 1
    assert original.pixel_range == "tanh"
    assert "[N, 100, 1, 1], normal" in taken[0]
    assert "BatchNormalization" not in {node.op_type for node in onnx.load_from_string(model).graph.node}
    latents = latents_from_seeds(range(4), NZ)
    with torch.no_grad():
        expected = net_g()(torch.from_numpy(latents)[:, :, None, None]).permute(0, 2, 3, 1).numpy()
    assert np.abs(original.images({"z": latents}) - (expected + 1) * 127.5).max() <= 1


def test_a_file_for_one_image_takes_any_number_afterwards(tmp_path):
    """Index labels, int32 [1, 1]; images uint8."""
    model, original, taken = wrap(embedded_bytes(tmp_path / "bytes.onnx"))
    assert compare_with(model, original).batch_invariant
    assert (original.c_dim, original.pixel_range) == (7, "bytes")
    assert "of 7 classes; the file does not name the classes" in taken[2]
    assert "batches of 1" in taken[3]


def test_a_fixed_batch_of_torch_takes_any_number_afterwards(tmp_path):
    path = export_onnx(net_g(nc=1), tmp_path / "one.onnx", torch.zeros(1, NZ, 1, 1), free=False)
    model, original, _ = wrap(path)
    assert original.signature.batch == 1
    assert compare_with(model, original).max_difference <= 1


def test_latents_that_are_uniform_are_converted(tmp_path):
    path = dense_nhwc(tmp_path / "dense.onnx")
    model, original, _ = wrap(path, latents="uniform")
    assert compare_with(model, original).max_difference <= 1
    z = latents_from_seeds(range(3), 5)
    uniform = torch.erf(torch.from_numpy(z) / 2**0.5).numpy()
    expected = run_original(path, latent=uniform, class_id=np.eye(3, dtype=np.float32))
    assert np.abs(original.images({"z": z, "c": np.arange(3)}) - expected * 255).max() <= 1


def test_what_is_not_recognised_is_named_with_the_option(tmp_path, dcgan):
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[n, 4] a, float[n, 4] b) => (float[n, 1, 2, 2] x) { s = Add(a, b) x = Reshape(s, shape) }"""
    path = write_onnx(tmp_path / "two.onnx", text, {"shape": np.array([-1, 1, 2, 2], np.int64)})
    with pytest.raises(ImportRefused, match=r"not recognised as latents and labels: a \[0, 4\], b .*--z-input"):
        wrap(path)
    with pytest.raises(InvalidOption, match="There is no input in two"):
        wrap(path, z_input="q")
    with pytest.raises(ImportRefused, match=r"have values from .*--range"):
        wrap(path, z_input="a", c_input="b")
    model, original, _ = wrap(path, z_input="a", c_input="b", pixel_range="unit")
    assert compare_with(model, original).max_difference <= 1
    with pytest.raises(InvalidOption, match="has no input for labels"):
        wrap(dcgan, class_names=("a", "b"))


def test_an_original_that_differs_is_refused(tmp_path, dcgan):
    other = onnx.load(dcgan)
    weight = next(tensor for tensor in other.graph.initializer if len(tensor.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    onnx.save(other, tmp_path / "other.onnx")
    model, _, _ = wrap(tmp_path / "other.onnx")
    _, original, _ = wrap(dcgan)
    with pytest.raises(ExportRefused, match="differs from the original ONNX file"):
        compare_with(model, original)
