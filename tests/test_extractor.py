"""An extractor of features from labelled images: trained, written as ONNX, measured on what it did not see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from gan_serve.errors import DataError, InvalidCheckpoint
from gan_serve.exports.extractor import main
from gan_serve.training.data import load_images
from gan_serve.training.evaluation.classifier import Classifier, as_input, train_classifier
from gan_serve.training.evaluation.extractor import SmallExtractor, extract, find_extractor
from gan_serve.training.sources.labels import read_attributes


@pytest.fixture(scope="module")
def make(digits: Path) -> Callable[..., Result]:
    def run(out: Path, *options: object) -> Result:
        words = ["--data", digits, "--holdout", 0.2, "--epochs", 4, "--out", out, *options]
        return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=True)

    return run


@pytest.fixture(scope="module")
def trained(make: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("extractors") / "cnn-digits"
    result = make(out, "--license", "bsd-3-clause")
    assert result.exit_code == 0, result
    return out


def test_it_knows_what_it_was_trained_on(trained, digits):
    extractor = find_extractor(trained)
    unseen = load_images(digits, split="holdout", holdout=0.2)
    found = extract(extractor, unseen.images)
    assert found.features.shape == (359, 128)
    assert found.logits.shape == (359, 10)
    accuracy = (found.logits.argmax(1) == unseen.labels).mean()
    assert accuracy > 0.9
    assert extractor.info.accuracy == pytest.approx(accuracy)
    assert extractor.info.data_digest == load_images(digits, holdout=0.2).digest
    assert extractor.name == "cnn-digits"
    assert np.mean(list(extractor.info.accuracy_by_class.values())) == pytest.approx(accuracy, abs=0.02)


def test_its_card_says_how_well_it_does(trained):
    card = (trained / "README.md").read_text()
    info = SmallExtractor(trained).info
    assert f"**{info.accuracy:.2%}**" in card
    assert info.command in card
    assert "--holdout 0.2" in info.command
    assert "`bsd-3-clause`" in card
    assert (trained / "extractor.onnx").stat().st_size < 1_000_000


def test_the_file_computes_what_torch_does(digits, tmp_path):
    data = load_images(digits)
    model = train_classifier(data.images[:256], data.labels[:256], 10, epochs=1, flip=False)
    from gan_serve.exports.extractor import _to_onnx
    from gan_serve.runtime import open_session

    session, _ = open_session(_to_onnx(model, 8, 1), "cpu")
    images = data.images[300:340]
    with torch.no_grad():
        features, logits = model(as_input(torch.tensor(images).permute(0, 3, 1, 2)))
    found = session.run(["features", "logits"], {"img": images})
    np.testing.assert_allclose(found[0], features.numpy(), atol=1e-4)
    np.testing.assert_allclose(found[1], logits.numpy(), atol=1e-4)


def test_the_same_seed_gives_the_same_weights(digits):
    data = load_images(digits).only(np.arange(256))
    one, other = (train_classifier(data.images, data.labels, 10, epochs=1, flip=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (28, 1), (32, 3), (64, 3)])
def test_any_size_gray_or_rgb_has_128_features(side, channels):
    features, logits = Classifier(side, channels, 5).eval()(torch.zeros(2, channels, side, side))
    assert features.shape == (2, 128)
    assert logits.shape == (2, 5)


def test_another_network_than_its_digest_says_is_refused(trained, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in trained.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "extractor.onnx").write_bytes((trained / "extractor.onnx").read_bytes() + b"x")
    with pytest.raises(InvalidCheckpoint, match="is not the network"):
        find_extractor(copy)
    (copy / "extractor.onnx").unlink()
    with pytest.raises(InvalidCheckpoint, match="holds no extractor"):
        find_extractor(copy)


def test_images_without_labels_are_refused(make, tmp_path):
    np.savez(tmp_path / "plain.npz", images=np.zeros((20, 8, 8, 1), np.uint8))
    words = ["--data", tmp_path / "plain.npz", "--holdout", "0.5", "--out", tmp_path / "out"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert isinstance(result.exception, DataError)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def attributes(tmp_path: Path) -> Path:
    path = tmp_path / "attributes.npz"
    np.savez(
        path,
        filenames=np.array(["2.jpg", "1.jpg", "3.jpg"]),
        attr_names=np.array(["Smiling", "Hat"]),
        attrs=np.array([[1, 0], [0, 1], [1, 1]]),
    )
    return path


def test_attributes_are_found_by_the_names_of_the_images(attributes):
    names, values = read_attributes(attributes, ["set/1.png", "set/3.png"])
    assert names == ("Smiling", "Hat")
    assert values.tolist() == [[0, 1], [1, 1]]


def test_attributes_of_unknown_images_are_refused(attributes, tmp_path):
    with pytest.raises(DataError, match="1 of 2 images have no row"):
        read_attributes(attributes, ["1.jpg", "9.jpg"])
    with pytest.raises(DataError, match="have no names"):
        read_attributes(attributes, [])
    np.savez(tmp_path / "other.npz", labels=[1])
    with pytest.raises(DataError, match="no readable npz"):
        read_attributes(tmp_path / "other.npz", ["1.jpg"])
