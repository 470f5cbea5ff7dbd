"""gan-serve.js in Node, beside Python: the same latents, pixels, receipts and errors."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from conditional_checkpoint import write_conditional
from onnx import TensorProto, helper
from PIL import Image
from tiny_translator import write_translator
from web_engine import run_node

from gan_serve import Generator, Translator, list_models
from gan_serve.checkpoint.bundled import BUNDLED
from gan_serve.checkpoint.config import precisions
from gan_serve.checkpoint.files import config_json, copy_checkpoint, digest_files, read_any_config, read_config
from gan_serve.images.compare import describe_mismatch
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.service.page import FOLDER
from gan_serve.verify import verify_image

SEEDS = [*range(4), 4242, 2**32 - 1]
NETWORKS = [(name, precision) for name in list_models() for precision in precisions(read_config(BUNDLED / name))]
EVERY_DAY = ("fashion-stylegan", "fp32")  # other tests compare images of fashion-cgan and load an int8 file


def as_png(pixels: np.ndarray) -> bytes:
    """Return pixels uint8 [H, W, C], C of 1, 3 or 4, as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(out, "png")
    return out.getvalue()


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


def test_a_checkpoint_of_the_other_task_is_refused(tmp_path: Path) -> None:
    write_translator(tmp_path / "negative")
    script = f"""
    const errors = [];
    await Generator.load("negative", {{ ort }}).catch((error) => errors.push(error.message));
    const generator = {json.dumps(str(BUNDLED / "mnist-cgan"))};
    await Translator.load(generator, {{ ort }}).catch((error) => errors.push(error.message));
    report(errors);
    """
    assert run_node(tmp_path, script) == [
        "negative translates images and does not generate them.",
        "mnist-cgan generates images and does not translate them.",
    ]


TRANSLATORS = [
    (name, precision) for name in list_models("translate") for precision in precisions(read_any_config(BUNDLED / name))
]


@pytest.mark.parametrize(
    ("model", "precision"),
    [pytest.param(*one, marks=() if one == ("avatars-sr4", "fp32") else pytest.mark.slow) for one in TRANSLATORS],
)
def test_translations_are_those_of_python(model: str, precision: str, tmp_path: Path) -> None:
    """Of the size that the network takes, and of others, in gray, RGB and RGBA; the receipts verify."""
    random = np.random.RandomState(0)
    translator = Translator.from_pretrained(model, precision=precision)
    pictures = {
        "golden": translator.config.golden_sample.input_pixels(),
        "small": random.randint(0, 256, (23, 31, 3)).astype(np.uint8),
        "gray": np.kron(random.randint(0, 256, (9, 7, 1)), np.ones((16, 16, 1))).astype(np.uint8),
        "clear": np.kron(random.randint(0, 256, (5, 9, 4)), np.ones((20, 20, 1))).astype(np.uint8),
    }
    for name, pixels in pictures.items():
        (tmp_path / f"{name}.raw").write_bytes(pixels.tobytes())
        (tmp_path / f"{name}-in.png").write_bytes(as_png(pixels))
    sizes = {name: pixels.shape for name, pixels in pictures.items()}
    script = f"""
    const translator = await Translator.load({json.dumps(str(BUNDLED / model))}, {{ ort, precision: "{precision}" }});
    for (const [name, [height, width, channels]] of Object.entries({json.dumps(sizes)})) {{
      const picture = {{ data: readFileSync(`${{name}}.raw`), width, height, channels }};
      const translation = await translator.translate(picture);
      save(name, translation.data);
      save(`${{name}}.png`, await translation.png());
    }}
    """
    run_node(tmp_path, script)
    for name, pixels in pictures.items():
        expected = translator.translate(pixels, output="numpy")
        assert not mismatch(tmp_path / name, expected, precision), name
        verify_image(tmp_path / f"{name}.png", inputs=[tmp_path / f"{name}-in.png"])


def test_pictures_are_fitted_bit_for_bit_as_by_pillow(tmp_path: Path) -> None:
    translator = Translator(write_translator(tmp_path / "negative"))
    shapes = [(40, 40, 3), (16, 16, 3), (9, 33, 1), (70, 16, 4), (200, 300, 3)]
    pictures = [np.random.RandomState(1).randint(0, 256, shape).astype(np.uint8) for shape in shapes]
    for number, pixels in enumerate(pictures):
        (tmp_path / f"{number}.raw").write_bytes(pixels.tobytes())
    script = f"""
    const translator = await Translator.load("negative", {{ ort }});
    for (const [number, [height, width, channels]] of {json.dumps(shapes)}.entries()) {{
      const picture = {{ data: readFileSync(`${{number}}.raw`), width, height, channels }};
      save(`${{number}}`, (await translator.translate(picture)).data);
    }}
    """
    run_node(tmp_path, script)
    for number, pixels in enumerate(pictures):
        [expected] = translator.translate(pixels, output="numpy")
        found = np.frombuffer((tmp_path / str(number)).read_bytes(), np.uint8)
        np.testing.assert_array_equal(found, expected.ravel(), err_msg=str(shapes[number]))


def test_large_pictures_are_translated_in_tiles_and_others_refused(tmp_path: Path) -> None:
    folder = write_translator(tmp_path / "enlarger", any_size=True)
    write_translator(tmp_path / "negative")
    pixels = np.random.RandomState(2).randint(0, 256, (300, 141, 3)).astype(np.uint8)
    (tmp_path / "in.raw").write_bytes(pixels.tobytes())
    script = """
    const enlarger = await Translator.load("enlarger", { ort });
    save("out", (await enlarger.translate({ data: readFileSync("in.raw"), width: 141, height: 300 })).data);
    const negative = await Translator.load("negative", { ort });
    const errors = [];
    for (const [picture, options] of [
      [{ data: [1, 2, 3], width: 2, height: 1 }],
      [null],
      [{ data: new Uint8Array(75), width: 5, height: 5 }, { fit: "exact" }],
      [{ data: new Uint8Array(75), width: 5, height: 5 }, { fit: "stretch" }],
      [new Blob(["text"])],
    ]) await negative.translate(picture, options).catch(({ code }) => errors.push(code));
    const { scale, anySize, inResolution, inChannels } = enlarger;
    report([errors, scale, anySize, inResolution, inChannels]);
    """
    errors, *facts = run_node(tmp_path, script)
    [expected] = Translator(folder).translate(pixels, output="numpy")
    assert not mismatch(tmp_path / "out", expected, "fp32")
    assert errors == ["invalid_image", "invalid_image", "invalid_image", "invalid_option", "invalid_image"]
    assert facts == [2, True, 16, 3]


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
    const kinds = ["Checkpoint", "Generator", "Images", "Translator", "Translation"];
    const types = Object.fromEntries(kinds.map((name) => [name, members(engine[name])]));
    report({ types, exported: Object.keys(engine).sort(), version: engine.VERSION });
    """
    found = run_node(tmp_path, script)
    text = (FOLDER / "gan-serve.d.ts").read_text("utf-8")
    assert sorted(re.findall(r"^export (?:class|const) (\w+)", text, re.MULTILINE)) == found["exported"]
    for name, members in found["types"].items():
        [body] = re.findall(rf"^export class {name}(?: extends \w+)? {{(.*?)^}}", text, re.DOTALL | re.MULTILINE)
        declared = set(re.findall(r"^  (?:readonly )?(\w+)[(:]", body, re.MULTILINE))
        assert set(members) <= declared, set(members) - declared
