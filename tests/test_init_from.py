"""Runs that start from a checkpoint: what they begin with, what is recorded, what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from training_runs import SMALL, end, same, start_two

from gan_serve import Generator
from gan_serve.checkpoint.files import read_config
from gan_serve.errors import DigestMismatch, InvalidOption, RunError, UnknownModel
from gan_serve.exports.card import Measurements, Publication, model_card
from gan_serve.exports.export import export_run
from gan_serve.exports.parity import Parity
from gan_serve.images.grid import grid
from gan_serve.images.pixels import from_pil
from gan_serve.training.config import command_line, make_config
from gan_serve.training.initial_weights import compare_classes
from gan_serve.training.load_run import load_trained
from gan_serve.training.loop import train
from gan_serve.training.snapshots import load_snapshot, snapshots

pytestmark = pytest.mark.usefixtures("fewer_images")
CGAN = SMALL | {"recipe": "cgan", "width": 0.25, "kimg": 0.3, "ticks_per_evaluation": 0}


@pytest.fixture(scope="module")
def start(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional checkpoint of 8x8 digits."""
    folder = tmp_path_factory.mktemp("start")
    train(config(digits), folder / "run", quiet=True)
    return export_run(folder / "run", folder / "digits-cgan", precisions=["fp32"])


@pytest.fixture(scope="module")
def plain(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the same digits without classes."""
    folder = tmp_path_factory.mktemp("plain")
    train(config(digits, conditional=False), folder / "run", quiet=True)
    return export_run(folder / "run", folder / "digits-plain", precisions=["fp32"])


@pytest.fixture(scope="module")
def other_digits(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits with black and white exchanged, under other names."""
    path = tmp_path_factory.mktemp("other") / "other.npz"
    with np.load(digits) as data:
        names = np.array(["zero", *map(str, range(1, 10))])
        np.savez(path, images=255 - data["images"], labels=data["labels"], class_names=names)
    return path


@pytest.fixture(scope="module")
def tuned(start: Path, other_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that started from the checkpoint."""
    run_dir = tmp_path_factory.mktemp("tuned") / "run"
    train(config(other_digits, init_from=str(start)), run_dir, quiet=True)
    return run_dir


def config(data: Path, **settings: object):
    values = CGAN | {"data": str(data)} | settings
    return make_config(values.pop("recipe"), values)


def test_generator_and_average_start_from_the_checkpoints_weights(start, other_digits, tmp_path):
    train(config(other_digits, init_from=str(start), keep_snapshots=9), tmp_path / "run", quiet=True)
    first = load_snapshot(snapshots(tmp_path / "run")[0])
    weights = load_file(start / "generator.safetensors")
    assert first["shown"] == 0
    assert same(dict(first["generator"]), weights)
    assert same(dict(first["ema"]), weights)
    last = load_snapshot(snapshots(tmp_path / "run")[-1])
    assert not same(dict(last["generator"]), weights)


def test_the_first_grid_is_drawn_by_the_checkpoint(start, tuned):
    seeds, labels = list(range(8)) * 10, np.repeat(np.arange(10), 8).tolist()
    drawn = Generator.from_pretrained(start, device="cpu").sample(seeds=seeds, label=labels).pixels
    with Image.open(tuned / "grids" / "kimg000000.000.png") as image:
        first = from_pil(image)
    assert np.abs(first.astype(int) - grid(drawn, columns=8)).max() <= 1


def test_a_checkpoint_without_its_weights_file_starts_with_the_same_images(start, other_digits, tmp_path):
    """As in the wheel: the weights are read from ``generator.onnx``."""
    bare = Path(shutil.copytree(start, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors")))
    train(config(other_digits, init_from=str(bare)), tmp_path / "run", quiet=True)
    seeds, labels = list(range(8)) * 10, np.repeat(np.arange(10), 8).tolist()
    drawn = Generator.from_pretrained(start, device="cpu").sample(seeds=seeds, label=labels).pixels
    with Image.open(tmp_path / "run" / "grids" / "kimg000000.000.png") as image:
        first = from_pil(image)
    assert np.abs(first.astype(int) - grid(drawn, columns=8)).max() <= 1
    digest = f"sha256:{read_config(start).files['generator.onnx'].sha256}"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["init_from"]["digest"] == digest


def test_the_run_and_its_card_name_the_checkpoint(start, tuned):
    digest = f"sha256:{read_config(start).files['generator.safetensors'].sha256}"
    assert json.loads((tuned / "run.json").read_text())["init_from"] == {"name": "digits-cgan", "digest": digest}
    assert json.loads((tuned / "config.json").read_text())["init_from"] == str(start)
    parity = Parity.model_validate_json((start / "parity.json").read_bytes())  # of another export
    measured = Measurements(parity, {}, {"fp32": 1}, gradient=19.0, truncated_gradient=18.0, truncation=0.7)
    card = model_card("tuned", load_trained(tuned), Publication("mit", "nobody"), measured)
    assert f"Started from the weights of `digits-cgan` (`{digest}`)." in card
    assert f"--init-from {start}" in card
    assert "Started from" not in (start / "README.md").read_text()


def test_a_run_goes_on_without_the_checkpoint(cli, start, other_digits, tmp_path):
    gone = Path(shutil.copytree(start, tmp_path / "gone"))
    settings = [f"--set={key}={value}" for key, value in CGAN.items() if key not in ("recipe", "kimg")]
    words = ["train", "--quiet", "--run-dir", tmp_path / "run", "--kimg", "0.3"]
    begun = cli(*words, "--recipe", "cgan", "--data", other_digits, "--init-from", gone, *settings)
    assert begun.code == 0, begun.err
    shutil.rmtree(gone)
    for snapshot in snapshots(tmp_path / "run")[1:]:  # as if killed before its first tick
        snapshot.unlink()
    assert cli(*words, "--resume").code == 0
    alone = train(config(other_digits, init_from=str(start)), tmp_path / "alone", quiet=True)
    resumed = load_snapshot(snapshots(tmp_path / "run")[-1])
    assert same(load_snapshot(alone), resumed, ignoring="seconds")


def test_a_run_cannot_change_what_it_started_from(cli, start, tuned, other_digits, digits, tmp_path):
    outcome = cli("train", "--resume", "--run-dir", tuned, "--init-from", "fashion-dcgan")
    assert outcome.code == 1
    assert f"was started from the checkpoint '{start}', not from the checkpoint 'fashion-dcgan'" in outcome.err
    with pytest.raises(RunError, match="not from random weights"):
        train(config(other_digits), tuned, resume=True, quiet=True)
    train(config(digits, kimg=0.05), tmp_path / "run", quiet=True)
    with pytest.raises(RunError, match="was started from random weights"):
        train(config(digits, init_from=str(start)), tmp_path / "run", resume=True, quiet=True)


def test_a_checkpoint_that_changed_before_the_first_snapshot_is_refused(start, tuned, other_digits, tmp_path):
    copy = Path(shutil.copytree(tuned, tmp_path / "run"))
    shutil.rmtree(copy / "snapshots")
    info = json.loads((copy / "run.json").read_text())
    info["init_from"]["digest"] = "sha256:" + "0" * 64
    (copy / "run.json").write_text(json.dumps(info))
    with pytest.raises(RunError, match="other weights than digits-cgan has now"):
        train(config(other_digits, init_from=str(start)), copy, resume=True, quiet=True)


@pytest.mark.parametrize(
    ("settings", "problem", "hint"),
    [
        ({"z_dim": 17}, "its z_dim is 16, the run's 17", "Add --set z_dim=16."),
        ({"resolution": 16}, "its resolution is 8, the run's 16", "Add --set resolution=8."),
        ({"channels": 3}, "its channels is 1, the run's 3", "Add --set channels=1."),
        ({"width": 1}, "its width is 0.25, the run's 1", "Add --set width=0.25."),
        ({"upsampling": "nearest"}, "its upsampling is transposed, the run's nearest", "--set upsampling=transposed."),
        ({"conditional": False}, "its conditional is true, the run's false", "Add --set conditional=true."),
        (
            {"recipe": "dcgan-28", "conditional": True, "z_dim": 17},
            "its family of networks is dcgan, the run's dcgan28; its z_dim is 16, the run's 17.",
            "Use the recipe cgan or dcgan-64 or dcgan-64-upsample or lsgan or recommended-64 or sngan-hinge",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_told_what_to_set(start, digits, tmp_path, settings, problem, hint):
    with pytest.raises(InvalidOption, match="digits-cgan does not fit the run") as error:
        train(config(digits, init_from=str(start), **settings), tmp_path / "run", quiet=True)
    assert problem in error.value.message
    assert hint in error.value.hint
    assert not (tmp_path / "run" / "config.json").exists()


def test_what_the_hint_says_makes_it_fit(cli, digits, tmp_path):
    words = ["train", "--quiet", "--run-dir", tmp_path / "run", "--data", digits, "--init-from", "fashion-dcgan"]
    words += ["--kimg", "0.01", "--set", "batch_size=8", "--set", "ticks_per_evaluation=0"]
    refused = cli(*words, "--recipe", "wgan-gp")
    assert refused.code == 1
    said = "Use the recipe dcgan-28, add --set z_dim=100 --set resolution=28."
    assert said in refused.err
    assert cli(*words, "--recipe", "dcgan-28", "--set", "z_dim=100", "--set", "resolution=28").code == 0


def test_another_number_of_classes_is_refused(start, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "three.npz", images=rng.integers(0, 256, (60, 8, 8), np.uint8), labels=np.arange(60) % 3)
    with pytest.raises(InvalidOption, match="it has 10 classes, the images 3") as error:
        train(config(tmp_path / "three.npz", init_from=str(start)), tmp_path / "run", quiet=True)
    assert error.value.hint == "Give images of 10 classes."


def test_classes_of_other_names_are_told(cli, start, other_digits, tmp_path):
    settings = [f"--set={key}={value}" for key, value in CGAN.items() if key not in ("recipe", "kimg")]
    words = ["train", "--recipe", "cgan", "--data", other_digits, "--run-dir", tmp_path / "run", "--kimg", "0.05"]
    outcome = cli(*words, "--init-from", start, *settings)
    assert outcome.code == 0
    assert (
        "class 0 was '0' and is 'zero' now. Each class starts from the one with the same index."
        in outcome.out + outcome.err
    )
    assert not compare_classes(("a", "b"), ("a", "b"))
    assert compare_classes(tuple("abcde"), tuple("edcba")).count(" and is ") == 3


def test_a_checkpoint_that_cannot_be_trusted_is_refused(start, digits, tmp_path):
    bad = Path(shutil.copytree(start, tmp_path / "bad"))
    content = bytearray((bad / "generator.safetensors").read_bytes())
    content[-1] ^= 1
    (bad / "generator.safetensors").write_bytes(content)
    with pytest.raises(DigestMismatch, match=r"generator\.safetensors"):
        train(config(digits, init_from=str(bad)), tmp_path / "run", quiet=True)
    with pytest.raises(UnknownModel):
        train(config(digits, init_from="fashion-dcgam"), tmp_path / "run", quiet=True)


@pytest.mark.slow
def test_two_processes_start_from_the_same_weights(start, other_digits, tuned, tmp_path):
    code, _, err = end(start_two(other_digits, tmp_path / "run", CGAN | {"init_from": start}))
    assert code == 0, err
    two, one = (load_snapshot(snapshots(run)[-1])["generator"] for run in (tmp_path / "run", tuned))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-3)


def test_the_command_line_in_the_card_starts_the_same_run(digits):
    told = command_line(config(digits, init_from="org/name@main"))
    assert "--init-from org/name@main" in told


def test_a_conditional_run_starts_from_a_checkpoint_without_classes(plain, digits, tmp_path):
    train(config(digits, init_from=str(plain), keep_snapshots=9), tmp_path / "run", quiet=True)
    drawn = Generator.from_pretrained(plain, device="cpu").generate(seeds=list(range(8)), output="numpy")
    with Image.open(tmp_path / "run" / "grids" / "kimg000000.000.png") as image:
        first = from_pil(image)
    assert np.abs(first.astype(int) - grid(np.tile(drawn, (10, 1, 1, 1)), columns=8)).max() <= 1
    last = load_snapshot(snapshots(tmp_path / "run")[-1])["generator"]["layers.dense.weight"]
    assert last.shape[1] == 26
    assert (last[:, 16:] != 0).any()


@pytest.mark.slow
def test_styles_have_no_columns_for_labels(digits, tmp_path):
    stylegan = {"recipe": "stylegan", "width": 0.1, "style_mixing": None, "mapping_layers": 2}
    train(config(digits, **stylegan, conditional=False), tmp_path / "plain", quiet=True)
    checkpoint = export_run(tmp_path / "plain", tmp_path / "digits-plain", precisions=["fp32"])
    with pytest.raises(InvalidOption, match="its conditional is false, the run's true"):
        train(config(digits, **stylegan, conditional=True, init_from=str(checkpoint)), tmp_path / "run", quiet=True)


def test_labels_that_reach_every_batch_norm_cannot_join_a_checkpoint_without_classes(plain, digits, tmp_path):
    told = config(digits, g_conditioning="batchnorm", init_from=str(plain))
    with pytest.raises(InvalidOption, match="g_conditioning is concat, the run's batchnorm") as error:
        train(told, tmp_path / "told", quiet=True)
    assert "--set conditional=false" in error.value.hint
