"""A family of networks from a file: the one in docs/own-network.md trains, resumes, exports and evaluates."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from gan_serve import Generator
from gan_serve.errors import InvalidOption
from gan_serve.training.family_file import load_family_file
from gan_serve.training.networks import FAMILIES, build_generator, find_family

PAGE = Path(__file__).parent.parent / "docs" / "own-network.md"


@pytest.fixture
def nets(tmp_path):
    before = dict(FAMILIES)
    path = tmp_path / "nets.py"
    path.write_text(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1))
    yield path
    FAMILIES.clear()
    FAMILIES.update(before)


@pytest.mark.slow
def test_the_network_of_the_docs_trains_resumes_exports_evaluates_and_samples(nets, digits, tmp_path, cli):
    run, checkpoint = tmp_path / "run", tmp_path / "mine"
    small = ["resolution=8", "z_dim=16", "batch_size=32", "kimg_per_tick=0.064", "threads=1", "device=cpu"]
    sets = [word for pair in small for word in ("--set", pair)]
    words = ["train", "--recipe", "lesson-mnist-dcgan", "--data", digits, "--run-dir", run, "--quiet", *sets]
    assert cli(*words, "--family-file", nets, "--kimg", 0.064).code == 0
    assert json.loads((run / "config.json").read_text())["family"] == "my-lesson"

    FAMILIES.pop("my-lesson")  # as a new process
    refused = cli("export", run, "--out", checkpoint)
    assert refused.code != 0
    assert "not known here" in refused.err
    assert "--family-file" in refused.err
    resumed = cli("train", "--run-dir", run, "--resume", "--quiet", "--family-file", nets, "--kimg", 0.128)
    assert resumed.code == 0
    assert cli("export", run, "--out", checkpoint, "--family-file", nets).code == 0
    FAMILIES.pop("my-lesson")
    measure = ["--features", "cnn-mnist", "--images", 64, "--no-dial", "--no-pairs", "--json", "--quiet"]
    assert any(name.startswith("fd") for name in json.loads(cli("evaluate", run, "--family-file", nets, *measure).out))

    FAMILIES.pop("my-lesson")
    generator = Generator.from_pretrained(checkpoint, device="cpu")
    assert generator.generate(seeds=[0, 1], output="numpy").shape == (2, 8, 8, 1)


def test_it_is_the_generator_of_the_lesson(nets):
    assert load_family_file(nets) == ["my-lesson"]
    generator = build_generator("my-lesson", z_dim=100, img_resolution=28, img_channels=1)
    assert sum(weight.numel() for weight in generator.parameters()) == 2_305_472
    assert generator(torch.zeros(2, 100)).shape == (2, 1, 28, 28)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("x = 1", "names no families"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("FAMILIES = {'a': 3}", "is not a Family"),
        ("from gan_serve.training.networks import FAMILIES as F\nFAMILIES = {'mlp': F['mlp']}", "'mlp' already"),
        (
            "from gan_serve.training.networks import FAMILIES as F, Family\n"
            "class G:\n    def __init__(self, z_dim): pass\n"
            "FAMILIES = {'b': Family(G, F['mlp'].discriminator)}",
            "takes no img_resolution, img_channels",
        ),
    ],
)
def test_a_file_that_names_no_usable_family_is_refused(content, says, nets):
    nets.write_text(content)
    with pytest.raises(InvalidOption, match=re.escape(says)):
        load_family_file(nets)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidOption, match="There is no file"):
        load_family_file(tmp_path / "nets.py")


def test_an_entry_point_names_a_family(nets, monkeypatch):
    load_family_file(nets)
    family = FAMILIES.pop("my-lesson")

    class Entry:
        def load(self):
            return family

    def entry_points(*, group, name):
        return [Entry()] if (group, name) == ("gan_serve.families", "my-lesson") else []

    monkeypatch.setattr("gan_serve.training.networks.entry_points", entry_points)
    assert find_family("my-lesson") is family
