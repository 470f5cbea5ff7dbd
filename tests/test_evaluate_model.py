"""``gan-serve evaluate``: a checkpoint or a run, by its name, on data, by their source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from remembering import Remembering
from servers import running
from tiny_checkpoint import write_checkpoint
from training_runs import SMALL
from zoo_lists import CHECKPOINTS, ZOO

from gan_serve import Client, Generator
from gan_serve.checkpoint.bundled import manifest
from gan_serve.checkpoint.files import verify_checkpoint
from gan_serve.errors import DataError, InvalidOption, RunError
from gan_serve.exports.evaluate_model import RealImages, evaluate_model
from gan_serve.exports.export import export_run
from gan_serve.training.config import make_config
from gan_serve.training.data.load import load_images
from gan_serve.training.evaluation import metrics as formulas
from gan_serve.training.evaluation.evaluate import Evaluation, EvaluationOptions
from gan_serve.training.evaluation.extractor_registry import find_extractor
from gan_serve.training.evaluation.features import extract, logits_of_classes
from gan_serve.training.evaluation.pixel_metrics import random_sample
from gan_serve.training.load_run import load_trained
from gan_serve.training.loop import train
from gan_serve.training.monitoring.quality import quality
from gan_serve.training.monitoring.run_log import read_log

FEATURES = "cnn-mnist"
FEW = EvaluationOptions(images=100, truncations=False, quiet=True)
AGREEMENT = {  # by features, and the least of it over 500 images
    "mnist-cgan": ("cnn-mnist", 0.95),
    "fashion-cgan": ("cnn-fashion", 0.85),
    "bricks-dcgan": ("cnn-bricks", 0.6),
    "faces-cgan": ("cnn-faces", 0.85),
}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional run on nine tenths of the digits, measured in the features of an extractor."""
    settings = SMALL | {"data": str(digits), "conditional": True, "holdout": 0.1, "features": FEATURES}
    directory = tmp_path_factory.mktemp("runs") / "run"
    train(make_config("dcgan-28", settings | {"ticks_per_evaluation": 2}), directory, quiet=True)
    return directory


def measure(model: Path, data: str | None = None, *, own_data: bool = False, **real) -> Evaluation:
    """Evaluate a few images; ``real`` are the fields of ``RealImages``, and perhaps features."""
    features = real.pop("features", FEATURES)
    return evaluate_model(model, RealImages(data, **real), features=features, own_data=own_data, options=FEW)


def test_a_run_trains_on_what_is_not_held_out_and_is_measured_on_the_rest(run, digits):
    seen, unseen = load_images(digits, holdout=0.1), load_images(digits, split="holdout", holdout=0.1)
    assert (len(seen), len(unseen)) == (1617, 180)
    pixels = {image.tobytes() for image in load_images(digits).images}
    assert {image.tobytes() for image in np.concatenate([seen.images, unseen.images])} == pixels
    assert load_trained(run).info.data.digest == seen.digest
    metrics = measure(run).metrics
    assert {"fd100_cnn-mnist_holdout", "label_agreement100_cnn-mnist", "nn_ratio_100_train"} <= metrics.keys()


def test_training_is_measured_in_the_features_that_were_asked_for(run, digits):
    measured = [record for record in read_log(run) if "quality" in record]
    assert [record["kimg"] for record in measured] == [1.024, 2.016]
    for record in measured:
        assert record["quality"] == record["fd1617_cnn-mnist_train"]
        assert isinstance(record["classes_missing"], list)
        assert record["sharpness"] > 0 < record["checkerboard"]
        assert 0 <= record["specks"] <= 1
    data = load_images(digits, holdout=0.1)
    again = quality(data, FEATURES)(load_trained(run).generator)
    assert again["fd1617_cnn-mnist_train"] == pytest.approx(measured[-1]["quality"], rel=1e-3)


@pytest.mark.slow
def test_the_same_run_is_measured_alike_twice_and_as_its_checkpoint(run, digits, tmp_path, cli):
    metrics = measure(run).metrics
    assert measure(run).metrics == metrics
    assert cli("export", run, "--out", tmp_path / "exported", "--precisions", "fp32").code == 0
    exported = measure(tmp_path / "exported", str(digits), holdout=0.1).metrics
    assert exported.keys() == metrics.keys()
    # A pixel in a thousand may round otherwise.
    assert exported["fd100_cnn-mnist_holdout"] == pytest.approx(metrics["fd100_cnn-mnist_holdout"], rel=1e-3)
    assert exported["label_agreement100_cnn-mnist"] == metrics["label_agreement100_cnn-mnist"]


@pytest.fixture
def labelled(tmp_path: Path, digits: Path) -> str:
    """A table that says of each digit whether it is even."""
    path = tmp_path / "digits.csv"
    path.write_text("\n".join(["parity", *(["even", "odd"][label % 2] for label in np.load(digits)["labels"])]))
    return f"{path}:parity"


@pytest.fixture
def trained(digits: Path, labelled: str, tmp_path: Path) -> Path:
    """A checkpoint that was trained on nine tenths of the digits, under labels of a table."""
    seen = load_images(digits, resolution=32, holdout=0.1)
    known = {"name": seen.name, "digest": seen.digest, "holdout": 0.1, "labels": labelled}
    return write_checkpoint(tmp_path / "model", training_data=known)


@pytest.fixture
def others(digits: Path, tmp_path: Path) -> Path:
    """Images that it was not trained on, with labels of their own, and a test split that has some of them too."""
    (tmp_path / "others").mkdir()
    images, labels = 255 - np.load(digits)["images"], np.load(digits)["labels"]
    for stem, rows in {"train": slice(1500), "t10k": slice(1470, None)}.items():
        for kind, values in {"images-idx3": images[rows], "labels-idx1": labels[rows]}.items():
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (tmp_path / "others" / f"{stem}-{kind}-ubyte").write_bytes(header + values.astype(np.uint8).tobytes())
    return tmp_path / "others"


def test_what_was_held_out_and_the_labels_are_those_of_training(trained, digits, caplog):
    metrics = measure(trained, str(digits), own_data=True).metrics
    assert {"fd100_cnn-mnist_holdout", "nn_ratio_100_train"} <= metrics.keys()
    assert "class_share_min100_cnn-mnist" not in metrics  # even and odd are no classes that it knows
    assert not caplog.text


def test_other_data_have_their_own_labels_all_of_them_and_no_nearest_neighbours(trained, others, caplog):
    metrics = measure(trained, str(others)).metrics
    assert "fd100_cnn-mnist_test" in metrics
    assert "class_share_min100_cnn-mnist" in metrics
    assert not any(name.startswith("nn_") for name in metrics)
    assert (
        f"others is not the data set that {trained} was trained on; the nearest-neighbour test is left out."
        in caplog.text
    )
    assert "9 % of the test images of others are also training images." in caplog.text


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"holdout": 0.2}, ".* was trained on other images", "images of digits as --data"),
        ({"holdout": 0, "split": "train"}, ".* was trained on other images", "without --holdout"),
        ({"labels": "none"}, "was not trained with --labels none", "Leave out --labels"),
    ],
)
def test_figures_of_its_own_are_of_its_own_data(trained, digits, options, message, hint):
    with pytest.raises(InvalidOption, match=message) as refusal:
        measure(trained, str(digits), own_data=True, **options)
    assert hint in refusal.value.hint


def test_figures_of_its_own_are_not_of_other_images(trained, others, digits, labelled):
    with pytest.raises(InvalidOption, match=r".* was trained on other images"):
        measure(trained, str(others), own_data=True)
    with_labels = measure(trained, str(digits), labels=labelled, own_data=True)  # its own ones
    assert "fd100_cnn-mnist_holdout" in with_labels.metrics


def test_its_table_of_labels_is_missed_only_with_its_own_images(trained, digits, others, labelled):
    Path(labelled.rpartition(":")[0]).unlink()
    with pytest.raises(DataError, match=r"digits\.csv"):
        measure(trained, str(digits))
    assert "fd100_cnn-mnist_test" in measure(trained, str(others)).metrics


@pytest.mark.parametrize("options", [{"holdout": 0.2}, {"holdout": 0.1, "labels": "none", "data": "others"}])
def test_what_it_has_not_seen_of_other_data_is_not_known(trained, digits, others, options):
    data = str(others) if options.get("data") else str(digits)
    with pytest.raises(InvalidOption, match="which images it has not seen is not known") as refusal:
        measure(trained, data, **{key: value for key, value in options.items() if key != "data"})
    assert "held out 0.1 of digits" in refusal.value.hint


def test_images_that_the_data_hold_twice_are_told(digits, tmp_path, caplog):
    images = np.load(digits)["images"]
    checkpoint = write_checkpoint(tmp_path / "model")
    np.savez(tmp_path / "twice.npz", images=np.concatenate([images, images]))
    with pytest.raises(InvalidOption, match=r"^(8|9)\d % of the held-out images are also training images."):
        measure(checkpoint, str(tmp_path / "twice.npz"), holdout=0.1)
    np.savez(tmp_path / "some.npz", images=np.concatenate([images, images[:200]]))
    assert "fd100_cnn-mnist_holdout" in measure(checkpoint, str(tmp_path / "some.npz"), holdout=0.1).metrics
    assert "% of the holdout images of some are also training images." in caplog.text


def test_a_snapshot_that_is_not_there_is_told_with_those_that_are(run, cli):
    outcome = cli("evaluate", run, "--snapshot", "nope", "--quiet")
    assert outcome.code == 1
    assert "There is no snapshot nope." in outcome.err
    assert f"The run has {run}/snapshots/kimg" in outcome.err
    assert "; `best` stands for the best of them" in outcome.err
    with pytest.raises(RunError, match="There is no snapshot"):
        load_trained(run, "x" * 300)
    last = max((run / "snapshots").iterdir())
    assert load_trained(run, last).shown == load_trained(run).shown


def test_figures_are_written_into_the_checkpoint_and_shown(digits, tmp_path, cli):
    checkpoint = write_checkpoint(tmp_path / "model")
    outcome = cli(
        "evaluate", checkpoint, "--data", digits, "--split", "train", "--features", FEATURES, "--images", 100,
        "--no-dial", "--write", "--quiet", "--out-dir", tmp_path / "figures",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    verify_checkpoint(checkpoint)
    written = json.loads((checkpoint / "metrics.json").read_text())
    assert f"{written['fd100_cnn-mnist_train']:g}" in outcome.out
    assert "fd100_cnn-mnist_train" in cli("info", checkpoint, "--all").out
    assert json.loads((tmp_path / "figures" / "metrics.json").read_text()).items() <= written.items()


def test_pairs_are_shown_unless_they_must_not(run, tmp_path, cli):
    few = ("--features", FEATURES, "--images", 50, "--no-dial", "--quiet")
    assert cli("evaluate", run, *few, "--out-dir", tmp_path / "with").code == 0
    with Image.open(tmp_path / "with" / "neighbours.png") as picture:
        assert picture.width > 8 * 8
    assert cli("evaluate", run, *few, "--no-pairs", "--out-dir", tmp_path / "without").code == 0
    assert [path.name for path in (tmp_path / "without").iterdir()] == ["metrics.json"]


def test_the_dial_is_drawn_into_the_checkpoint(digits, tmp_path, cli):
    checkpoint = write_checkpoint(tmp_path / "model")
    options = ("--split", "train", "--features", FEATURES, "--images", 60, "--write", "--quiet")
    assert cli("evaluate", checkpoint, "--data", digits, *options).code == 0
    assert "fd60_cnn-mnist_train_truncation0.7" in (checkpoint / "metrics.json").read_text()
    with Image.open(checkpoint / "truncation.png") as plot:
        assert plot.width > 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": None}, "A checkpoint is compared with real images"),
        ({}, "digits has no test split of its own"),
        ({"split": "holdout"}, "No images are held out"),
        ({"holdout": 0.0001}, "A holdout of 0.0001 of digits has no image"),
        ({"holdout": 0.9999}, "A holdout of 0.9999 of digits leaves no image to train on"),
        ({"split": "train", "features": "cnn"}, "There is no extractor of features 'cnn'"),
    ],
)
def test_what_cannot_be_measured_is_refused(digits, tmp_path, options, message):
    with pytest.raises(InvalidOption, match=message):
        measure(write_checkpoint(tmp_path / "model"), **({"data": str(digits)} | options))


@pytest.mark.parametrize(("holdout", "split"), [(None, "holdout"), pytest.param(0.0, "train", marks=pytest.mark.slow)])
def test_images_of_ones_own_are_measured_as_typed(tmp_path, cli, caplog, holdout, split):
    """No labels, no test split, no features of these images: a run and its checkpoint, without further options."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "photos.npz", images=pixels)
    settings = SMALL | {
        "data": str(tmp_path / "photos.npz"),
        "holdout": holdout,
        "kimg": 0.1,
        "ticks_per_evaluation": 0,
    }
    run_dir = tmp_path / "run"
    train(make_config("dcgan-28", settings), run_dir, quiet=True)
    checkpoint = export_run(run_dir, tmp_path / "model", precisions=("fp32",))
    for words in ([run_dir], [checkpoint, "--data", tmp_path / "photos.npz", "--write"]):
        caplog.clear()
        outcome = cli("evaluate", *words, "--json", "--quiet", "--no-dial")
        assert outcome.code == 0, outcome.err
        metrics = json.loads(outcome.out)
        n = 300 if split == "train" else 30
        assert {f"kd{n}_cnn-general_{split}", f"coverage{n}_cnn-general_{split}"} <= metrics.keys()
        assert not [name for name in metrics if name.startswith(("fd", "cs"))]
        assert [name for name in metrics if name.startswith("nn_ratio")]
        assert [name for name in metrics if name.startswith("swd")]
        assert "the features are those of cnn-general" in caplog.text
        assert ("say nothing about new images" in caplog.text) == (split == "train")
    card = (checkpoint / "README.md").read_text()
    assert "`cnn-general` was trained on garments" in card
    assert "say whose images these are and on which terms: `gan-serve export RUN --out NAME --license" in card
    assert ("10% of the images were held out" in card) == (split == "holdout")
    assert "A longer one (`--kimg" in card
    verify_checkpoint(checkpoint)


def test_nothing_is_written_to_what_is_no_checkpoint(cli, run):
    outcome = cli("evaluate", run, "--write")
    assert outcome.code != 0
    assert "Nothing can be written to" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("name", AGREEMENT)
def test_agreement_and_coverage_over_http_are_those_measured_here(name, tmp_path):
    features, least = AGREEMENT[name]
    extractor, seeds = find_extractor(features), list(range(500))
    generator = Generator.from_pretrained(name, device="cpu")
    labels = [seed % generator.c_dim for seed in seeds]
    here = generator.generate(seeds=seeds, label=labels, output="numpy")
    with running([name], tmp_path) as server, Client(str(server.base_url)) as client:
        pieces = [
            client.generate(name, seeds=seeds[at : at + 50], label=labels[at : at + 50], output="numpy")
            for at in range(0, 500, 50)
        ]
    there = np.concatenate(pieces)
    figures = []
    for images in (here, there):
        logits = logits_of_classes(extractor, generator.class_names, extract(extractor, images).logits)
        assert logits is not None
        figures.append((formulas.label_agreement(logits, np.array(labels)), formulas.class_shares(logits).tolist()))
    assert figures[0] == figures[1]
    assert figures[0][0] > least


@pytest.mark.parametrize("name", [name for name in ZOO if manifest()[name].task == "generate"])
def test_every_generator_of_the_zoo_has_its_figures(name):
    directory = CHECKPOINTS / name
    metrics = json.loads((directory / "metrics.json").read_text())
    for stem in ("fd", "precision", "recall", "nn_ratio", "mean_gradient"):
        assert any(metric.startswith(stem) for metric in metrics), stem
    assert any(metric.endswith("_truncation0.7") for metric in metrics)
    card = (directory / "README.md").read_text()
    assert "](truncation.png)" in card
    assert (directory / "truncation.png").is_file()


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if "no-pairs" in entry.get("evaluate", {})])
def test_images_that_must_not_be_published_are_not(name):
    assert not (CHECKPOINTS / name / "neighbours.png").exists()


class Replay(torch.nn.Module):
    """A generator of given images, whatever its latents; ``quality`` samples them in their order."""

    def __init__(self, images: np.ndarray, c_dim: int) -> None:
        super().__init__()
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        self.z_dim, self.c_dim, self.at = 4, c_dim, 0
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        self.at += len(z)
        return self.images[self.at - len(z) : self.at]


def test_the_log_has_the_worst_class_and_pixels_beside_real_images(digits, monkeypatch):
    """Real digits as a generator's images are real; with one class in another's place, that class stands out."""
    module = "gan_serve.training.monitoring.quality"
    monkeypatch.setattr(f"{module}.FD_IMAGES", 800)
    monkeypatch.setattr(f"{module}.find_extractor", lambda name: Remembering(find_extractor(name)))
    data = load_images(digits)
    thrice = replace(data, images=np.tile(data.images, (3, 1, 1, 1)), labels=np.tile(data.labels, 3))
    order = random_sample(len(thrice), 800)
    measure_quality = quality(thrice, FEATURES)
    real = measure_quality(Replay(thrice.images[order], 10))
    assert real["sharpness"] == real["checkerboard"] == 1
    assert real["worst_class_fd"] < 1  # these are the very images; two sets of other real ones differ
    wrong = thrice.images[order].copy()
    wrong[thrice.labels[order] == 3] = wrong[thrice.labels[order] == 4][0]
    collapsed = measure_quality(Replay(wrong, 10))
    assert collapsed["worst_class_fd"] > 5
    assert next(iter(collapsed)) == "fd800_cnn-mnist_train"
