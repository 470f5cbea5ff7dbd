import io
import json
import zipfile

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gan_serve.atomic_files import directory_atomically, write_atomically
from gan_serve.errors import CannotWrite, InvalidOption, ReceiptError
from gan_serve.images.cancellation import NotWanted, while_wanted
from gan_serve.images.grid import grid
from gan_serve.images.pixels import from_pil
from gan_serve.images.png import encode_png
from gan_serve.sampling.formats import FORMATS, check_encoding, encode
from gan_serve.sampling.receipt import RECEIPT_KEY, read_receipt
from gan_serve.sampling.walks import Walk
from gan_serve.verify import verify_image

rng = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_lossless_and_the_same_bytes_each_time(channels):
    pixels = rng.integers(0, 256, (28, 20, channels), np.uint8)
    content = encode_png(pixels, {"key": "value ä"})
    assert content == encode_png(pixels, {"key": "value ä"})
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(from_pil(image), pixels)
        assert image.text["key"] == "value ä"


def test_a_grid_holds_the_images_in_rows_on_white():
    images = rng.integers(0, 255, (5, 4, 6, 3), np.uint8)
    sheet = grid(images, columns=3)
    assert sheet.shape == (2 * 6 + 2, 3 * 8 + 2, 3)
    np.testing.assert_array_equal(sheet[2:6, 2:8], images[0])
    np.testing.assert_array_equal(sheet[8:12, 10:16], images[4])
    assert (sheet[8:12, 18:24] == 255).all()
    assert grid(images).shape == sheet.shape
    assert grid(images, columns=9).shape[1] == 5 * 8 + 2
    with pytest.raises(InvalidOption):
        grid(images, columns=0)


def test_every_format_holds_the_same_pixels(generator):
    samples = generator.sample_walk([0, 5], steps=3)
    decoded = {
        "gif": _frames(encode(samples, "gif")),
        "webp": _frames(encode(samples, "webp")),
        "npz": np.load(io.BytesIO(encode(samples, "npz")))["images"],
        "zip": _from_zip(encode(samples, "zip")),
    }
    for name, pixels in decoded.items():
        np.testing.assert_array_equal(pixels, samples.pixels, err_msg=name)


@pytest.mark.parametrize("format", ["gif", "webp", "mp4", "webm", "zip", "json"])
@pytest.mark.parametrize("most", [3, 15])
def test_encoding_stops_between_images_that_nobody_waits_for(generator, format, most):
    samples = generator.sample_walk([0, 5], steps=20)
    checks = []
    with while_wanted(lambda: len(checks.append(0) or checks) <= most), pytest.raises(NotWanted):
        encode(samples, format)
    assert len(checks) <= most + 2  # Pillow seeks once more in the end
    assert encode(samples, format)


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_the_same_samples_give_the_same_bytes(generator, format):
    assert encode(generator.sample(3, seed=1), format) == encode(generator.sample(3, seed=1), format)


def test_a_jpeg_is_written_but_not_served(generator):
    samples = generator.sample(3, seed=1)
    with Image.open(io.BytesIO(encode(samples, "jpg", columns=2, scale=2))) as image:
        assert (image.format, image.size) == ("JPEG", (2 * (2 * 30 + 2), 2 * (2 * 30 + 2)))
    check_encoding(3, "png", served=True)
    with pytest.raises(
        InvalidOption, match="There is no format 'jpg'; choose from: png, gif, webp, mp4, webm, npz, zip, json, raw"
    ):
        check_encoding(3, "jpg", served=True)


def test_an_unknown_format_names_the_nearest(generator):
    with pytest.raises(InvalidOption) as error:
        encode(generator.sample(seed=1), "pngg")
    assert "'png'" in error.value.hint


@pytest.mark.parametrize(
    "draw",
    [
        lambda g: g.sample(seeds=7).png(0),
        lambda g: g.sample(3, seed=5, truncation=0.7).png(2),
        lambda g: g.sample(3, seed=5).grid_png(),
        lambda g: g.sample(5, seed=5).grid_png(columns=2),
        lambda g: g.sample(1, seed=5).grid_png(),
        lambda g: g.sample(latents=np.full((2, 100), 0.5)).png(1),
        lambda g: g.sample(latents=np.eye(3, 100)).grid_png(columns=1),
        lambda g: g.sample(latents=np.eye(1, 100)).grid_png(),
        lambda g: g.sample_walk([0, 5, 9], steps=3, loop=True).png(7),
        lambda g: g.sample_walk([0, 5], steps=3, method="lerp").grid_png(),
        lambda g: g.sample_walk([0, 5], steps=3).grid_png(columns=4),
    ],
)
def test_every_png_can_be_made_again_from_its_receipt(generator, tmp_path, draw):
    path = write_atomically(tmp_path / "image.png", draw(generator))
    assert verify_image(path).max_difference == 0


def test_an_image_saved_from_python_verifies(generator, tmp_path):
    [image] = generator.generate(seed=3)
    image.save(tmp_path / "image.png")
    assert verify_image(tmp_path / "image.png").receipt.seed == 3


def test_an_altered_pixel_is_refused(generator, tmp_path):
    samples = generator.sample(seed=3)
    pixels = samples.pixels[0].copy()
    pixels[14, 14, 0] ^= 1
    path = write_atomically(tmp_path / "a.png", encode_png(pixels, {"gan_serve": samples.receipt(0).as_json()}))
    with pytest.raises(ReceiptError, match="altered"):
        verify_image(path)


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"truncation": 0.999}, {"version": "9"}, {"sha256": "0" * 64}, {"seed": -1}, {"extra": 1}]
)
def test_an_altered_receipt_is_refused(generator, tmp_path, change):
    samples = generator.sample(seed=3)
    receipt = json.dumps(samples.receipt(0).as_dict() | change)
    path = write_atomically(tmp_path / "a.png", encode_png(samples.pixels[0], {"gan_serve": receipt}))
    with pytest.raises(ReceiptError, match="altered"):
        verify_image(path)


def test_a_receipt_sealed_anew_over_other_pixels_is_refused(generator, tmp_path):
    samples = generator.sample(seed=3)
    pixels = samples.pixels[0].copy()
    pixels[14, 14, 0] ^= 128
    forged = samples.receipt(0).seal(pixels)
    path = write_atomically(tmp_path / "a.png", encode_png(pixels, {"gan_serve": forged.as_json()}))
    with pytest.raises(ReceiptError, match="off by 128 grey levels"):
        verify_image(path)


def test_what_is_seen_may_not_differ_from_the_pixels(generator, tmp_path):
    """A palette, transparency or a second frame leave the numbers as they are and change the picture."""
    [image] = generator.generate(seed=3)
    inverted = Image.frombytes("P", image.size, image.tobytes())
    inverted.putpalette([255 - level for level in range(256) for _ in "rgb"])
    text = PngInfo()
    text.add_itxt("gan_serve", json.dumps(image.info["gan_serve"]))
    inverted.save(tmp_path / "palette.png", pnginfo=text)
    image.save(tmp_path / "transparent.png", transparency=0)
    hidden = PngInfo()
    hidden.add_text("transparency", "a text of that name")
    image.save(tmp_path / "hidden.png", transparency=0, pnginfo=hidden)
    image.save(tmp_path / "frames.png", save_all=True, append_images=[Image.new("L", image.size)])
    image.save(tmp_path / "profile.png", icc_profile=b"profile")
    for name in ("palette", "transparent", "hidden", "frames", "profile"):
        with pytest.raises(ReceiptError):
            verify_image(tmp_path / f"{name}.png")


@pytest.mark.parametrize(
    "story",
    [
        {"seed": 999, "walk": Walk(seeds=[1, 2], steps=2, method="slerp", loop=False, frame=0)},
        {"seed": None},
        {"seed": None, "seeds": [3]},
        {"columns": 1},
        {"seed": None, "walk": Walk(seeds=[1, 2], steps=2, method="slerp", loop=False)},
        {"labels": ["a"], "label": "a"},
        {"seed": None, "latents": "AAA?"},
        {"seed": None, "latents": "AAAA"},
    ],
)
def test_a_receipt_that_contradicts_itself_is_refused_also_when_sealed(generator, tmp_path, story):
    samples = generator.sample(seed=3)
    told = samples.receipt(0).model_copy(update=story).seal(samples.pixels[0])
    receipt = json.dumps({key: value for key, value in told.model_dump().items() if value is not None})
    path = write_atomically(tmp_path / "a.png", encode_png(samples.pixels[0], {"gan_serve": receipt}))
    with pytest.raises(ReceiptError):
        verify_image(path)


def test_a_receipt_survives_copies_and_other_text(generator, tmp_path):
    [image] = generator.generate(seed=3)
    image.copy().save(tmp_path / "copy.png")
    text = PngInfo()
    text.add_text("Author", "me")
    image.save(tmp_path / "mine.png", pnginfo=text, dpi=(72, 72))
    for name in ("copy", "mine"):
        assert verify_image(tmp_path / f"{name}.png").receipt.seed == 3
    assert len(text.chunks) == 1
    image.save(tmp_path / "none.png", pnginfo=None)
    image.info.clear()
    image.save(tmp_path / "bare.png")


def test_the_last_frame_by_a_negative_index_verifies(generator, tmp_path):
    path = write_atomically(tmp_path / "a.png", generator.sample_walk([0, 5], steps=3).png(-1))
    assert verify_image(path).receipt.walk.frame == 3


def test_a_receipt_of_another_checkpoint_is_refused(generator, tmp_path):
    samples = generator.sample(seed=3)
    other = samples.receipt(0).model_copy(update={"digest": "sha256:" + "0" * 64}).seal(samples.pixels[0])
    path = write_atomically(tmp_path / "a.png", encode_png(samples.pixels[0], {"gan_serve": other.as_json()}))
    with pytest.raises(ReceiptError, match="another checkpoint"):
        verify_image(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", encode_png(np.zeros((4, 4, 1), np.uint8))],
    ids=["empty", "no image", "no receipt"],  # not the bytes: processes of xdist must agree on the names
)
def test_a_file_without_a_receipt_is_refused(tmp_path, content):
    path = write_atomically(tmp_path / "a.png", content)
    with pytest.raises(ReceiptError):
        verify_image(path)


def test_a_plain_pillow_image_has_no_receipt():
    with pytest.raises(ReceiptError, match="no receipt"):
        read_receipt(Image.new("L", (4, 4)))


def test_a_failing_write_leaves_what_was_there(tmp_path):
    target = write_atomically(tmp_path / "deep" / "file", b"before")

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(CannotWrite, match="No space left"):
        write_atomically(target, fail)
    assert target.read_bytes() == b"before"
    assert list(target.parent.iterdir()) == [target]


def test_files_are_written_through_links_and_to_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with directory_atomically(tmp_path / "link") as directory:
        (directory / "file").write_text("whole")
    assert (tmp_path / "real" / "file").read_text() == "whole"
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with directory_atomically(".") as directory:
        (directory / "file").write_text("whole")
    assert (tmp_path / "empty" / "file").read_text() == "whole"


def test_a_failing_directory_leaves_nothing(tmp_path):
    def fail():
        with directory_atomically(tmp_path / "out") as directory:
            (directory / "file").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(CannotWrite, match="No space left"):
        fail()
    assert not list(tmp_path.iterdir())


def _frames(content):
    with Image.open(io.BytesIO(content)) as animation:
        frames = []
        for number in range(animation.n_frames):
            animation.seek(number)
            frames.append(from_pil(animation.convert("L")))
    return np.stack(frames)


def _from_zip(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return np.stack([from_pil(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()])


def test_a_receipt_names_the_version_of_onnx_runtime(generator, tmp_path, monkeypatch):
    samples = generator.sample(seed=7)
    path = write_atomically(tmp_path / "a.png", samples.png(0))
    assert samples.receipt(0).runtime == onnxruntime.__version__
    assert not verify_image(path).other_runtime
    monkeypatch.setattr("gan_serve.verify.runtime_version", lambda: "9.9.9")
    assert f"ONNX Runtime {onnxruntime.__version__}, and this is 9.9.9" in verify_image(path).other_runtime


def test_other_pixels_of_another_onnx_runtime_are_explained(generator, tmp_path):
    samples = generator.sample(seed=7)
    receipt = samples.receipt(0).model_copy(update={"runtime": "1.21.1"}).seal(255 - samples.pixels[0])
    path = write_atomically(tmp_path / "a.png", encode_png(255 - samples.pixels[0], {RECEIPT_KEY: receipt.as_json()}))
    with pytest.raises(ReceiptError, match="grey levels") as error:
        verify_image(path)
    assert f"ONNX Runtime 1.21.1, and this is {onnxruntime.__version__}" in error.value.hint


def test_a_receipt_without_the_runtime_still_verifies(generator, tmp_path):
    """As gan-serve 0.1.0 wrote them."""
    samples = generator.sample(seed=7)
    receipt = samples.receipt(0).model_copy(update={"runtime": None}).seal(samples.pixels[0])
    assert "runtime" not in receipt.as_json()
    path = write_atomically(tmp_path / "a.png", encode_png(samples.pixels[0], {RECEIPT_KEY: receipt.as_json()}))
    assert verify_image(path).max_difference == 0
