"""The extractors of features that the project has: how good they are, and which of them is for which data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gan_serve.errors import InvalidOption
from gan_serve.training.data.load import ImageSet, load_images
from gan_serve.training.evaluation.extractor_registry import EXTRACTORS, extractor_for, find_extractor
from gan_serve.training.evaluation.features import extract


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
