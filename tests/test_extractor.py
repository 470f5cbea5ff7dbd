"""An extractor of features from labelled images: trained, written as ONNX, measured on held-out images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from gan_serve.errors import DataError, InvalidCheckpoint, InvalidOption
from gan_serve.exports import feature_extractor
from gan_serve.exports.feature_extractor import (
    card,
    describe,
    main,
    read_examples,
    to_onnx,
    train_extractor,
    write_extractor,
)
from gan_serve.sampling.session import open_session
from gan_serve.training.data.load import load_images
from gan_serve.training.data.match_labels import read_attributes
from gan_serve.training.evaluation.classifier import Classifier, as_input, train_classifier
from gan_serve.training.evaluation.extractor_registry import EXTRACTORS, SmallExtractor, extractors, find_extractor
from gan_serve.training.evaluation.features import extract


def run_main(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="module")
def networks() -> list[nn.Module]:
    """The network that ``trained`` writes as ONNX."""
    return []


@pytest.fixture(scope="module")
def trained(digits: Path, networks: list[nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    def write(network: nn.Module, *shape: int) -> bytes:
        networks.append(network)
        return to_onnx(network, *shape)

    out = tmp_path_factory.mktemp("extractors") / "cnn-digits"
    options = ["--holdout", 0.2, "--epochs", 4, "--license", "bsd-3-clause"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_extractor, "to_onnx", write)
        result = run_main("--data", digits, "--out", out, *options)
    assert result.exit_code == 0, result.output
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
    text = (trained / "README.md").read_text()
    info = SmallExtractor(trained).info
    assert f"**{info.accuracy:.2%}**" in text
    assert info.command in text
    assert "--holdout 0.2" in info.command
    assert "`bsd-3-clause`" in text
    assert "temperature of its logits was fitted on the same images" in text
    assert (trained / "extractor.onnx").stat().st_size < 1_000_000


@pytest.mark.parametrize("name", extractors())
def test_the_cards_of_our_own_extractors_say_what_their_files_do(name):
    extractor = SmallExtractor(EXTRACTORS / name)
    size = (EXTRACTORS / name / "extractor.onnx").stat().st_size
    assert (EXTRACTORS / name / "README.md").read_text() == card(extractor.info, size)


@pytest.fixture
def split_digits(digits: Path, tmp_path: Path) -> Path:
    """A folder of IDX files as MNIST's, which are read without a copy: 1,500 images to train on, and 297 others."""
    arrays = np.load(digits)
    folder = tmp_path / "idx"
    folder.mkdir()
    for stem, rows in {"train": slice(1500), "t10k": slice(1500, None)}.items():
        for kind, values in {"images-idx3": arrays["images"][rows], "labels-idx1": arrays["labels"][rows]}.items():
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (folder / f"{stem}-{kind}-ubyte").write_bytes(header + values.astype(np.uint8).tobytes())
    return folder


@pytest.mark.slow
def test_it_is_made_from_python_too_and_measured_on_the_test_split(split_digits, tmp_path):
    examples = read_examples(split_digits)
    examples.seen.images.flags.writeable = False  # as mapped files are
    examples.unseen.images.flags.writeable = False
    network = train_extractor(examples, epochs=2, quiet=True)
    info = describe(network, examples, name="cnn-idx", command="by hand", license="mit")
    assert info.held_out.startswith("297 images of ")
    write_extractor(tmp_path / "cnn-idx", network, info)
    written = find_extractor(tmp_path / "cnn-idx")
    found = written(examples.unseen.images)
    assert written.info == info
    assert info.accuracy == pytest.approx((found.logits.argmax(1) == examples.truth).mean())
    assert info.accuracy > 0.5


@pytest.fixture
def named(digits: Path, tmp_path: Path) -> Path:
    """The digits with file names, which tables of attributes need."""
    images = np.load(digits)["images"]
    np.savez(tmp_path / "named.npz", images=images, filenames=[f"{row}.png" for row in range(len(images))])
    return tmp_path / "named.npz"


def table(path: Path, **attributes: np.ndarray) -> Path:
    columns = np.stack(list(attributes.values()), axis=1).astype(int)
    files = [f"{row}.png" for row in range(len(columns))]
    np.savez(path, filenames=files, attr_names=list(attributes), attrs=columns)
    return path


def test_attributes_are_learned_and_measured_each_by_itself(named, digits, tmp_path):
    labels = np.load(digits)["labels"]
    attributes = table(tmp_path / "attributes.npz", Zero=labels == 0, Large=labels > 4)
    options = ["--attributes", attributes, "--holdout", 0.2, "--epochs", 4]
    result = run_main("--data", named, "--out", tmp_path / "cnn-attributes", *options)
    assert result.exit_code == 0, result.output
    info = SmallExtractor(tmp_path / "cnn-attributes").info
    assert info.attributes
    assert set(info.accuracy_by_class) == {"Zero", "Large"}
    assert min(info.accuracy_by_class.values()) > 0.7
    text = (tmp_path / "cnn-attributes" / "README.md").read_text()
    assert "Balanced accuracy" in text
    assert "temperature" not in text


def test_attributes_that_all_images_share_are_refused(named, tmp_path):
    attributes = table(tmp_path / "attributes.npz", Digit=np.ones(1797))
    result = run_main("--data", named, "--out", tmp_path / "out", "--attributes", attributes, "--holdout", 0.1)
    assert result.exit_code == 1
    assert result.output.startswith("Error: The 180 held-out images do not differ in any attribute.")


def test_the_file_computes_what_torch_does(trained, networks, digits):
    session, _ = open_session((trained / "extractor.onnx").read_bytes(), "cpu")
    images = load_images(digits).images[300:340]
    [network] = networks
    with torch.no_grad():
        features, logits = network(as_input(torch.tensor(images).permute(0, 3, 1, 2)))
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
    with pytest.raises(InvalidCheckpoint, match="has no feature extractor"):
        find_extractor(copy)


@pytest.mark.parametrize("name", ["inception", *extractors()])
def test_no_extractor_is_called_as_another(trained, tmp_path, name):
    info = SmallExtractor(trained).info.model_copy(update={"name": name})
    write_extractor(tmp_path / "cnn-mine", (trained / "extractor.onnx").read_bytes(), info)
    with pytest.raises(InvalidOption, match=f"cannot have the name {name}") as refusal:
        find_extractor(tmp_path / "cnn-mine")
    assert "name in its extractor.json" in refusal.value.hint


def test_our_own_extractors_are_found_by_their_folder_too(monkeypatch):
    monkeypatch.chdir(EXTRACTORS.parent)
    assert find_extractor(EXTRACTORS / "cnn-mnist").name == find_extractor("extractors/cnn-mnist").name == "cnn-mnist"


@pytest.mark.parametrize(
    ("images", "classes", "options", "says", "hint"),
    [
        (300, None, ["--holdout", 0.5], "has no labels", "--attributes"),
        (100, 10, ["--holdout", 0.5], "50 images of some are too few", "128 or more"),
        (300, 10, ["--holdout", 0.001], "has no image", "larger"),
        (300, 10, [], "has no test split", "--holdout 0.1"),
        (300, 10, ["--holdout", 2], "from 0 to below 1", "a tenth"),
        (300, 10, ["--holdout", 0.1, "--epochs", 0], "cannot be 0 epochs", "1 or more"),
        (600, 600, ["--holdout", 0.1], "A network with 600 outputs has 1,", "fewer classes"),
        (300, 10, ["--holdout", 0.1, "--attributes", "none.npz"], "no readable npz", "npz"),
    ],
)
def test_what_cannot_be_learned_is_one_clear_error(tmp_path, digits, images, classes, options, says, hint):
    labels = {} if classes is None else {"labels": np.arange(images) % classes}
    np.savez(tmp_path / "some.npz", images=np.load(digits)["images"][:images], **labels)
    result = run_main("--data", tmp_path / "some.npz", "--out", tmp_path / "out", *options)
    assert result.exit_code == 1
    error, advice = result.output.splitlines()  # before any progress of training
    assert error.startswith("Error: ")
    assert says in error
    assert hint in advice
    assert not (tmp_path / "out").exists()


def test_a_test_split_of_other_classes_is_refused(split_digits, tmp_path):
    labels = split_digits / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:8] + bytes(297))
    result = run_main("--data", split_digits, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "other classes" in result.output
    assert "--holdout" in result.output


def test_a_directory_that_exists_is_refused_before_anything_is_read(trained):
    result = run_main("--data", "nothing", "--out", trained)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"Error: {trained} already exists.",
        "Choose another directory, or remove it first.",
    ]


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
