"""``gan-serve evaluate`` on the command line: output, files and errors. Metrics: test_evaluate_model.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_checkpoint import contents

from gan_serve.errors import CannotWrite
from gan_serve.exports import write_evaluation as evaluated
from gan_serve.training.evaluation.extractor_registry import extractors


@pytest.fixture
def options(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Options of a short evaluation, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ["--data", digits, "--split", "train", "--features", "cnn-mnist", "--images", 60, "--quiet"]


def test_the_text_says_what_was_compared_and_groups_the_figures(cli, tiny, options, digits, tmp_path):
    code, out, _ = cli("evaluate", tiny, *options, "--write", "--out-dir", tmp_path / "figures")
    assert code == 0
    head, *paragraphs = out.rstrip().split("\n\n")
    assert head == f"{tiny} beside {digits}: 60 generated and 60 real images (train), features cnn-mnist"
    titles = [paragraph.partition("\n")[0] for paragraph in paragraphs]
    assert titles[0].startswith("Distance to real images (lower is better")
    assert "Other metrics" not in titles  # every metric of an evaluation has its group
    assert titles[-3].startswith("Truncation, 60_cnn-mnist_train")
    assert titles[-2:] == [
        f"Written to {tmp_path / 'figures'}: metrics.json, neighbours.png, truncation.png",
        f"Written into the checkpoint {tiny}: metrics, pictures and card",
    ]
    assert "_truncation" not in out  # truncations are a table
    assert (tmp_path / "figures" / "truncation.png").read_bytes() == (tiny / "truncation.png").read_bytes()
    measured = json.loads((tmp_path / "figures" / "metrics.json").read_text())
    assert all(f"  {name} " in out for name in measured if "_truncation" not in name)


def test_json_is_all_that_is_printed(cli, tiny, options, tmp_path):
    outcome = cli("evaluate", tiny, *options, "--no-dial", "--json", "--out-dir", tmp_path / "figures")
    assert json.loads(outcome.out) == json.loads((tmp_path / "figures" / "metrics.json").read_text())
    assert f"Written to {tmp_path / 'figures'}" in outcome.err


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(cli, tiny, tmp_path):
    (tmp_path / "file").write_text("mine")
    before = contents(tiny)
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        outcome = cli("evaluate", tiny, "--data", tmp_path / "no such data", "--out-dir", folder)
        assert outcome.code == 1
        assert f"Cannot write to {folder}" in outcome.err
        assert f"{tmp_path / 'file'} is not a folder" in outcome.err
    assert contents(tiny) == before


def test_the_files_of_a_checkpoint_are_not_written_over(cli, tiny):
    before = contents(tiny)
    outcome = cli("evaluate", tiny, "--data", tiny / "no such data", "--out-dir", tiny)
    assert outcome.code == 1
    assert "is a checkpoint" in outcome.err
    assert "--write" in outcome.err
    assert contents(tiny) == before


def test_figures_that_cannot_be_written_are_printed(cli, tiny, options, tmp_path, monkeypatch):
    def refuse(directory: Path, evaluation: object) -> None:
        raise CannotWrite("Cannot write: no space left.", "Make some.")

    monkeypatch.setattr(evaluated, "write_evaluation", refuse)
    outcome = cli("evaluate", tiny, *options, "--no-dial", "--write")
    assert outcome.code == 1
    assert "no space left" in outcome.err
    assert any(name.startswith("fd60_") for name in json.loads(outcome.out))


def test_what_has_no_place_for_it_is_refused_before_the_work(cli, tiny, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    outcome = cli("evaluate", tmp_path / "run", "--write")
    assert outcome.code == 1
    assert "it is a run, not a checkpoint" in outcome.err
    assert "gan-serve export" in outcome.err
    outcome = cli("evaluate", tiny, "--data", tmp_path / "no such data", "--snapshot", "best")
    assert outcome.code == 1
    assert "has no snapshots" in outcome.err


def test_the_help_names_the_extractors_that_are_installed(cli):
    told = " ".join(cli("evaluate", "--help").out.split())
    assert all(name in told for name in [*extractors(), "inception"])
    assert "default: the extractor of these images, else cnn-general" in told
    assert "not given" not in told
