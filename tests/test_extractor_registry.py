"""The extractors of features that the project has: how good they are, and which of them is for which data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter
from real_digits import sample_photo

from gan_serve.errors import InvalidOption
from gan_serve.training.data.load import ImageSet, load_images
from gan_serve.training.evaluation.extractor_registry import EXTRACTORS, extractor_for, find_extractor
from gan_serve.training.evaluation.features import GENERAL, extract
from gan_serve.training.evaluation.metrics import kernel_distance


@pytest.mark.parametrize(
    ("name", "accuracy"),
    [
        ("cnn-mnist", 0.993),
        ("cnn-fashion", 0.925),
        ("cnn-bricks", 0.9),
        ("cnn-faces", 0.84),
        ("cnn-avatars", 0.99),
        ("cnn-toy-bricks", 0.99),
    ],
)
def test_our_extractors_are_small_and_good_enough_to_judge(name, accuracy):
    extractor = find_extractor(name)
    assert extractor.info.accuracy >= accuracy
    folder = EXTRACTORS / name
    assert (folder / "extractor.onnx").stat().st_size < 1_000_000
    assert f"{extractor.info.accuracy:.2%}" in (folder / "README.md").read_text()


def test_the_general_extractor_is_small_and_made_of_data_that_may_ship():
    assert (EXTRACTORS / GENERAL / "extractor.onnx").stat().st_size <= 1_500_000
    sources = {name.split(":")[0] for name in find_extractor(GENERAL).info.class_names}
    assert sources == {"fashion-mnist", "digits", "avatars", "emoji"}


def test_the_general_extractor_ranks_worse_photos_as_worse():
    """``benchmarks/general_features.py`` does so with more images, and with those of early snapshots."""

    def crops(photo: str, n: int, seed: int) -> list[Image.Image]:
        picture, random = sample_photo(photo), np.random.default_rng(seed)
        places = random.integers(0, (picture.width - 96, picture.height - 96), (n, 2))
        return [picture.crop((x, y, x + 96, y + 96)).resize((32, 32), Image.Resampling.LANCZOS) for x, y in places]

    extractor = find_extractor(GENERAL)
    photos, others = crops("china", 100, 0) + crops("flower", 100, 1), crops("china", 100, 2) + crops("flower", 100, 3)
    noise = np.random.default_rng(4).normal(size=(200, 32, 32, 3))
    real = extractor(np.stack([np.asarray(photo) for photo in photos])).features
    series = {
        "blur": [
            np.stack([photo.filter(ImageFilter.GaussianBlur(radius)) for photo in others]) for radius in (0, 1, 4)
        ],
        "noise": [(np.stack(others) + noise * deviation).clip(0, 255).astype(np.uint8) for deviation in (0, 16, 64)],
        "missing class": [np.stack(crops("china", n, 5) + crops("flower", 200 - n, 6)) for n in (100, 160, 200)],
    }
    for name, steps in series.items():
        distances = [kernel_distance(real, extractor(images).features) for images in steps]
        assert distances == sorted(distances), name


@pytest.mark.slow
def test_the_accuracy_of_an_extractor_can_be_measured_again(fashion_mnist):
    extractor = find_extractor("cnn-fashion")
    test = load_images("fashion-mnist", split="test").only(np.arange(1000))
    right = extract(extractor, test.images).logits.argmax(1) == test.labels
    assert right.mean() == pytest.approx(extractor.info.accuracy, abs=0.02)
    assert extractor_for(load_images("fashion-mnist")) == "cnn-fashion"
    assert extractor_for(load_images("fashion-mnist", resolution=32)) == "cnn-fashion"


def test_no_extractor_for_other_data(digits, tmp_path):
    assert extractor_for(load_images(digits)) is None
    own = tmp_path / "mnist.npz"
    own.write_bytes(digits.read_bytes())
    assert (load_images(own).name, load_images(own).class_names) == ("mnist", tuple("0123456789"))
    assert extractor_for(load_images(own)) is None


def test_local_data_known_by_their_pixels_or_else_by_name_with_a_warning(caplog):
    bricks = find_extractor("cnn-bricks").info
    images = np.zeros((13, 32, 32, 1), np.uint8)
    data = ImageSet(bricks.data, images, np.arange(13), bricks.class_names)
    assert extractor_for(data) == "cnn-bricks"
    assert "cnn-bricks are used, chosen only by the name of the data" in caplog.text
    assert extractor_for(replace(data, class_names=tuple("abcdefghijklm"))) is None
    assert extractor_for(ImageSet("celeba64", images)) == "cnn-faces"
    caplog.clear()
    faces = find_extractor("cnn-faces").info

    class Known(ImageSet):
        digest = faces.data_digest

    assert extractor_for(Known("anything", images)) == "cnn-faces"
    assert not caplog.text


def test_an_unknown_extractor_is_refused():
    with pytest.raises(InvalidOption, match="cnn-fasion") as caught:
        find_extractor("cnn-fasion")
    assert "cnn-fashion" in caught.value.hint
