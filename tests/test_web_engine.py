"""gan-serve.js in Node, beside Python: the same latents, pixels, receipts and errors."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from conditional_checkpoint import write_conditional
from onnx import TensorProto, helper
from tiny_translator import write_translator
from web_engine import run_node

from gan_serve import Generator, list_models
from gan_serve.checkpoint.bundled import BUNDLED
from gan_serve.checkpoint.config import precisions
from gan_serve.checkpoint.files import config_json, copy_checkpoint, digest_files, read_config
from gan_serve.images.compare import describe_mismatch
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.service.page import FOLDER
from gan_serve.verify import verify_image

SEEDS = [*range(14), 4242, 2**32 - 1]
NETWORKS = [(name, precision) for name in list_models() for precision in precisions(read_config(BUNDLED / name))]
EVERY_DAY = ("fashion-stylegan", "fp32")  # other tests compare images of fashion-cgan and load an int8 file


def mismatch(path: Path, expected: np.ndarray, precision: str) -> str:
    """Return how raw pixels in a file differ from Python's beyond promise 1; empty if they do not."""
    return describe_mismatch(np.frombuffer(path.read_bytes(), np.uint8).reshape(expected.shape), expected, precision)


@pytest.mark.parametrize(
    ("model", "precision"),
    [pytest.param(*network, marks=() if network == EVERY_DAY else pytest.mark.slow) for network in NETWORKS],
)
def test_the_pixels_of_every_checkpoint_and_precision_are_those_of_python(
    model: str, precision: str, tmp_path: Path
) -> None:
    script = f"""
    const g = await Generator.load({json.dumps(str(BUNDLED / model))}, {{ ort, precision: "{precision}" }});
    save("seeds", (await g.generate({{ seeds: {SEEDS} }})).data);
    save("truncated", (await g.generate({{ seeds: "3-6", truncation: 0.55 }})).data);
    save("moved", (await g.generate({{ seeds: "3-6", offsets: [1.5, -2] }})).data);
    save("walk", (await g.interpolate("5,9,2", {{ steps: 3, loop: true }})).data);
    """
    run_node(tmp_path, script)
    g = Generator.from_pretrained(model, precision=precision)
    expected = {
        "seeds": g.generate(seeds=SEEDS, output="numpy"),
        "truncated": g.generate(seeds="3-6", truncation=0.55, output="numpy"),
        "moved": g.generate(seeds="3-6", offsets=[1.5, -2], output="numpy"),
        "walk": g.interpolate("5,9,2", steps=3, loop=True, output="numpy"),
    }
    assert {name: mismatch(tmp_path / name, pixels, precision) for name, pixels in expected.items()} == dict.fromkeys(
        expected, ""
    )


def test_a_conditional_network_that_truncates_by_itself_gets_labels_and_psi(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write_conditional(folder)
    model = onnx.load(folder / "generator.onnx")
    [at] = [index for index, node in enumerate(model.graph.node) if list(node.output) == ["z_image"]]
    model.graph.node[at].output[0] = "plain"
    model.graph.node.insert(at + 1, helper.make_node("Reshape", ["psi", "shape"], ["psi_image"]))
    model.graph.node.insert(at + 2, helper.make_node("Mul", ["plain", "psi_image"], ["z_image"]))
    model.graph.input.append(helper.make_tensor_value_info("psi", TensorProto.FLOAT, ["N"]))
    onnx.save(model, folder / "generator.onnx")
    config = read_config(folder)
    changed = config.model_copy(update={"files": digest_files(folder), "truncation_space": "w"})
    (folder / "config.json").write_bytes(config_json(changed))
    script = f"""
    const g = await Generator.load({json.dumps(str(folder))}, {{ ort }});
    save("pixels", (await g.generate({{ seeds: "0-7", label: "Ankle boot", truncation: 0.5 }})).data);
    """
    run_node(tmp_path, script)
    expected = Generator.from_pretrained(folder).generate(
        seeds="0-7", label="Ankle boot", truncation=0.5, output="numpy"
    )
    assert not mismatch(tmp_path / "pixels", expected, "fp32")


def test_latents_are_those_of_numpy_bit_for_bit(tmp_path: Path) -> None:
    seeds = list(range(0, 2**32, 2**32 // 256))
    script = f"""
    const g = await Generator.load({json.dumps(str(BUNDLED / "mnist-cgan"))}, {{ ort, precision: "int8" }});
    const {{ latents }} = await g.interpolate({seeds}, {{ steps: 1 }});
    save("latents", new Uint8Array(Float32Array.from(latents.flatMap((row) => [...row])).buffer));
    """
    run_node(tmp_path, script)
    found = np.frombuffer((tmp_path / "latents").read_bytes(), np.float32).reshape(len(seeds), -1)
    assert np.array_equal(found, latents_from_seeds(seeds, found.shape[1]))


def test_pngs_pass_verify_and_archives_hold_the_same_images(tmp_path: Path) -> None:
    script = f"""
    const g = await Generator.load({json.dumps(str(BUNDLED / "fashion-cgan"))}, {{ ort }});
    const images = await g.generate({{ seeds: "7-9", label: ["Sneaker", 0, "T-shirt/top"], truncation: 0.00005 }});
    save("one.png", await images.png(1));
    save("large.png", await images.png(0, {{ scale: 19 }}));
    save("grid.png", await images.gridPng({{ columns: 2, scale: 2 }}));
    save("all.zip", await images.zip({{ scale: 2 }}));
    save("all.npz", await images.npz());
    save("moved.png", await (await g.generate({{ seed: 4, offsets: [2.5] }})).png());
    save("walk.png", await (await g.interpolate([1, 5], {{ steps: 4, label: "Bag" }})).gridPng());
    report(await images.receipt(1));
    """
    receipt = run_node(tmp_path, script)
    for name in ("one.png", "large.png", "grid.png", "moved.png", "walk.png"):
        verify_image(tmp_path / name)
    assert receipt["seed"] == 8
    assert receipt["label"] == "T-shirt/top"
    assert re.fullmatch(r"[\d.]+ \(web\)", receipt["runtime"])
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "zip")
    for path in sorted((tmp_path / "zip").iterdir()):
        assert verify_image(path).receipt.scale == 2
    arrays = np.load(tmp_path / "all.npz")
    assert arrays["images"].shape == (3, 28, 28, 1)
    assert arrays["seeds"].tolist() == [7, 8, 9]
    assert arrays["labels"].tolist() == ["Sneaker", "T-shirt/top", "T-shirt/top"]


def test_a_changed_network_and_a_wrong_golden_sample_are_refused(tmp_path: Path) -> None:
    changed = copy_checkpoint(BUNDLED / "mnist-cgan", tmp_path / "changed")
    network = bytearray((changed / "generator.int8.onnx").read_bytes())
    network[len(network) // 2] ^= 1
    (changed / "generator.int8.onnx").write_bytes(network)
    wrong = copy_checkpoint(BUNDLED / "mnist-cgan", tmp_path / "wrong")
    config = read_config(wrong)
    golden = config.golden_sample.model_copy(update={"seed": config.golden_sample.seed + 1})
    (wrong / "config.json").write_bytes(config_json(config.model_copy(update={"golden_sample": golden})))
    script = """
    const codes = [];
    for (const folder of ["changed", "wrong", "missing"]) {
      await Generator.load(folder, { ort, precision: "int8" }).catch((error) => codes.push(error.code));
    }
    report(codes);
    """
    codes = run_node(tmp_path, script)
    assert codes == ["digest_mismatch", "golden_sample_mismatch", "invalid_checkpoint"]


def test_a_translator_is_refused(tmp_path: Path) -> None:
    write_translator(tmp_path / "negative")
    script = 'await Generator.load("negative", { ort }).catch((error) => report(error.message));'
    assert run_node(tmp_path, script) == "negative translates images and does not generate them."


def test_what_python_refuses_is_refused_with_its_code(tmp_path: Path) -> None:
    expected = {
        '{ seeds: "3-1" }': "invalid_seeds",
        "{ seeds: [-1] }": "invalid_seeds",
        "{ seeds: [1], n: 2 }": "invalid_seeds",
        "{ n: 0 }": "too_many_images",
        "{ latents: [[1, 2]] }": "invalid_latents",
        "{ seeds: 1, offsets: [21] }": "invalid_option",
        '{ seeds: 1, label: "Cat" }': "unknown_label",
        "{ seeds: [1, 2], label: [0] }": "unknown_label",
        "{ seeds: 1, truncation: 1.5 }": "invalid_truncation",
    }
    script = f"""
    const g = await Generator.load({json.dumps(str(BUNDLED / "mnist-cgan"))}, {{ ort, precision: "int8" }});
    const errors = [];
    for (const options of [{", ".join(expected)}]) {{
      errors.push(await g.generate(options).then(() => ["accepted", "", ""], (e) => [e.code, e.message, e.hint]));
    }}
    report(errors);
    """
    errors = run_node(tmp_path, script)
    assert dict(zip(expected, [code for code, *_ in errors], strict=True)) == expected
    assert all(len(message) > 10 for _, message, _ in errors)


def test_the_types_name_every_member(tmp_path: Path) -> None:
    script = """
    const members = (type) => Object.getOwnPropertyNames(type.prototype).filter((name) => name !== "constructor");
    const types = { Generator: members(Generator), Images: members(engine.Images) };
    report({ types, exported: Object.keys(engine).sort(), version: engine.VERSION });
    """
    found = run_node(tmp_path, script)
    text = (FOLDER / "gan-serve.d.ts").read_text("utf-8")
    assert sorted(re.findall(r"^export (?:class|const) (\w+)", text, re.MULTILINE)) == found["exported"]
    for name, members in found["types"].items():
        [body] = re.findall(rf"^export class {name} {{(.*?)^}}", text, re.DOTALL | re.MULTILINE)
        declared = set(re.findall(r"^  (?:readonly )?(\w+)[(:]", body, re.MULTILINE))
        assert set(members) <= declared, set(members) - declared
