"""Translators in Python and on the command line: inputs, the rule for sizes, tiles, receipts, files, verification."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from tiny_translator import REACH, SIDE, expected, write_translator

import gan_serve
from gan_serve import Generator, Translator, verify
from gan_serve.checkpoint.files import (
    copy_checkpoint,
    read_any_config,
    read_config,
    read_translator_config,
    write_config,
)
from gan_serve.cli import cli
from gan_serve.errors import (
    DigestMismatch,
    GoldenSampleMismatch,
    InvalidCheckpoint,
    InvalidImage,
    InvalidOption,
    ReceiptError,
    TooManyImages,
)
from gan_serve.images.cancellation import NotWanted, while_wanted
from gan_serve.images.png import encode_png
from gan_serve.sampling.translator_session import TILE, largest_side, tiles
from gan_serve.translation.inputs import MAX_PIXELS, read_picture, read_pictures
from gan_serve.translation.result import TranslationReceipt, encode_translations
from gan_serve.verify import verify_image


@pytest.fixture(scope="module")
def negative(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    return Translator.from_pretrained(write_translator(tmp_path_factory.mktemp("models") / "negative"))


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    return Translator.from_pretrained(write_translator(tmp_path_factory.mktemp("models") / "doubled", any_size=True))


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def as_file(pixels: Any, format: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


def opened(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def test_arrays_files_and_pillow_images_give_the_same_pixels(negative: Translator, tmp_path: Path) -> None:
    pixels = noise(SIDE, SIDE, 3)
    path = tmp_path / "photo.png"
    path.write_bytes(as_file(pixels))
    images = [pixels, Image.fromarray(pixels), path, str(path), path.read_bytes()]
    for found in negative.translate(images, output="numpy"):
        assert np.array_equal(found, 255 - pixels)
    [alone] = gan_serve.translate(negative.directory, pixels)
    assert alone.mode == "RGB"
    assert np.array_equal(np.asarray(alone), 255 - pixels)


@pytest.mark.parametrize("format", ["zip", "json", "gif", "webp"])
def test_encoding_stops_between_images_that_nobody_waits_for(negative: Translator, format: str) -> None:
    request = negative.request(read_pictures([noise(SIDE, SIDE, 3, seed=seed) for seed in range(12)]))
    translations = request.samples(negative.run(request))
    wanted = iter([True] * 5)
    with while_wanted(lambda: next(wanted, False)), pytest.raises(NotWanted):
        encode_translations(translations, format)
    assert encode_translations(translations, format)


def test_other_sizes_are_cut_square_and_resized_or_refused(negative: Translator) -> None:
    photo = noise(20, 40, 3)
    square = Image.fromarray(photo).crop((10, 0, 30, 20)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    assert np.array_equal(negative.translate(photo, output="numpy")[0], 255 - np.asarray(square))
    with pytest.raises(InvalidImage, match="40x20 pixels; negative takes 16x16"):
        negative.translate(photo, fit="exact")
    with pytest.raises(InvalidOption, match=r"There is no fit 'corp'.*Did you mean 'crop'"):
        negative.translate(photo, fit="corp")
    gray = noise(SIDE, SIDE)
    assert np.array_equal(negative.translate(gray, output="numpy")[0], 255 - np.stack([gray] * 3, axis=2))


def test_transparency_becomes_white_and_a_photo_is_turned_upright(negative: Translator) -> None:
    clear = np.zeros((SIDE, SIDE, 4), np.uint8)
    assert (negative.translate(clear, output="numpy") == 0).all()
    photo = noise(SIDE, SIDE, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    found = negative.translate(as_file(photo, exif=exif), output="numpy")[0]
    assert np.array_equal(found, 255 - np.rot90(photo, -1))


def test_an_output_does_not_depend_on_its_neighbours(doubled: Translator) -> None:
    images = [noise(size, 21, 3, seed=size) for size in (9, 30, 9, 30, 12)]
    together = doubled.translations(images)
    for image, output in zip(images, together.outputs, strict=True):
        assert np.array_equal(output, doubled.translations(image).outputs[0])
        assert np.array_equal(output, expected(image, any_size=True))


MEMORY_AFTER = """
import numpy as np, psutil
from gan_serve import Translator
translator = Translator.from_pretrained("avatars-sr4", device="cpu")
before = psutil.Process().memory_info().rss
for side in (100, 160, 130):
    translator.translate(np.zeros((side, side, 3), np.uint8))
print((psutil.Process().memory_info().rss - before) / 1e6)
"""


def test_a_network_for_pictures_of_any_size_keeps_no_memory_for_each_size() -> None:
    grown = subprocess.run([sys.executable, "-c", MEMORY_AFTER], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert float(grown) < 100


def test_large_pictures_have_no_seams(doubled: Translator) -> None:
    picture = noise(largest_side(doubled.config) + 50, 2 * TILE + 7, 3)
    [output] = doubled.translations(picture).outputs
    whole = expected(picture, any_size=True)
    assert output.shape == whole.shape
    assert np.abs(output.astype(int) - whole).max() <= 1
    covered = np.zeros(picture.shape[:2], int)
    for tile in tiles(*picture.shape[:2], REACH):
        covered[tile.kept] += 1
    assert (covered == 1).all()


def test_a_receipt_names_the_input_and_the_image_is_verified_with_it(negative: Translator, tmp_path: Path) -> None:
    source, other = tmp_path / "photo.png", tmp_path / "other.png"
    source.write_bytes(as_file(noise(24, 30, 3)))
    other.write_bytes(as_file(noise(24, 30, 3, seed=1)))
    [image] = negative.translate(source)
    receipt = image.info["gan_serve"]
    assert receipt["input"] == read_picture(source).digest
    assert receipt["model"] == "negative"
    assert receipt["fit"] == "crop"
    path = tmp_path / "out.png"
    image.save(path)
    verified = verify_image(path, negative.directory, [source])
    assert verified.max_difference == 0
    with pytest.raises(ReceiptError, match="Input 0 is not the picture"):
        verify_image(path, negative.directory, [other])
    with pytest.raises(ReceiptError, match=r"1 picture.*0 were given"):
        verify_image(path, negative.directory)
    altered = np.asarray(image).copy()
    altered[0, 0, 0] ^= 1
    chunk = PngImagePlugin.PngInfo()
    chunk.add_itxt("gan_serve", json.dumps(image.info["gan_serve"]))
    Image.fromarray(altered).save(path, pnginfo=chunk)
    with pytest.raises(ReceiptError, match="was altered"):
        verify_image(path, negative.directory, [source])


def test_a_large_image_is_decoded_if_the_model_makes_one_of_its_size(
    negative: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "LARGE", 10)
    source, path = tmp_path / "photo.png", tmp_path / "out.png"
    source.write_bytes(as_file(noise(24, 30, 3)))
    [image] = negative.translate(source)
    image.save(path)
    assert verify_image(path, negative.directory, [source]).max_difference == 0
    receipt = TranslationReceipt.model_validate(image.info["gan_serve"])
    pixels = np.zeros((99, 99, 3), np.uint8)
    path.write_bytes(encode_png(pixels, {"gan_serve": receipt.seal(pixels).as_json()}))
    with pytest.raises(ReceiptError, match="does not have the size of the image in its receipt"):
        verify_image(path, negative.directory, [source])


def test_the_command_writes_images_and_a_sheet_that_verify(negative: Translator, tmp_path: Path, run: Any) -> None:
    names = []
    for number in range(3):
        names.append(tmp_path / f"in{number}.png")
        names[-1].write_bytes(as_file(noise(SIDE, SIDE, 3, seed=number)))
    model = str(negative.directory)
    run("translate", model, *names, "--out-dir", tmp_path / "out")
    assert np.array_equal(opened(tmp_path / "out" / "in1.png"), 255 - noise(SIDE, SIDE, 3, seed=1))
    run("verify", tmp_path / "out" / "in1.png", "--model", model, "--input", names[1])
    sheet = tmp_path / "sheet.png"
    run("translate", model, *names, "--out", sheet)
    pixels = opened(sheet)
    assert pixels.shape == (2 * (SIDE + 2) + 2, 3 * (SIDE + 2) + 2, 3)
    assert np.array_equal(pixels[2 : 2 + SIDE, 2 : 2 + SIDE], noise(SIDE, SIDE, 3))
    assert np.array_equal(pixels[4 + SIDE : 4 + 2 * SIDE, 2 : 2 + SIDE], 255 - noise(SIDE, SIDE, 3))
    run("verify", sheet, "--model", model, *(word for name in names for word in ("--input", name)))
    for format in ("npz", "zip", "json", "gif", "webp"):
        run("translate", model, *names, "--out", tmp_path / f"all.{format}")
    with np.load(tmp_path / "all.npz") as arrays:
        assert arrays["images"].shape == (3, SIDE, SIDE, 3)
    assert len(json.loads((tmp_path / "all.json").read_text())["images"]) == 3


@pytest.fixture
def run() -> Any:
    from click.testing import CliRunner

    def command(*words: object) -> str:
        done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return command


def bomb(width: int, height: int) -> bytes:
    """A PNG of some bytes that claims so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def animation() -> bytes:
    out = io.BytesIO()
    frames = [Image.fromarray(noise(SIDE, SIDE, 3, seed=seed)) for seed in range(2)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return out.getvalue()


WRONG = [
    (b"", "not an image of a supported format"),
    (b"GIF89a", "not an image of a supported format|cannot be decoded"),
    (as_file(noise(8, 8, 3))[:60], "cannot be decoded|no image"),
    (bomb(60_000, 60_000), "claims more pixels than at most"),
    (bomb(MAX_PIXELS + 1, 1), "at most"),
    (animation(), "is an animation"),
    (as_file(noise(8, 8, 3), "JPEG") + b"\xff\xda" * 100, "more than 64 scans"),
    (as_file(noise(8, 8, 3), "TIFF"), "not an image of a supported format"),
    (np.zeros((8, 8, 3), np.float32), "The array is float32"),
    (np.zeros((8, 8, 2), np.uint8), "The array is uint8"),
    (np.zeros((0, 8, 3), np.uint8), "has no pixels"),
    (3, "int is not an image"),
    ([], "There are no images"),
    (None, "NoneType is not an image"),
    ("no-such-file.png", "cannot be read: No such file"),
]


@pytest.mark.parametrize(("image", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_what_is_no_picture_is_refused_in_one_line(negative: Translator, image: Any, message: str) -> None:
    with pytest.raises(InvalidImage, match=message) as caught:
        negative.translate(image)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 200


def test_one_of_several_pictures_is_named(negative: Translator) -> None:
    with pytest.raises(InvalidImage, match="Image 1: "):
        negative.translate([noise(SIDE, SIDE, 3), b"nothing"])


def test_the_outputs_of_a_call_are_bounded(doubled: Translator) -> None:
    large = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (4000, 4000, 3))
    with pytest.raises(TooManyImages, match="outputs of"):
        doubled.translate([large, large])


def test_a_wrong_keyword_names_the_nearest(negative: Translator) -> None:
    image, options = noise(SIDE, SIDE, 3), {"outputs": "numpy"}
    with pytest.raises(TypeError, match="Did you mean 'output'"):
        negative.translate(image, **options)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="Did you mean 'output'"):
        gan_serve.translate(negative.directory, image, **options)  # type: ignore[call-overload]


def test_generators_and_translators_are_told_apart(negative: Translator, tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"translates images and does not generate.*gan_serve.translate"):
        Generator.from_pretrained(negative.directory)
    with pytest.raises(InvalidCheckpoint, match="generates images and does not translate"):
        gan_serve.translate("fashion-dcgan", noise(SIDE, SIDE, 3))
    with pytest.raises(InvalidCheckpoint, match="translates images"):
        read_config(negative.directory)
    assert read_any_config(negative.directory).name == "negative"
    copy = copy_checkpoint(negative.directory, tmp_path / "copy")
    (copy / "generator.onnx").write_bytes(b"x")
    with pytest.raises(DigestMismatch):
        Translator(copy)


@pytest.mark.parametrize("changes", [{"any_size": True}, {"img_channels": 1}, {"in_resolution": 8, "scale": 2}])
def test_a_config_that_does_not_fit_the_network_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    directory = write_translator(tmp_path / "wrong")
    write_config(directory, read_translator_config(directory).model_copy(update=changes))
    with pytest.raises(InvalidCheckpoint):
        Translator(directory)


def test_another_golden_sample_is_noticed(tmp_path: Path) -> None:
    from gan_serve.checkpoint.config import GoldenTranslation

    golden = GoldenTranslation.of_input(noise(SIDE, SIDE, 3), noise(SIDE, SIDE, 3))
    with pytest.raises(GoldenSampleMismatch, match="does not compute its golden sample"):
        Translator(write_translator(tmp_path / "wrong", golden_sample=golden))


def test_info_and_models_describe_a_translator(doubled: Translator, run: Any) -> None:
    told = json.loads(run("info", doubled.directory, "--json"))
    assert told["task"] == "translate"
    assert told["scale"] == 2
    from gan_serve.checkpoint.config import describe

    assert describe(doubled.config) == "translates RGB of any size to RGB of 2 times the width and height"
