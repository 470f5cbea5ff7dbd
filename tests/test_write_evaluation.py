"""An evaluation is put into a checkpoint: figures, pictures, card and digests change together or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from tiny_checkpoint import contents, seal, write_checkpoint

import gan_serve
from gan_serve import Generator
from gan_serve import atomic_files as files
from gan_serve.checkpoint.files import verify_checkpoint
from gan_serve.errors import CannotWrite, DigestMismatch, InvalidCheckpoint, InvalidOption
from gan_serve.exports.report import END, START
from gan_serve.exports.write_evaluation import check_writable, write_evaluation
from gan_serve.images.png import encode_png
from gan_serve.training.evaluation.evaluate import Evaluation

PICTURE = encode_png(np.arange(64, dtype=np.uint8).reshape(8, 8, 1))
EVALUATION = Evaluation(
    metrics={"fd10k_cnn-fashion_test": 12.5, "precision10k_cnn-fashion_test": 0.8, "nn_ratio_500_train": 0.95},
    pictures={"neighbours.png": PICTURE},
)
DIAL = {
    f"{stem}2k_cnn_test_truncation{truncation:g}": 0.5
    for stem in ("fd", "precision", "recall")
    for truncation in (0.5, 1)
}
BUNDLED = Path(gan_serve.__file__).parent / "checkpoints" / "fashion-dcgan"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "tiny")


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    """A copy of a checkpoint as export writes it."""
    return Path(shutil.copytree(BUNDLED, tmp_path / "fashion-dcgan"))


def metrics_of(directory: Path) -> dict[str, float]:
    return json.loads((directory / "metrics.json").read_text())


def test_figures_pictures_card_and_digests_fit_together(tiny):
    before = contents(tiny)
    write_evaluation(tiny, EVALUATION)
    config = verify_checkpoint(tiny)
    assert metrics_of(tiny) == {"made_up_metric": 1.5, **EVALUATION.metrics}
    assert (tiny / "neighbours.png").read_bytes() == PICTURE
    card = (tiny / "README.md").read_text()
    assert "`fd10k_cnn-fashion_test` | 12.5 |" in card
    assert "](neighbours.png)" in card
    assert set(config.files) == {path.name for path in tiny.iterdir()} - {"config.json"}
    for name in ("generator.onnx", "generator.safetensors", "parity.json"):
        assert (tiny / name).read_bytes() == before[name]
    assert Generator.from_pretrained(tiny).generate(seed=0)
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny"]  # nothing is left beside it


def test_a_second_evaluation_replaces_what_has_the_same_name(tiny):
    write_evaluation(tiny, EVALUATION)
    write_evaluation(tiny, Evaluation(metrics={"fd10k_cnn-fashion_test": 11.0}))
    assert metrics_of(tiny)["fd10k_cnn-fashion_test"] == 11.0
    assert metrics_of(tiny)["nn_ratio_500_train"] == 0.95
    card = (tiny / "README.md").read_text()
    assert card.count(START) == card.count(END) == 1
    assert "12.5" not in card
    assert "](neighbours.png)" in card  # the picture is still there
    verify_checkpoint(tiny)


def test_the_same_evaluation_twice_gives_the_same_bytes(tiny):
    write_evaluation(tiny, EVALUATION)
    once = contents(tiny)
    write_evaluation(tiny, EVALUATION)
    assert contents(tiny) == once


def test_the_dial_is_drawn_where_it_comes_without_a_picture(tiny):
    write_evaluation(tiny, Evaluation(metrics=DIAL))
    assert (tiny / "truncation.png").read_bytes().startswith(b"\x89PNG")
    card = (tiny / "README.md").read_text()
    assert "| 0.5 | 0.5 | 0.5 | 0.5 |" in card
    assert "](truncation.png)" in card
    write_evaluation(tiny, Evaluation(metrics=DIAL, pictures={"truncation.png": PICTURE}))
    assert (tiny / "truncation.png").read_bytes() == PICTURE


def test_the_hub_reads_the_new_figures_and_the_rest_of_the_card_stays(fashion):
    before = ModelCard.load(fashion / "README.md")
    write_evaluation(fashion, Evaluation(EVALUATION.metrics | DIAL | {"mean_gradient_1000_seeds": 1.0}))
    after = ModelCard.load(fashion / "README.md")
    assert "fd10k_cnn-fashion_test" in after.data.metrics
    results = {result.metric_type: result for result in after.data.eval_results}
    assert len(results) == len(after.data.eval_results)  # each once
    assert results["fd10k_cnn-fashion_test"].metric_value == 12.5
    assert results["mean_gradient_1000_seeds"].metric_value == 1.0
    assert {result.dataset_name for result in results.values()} == {"fashion-mnist"}
    assert not any("truncation" in name for name in results)  # they are not the checkpoint as it is
    assert (after.data.license, after.data.tags) == (before.data.license, before.data.tags)
    outside = before.text.partition(START)[0].rstrip()
    assert after.text.startswith(outside)


def test_only_the_figures_of_a_card_change(tiny):
    head = "---\nlicense: mit\nodd_key: [1, 2]\n---\n\n\n# tiny  \n\nä"
    (tiny / "README.md").write_text(f"{head}{START}\nold\n{END}\n\ttail\n\n")
    write_evaluation(seal(tiny), EVALUATION)
    card = (tiny / "README.md").read_text()
    assert card.endswith(f"{END}\n\ttail\n\n")
    assert "\n---\n\n\n# tiny  \n\nä<!--" in card
    assert card.startswith("---\nlicense: mit\nodd_key:\n")
    assert "old" not in card


@pytest.mark.parametrize("text", ["", "# no metadata\n", "--- a line, and no metadata\n"])
def test_a_card_without_metadata_gets_none(tiny, text):
    (tiny / "README.md").write_text(text)
    write_evaluation(seal(tiny), EVALUATION)
    card = (tiny / "README.md").read_text()
    assert card.startswith(text.rstrip())
    assert card.count("## Evaluation") == 1
    assert "license" not in card


def test_a_checkpoint_without_card_or_metrics_gets_metrics_alone(tiny):
    (tiny / "README.md").unlink()
    (tiny / "metrics.json").unlink()
    write_evaluation(seal(tiny), EVALUATION)
    assert metrics_of(tiny) == EVALUATION.metrics
    assert not (tiny / "README.md").exists()
    verify_checkpoint(tiny)


def test_a_checkpoint_without_its_weights_for_fine_tuning_still_lists_them(tiny):
    """As a wheel has it."""
    (tiny / "generator.safetensors").unlink()
    write_evaluation(tiny, EVALUATION)
    assert "generator.safetensors" in verify_checkpoint(tiny).files


def test_what_the_config_does_not_list_stays(tiny):
    (tiny / "notes.txt").write_text("mine")
    (tiny / "more").mkdir()
    (tiny / "more" / "config.json").write_text("{}")
    write_evaluation(tiny, EVALUATION)
    assert (tiny / "notes.txt").read_text() == "mine"
    assert (tiny / "more" / "config.json").read_text() == "{}"
    assert "notes.txt" not in verify_checkpoint(tiny).files


def test_a_checkpoint_that_is_not_as_its_config_says_is_left_alone(tiny):
    (tiny / "parity.json").write_text("{}")
    before = contents(tiny)
    with pytest.raises(DigestMismatch):
        write_evaluation(tiny, EVALUATION)
    assert contents(tiny) == before
    with pytest.raises(InvalidCheckpoint):
        write_evaluation(tiny.parent / "nothing", EVALUATION)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("README.md", "---\nlicense: [\n---\n"),
        ("README.md", "---\n- a list\n---\n"),
        ("metrics.json", "[1]"),
        ("metrics.json", '{"fd": "low"}'),
    ],
)
def test_what_cannot_be_read_is_told_and_left_alone(tiny, name, text):
    (tiny / name).write_text(text)
    before = contents(seal(tiny))
    with pytest.raises(InvalidCheckpoint, match=name):
        write_evaluation(tiny, EVALUATION)
    assert contents(tiny) == before


def test_a_disk_that_refuses_leaves_the_old_one(tiny):
    """A name that is too long is refused by every disk, also where the tests run as root."""
    before = contents(tiny)
    with pytest.raises(CannotWrite):
        write_evaluation(tiny, Evaluation(metrics={"fd10k_cnn": 1.0}, pictures={f"{'n' * 300}.png": PICTURE}))
    assert contents(tiny) == before
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny"]


def test_a_picture_that_no_checkpoint_can_hold_leaves_the_old_one(tiny):
    before = contents(tiny)
    with pytest.raises(InvalidCheckpoint):
        write_evaluation(tiny, Evaluation(metrics={}, pictures={".hidden.png": PICTURE}))
    assert contents(tiny) == before


@pytest.mark.parametrize("renames", [1, 3, *(pytest.param(number, marks=pytest.mark.slow) for number in (0, 2))])
def test_one_that_is_killed_between_two_renames_leaves_a_checkpoint_and_no_figure_is_lost(tiny, renames):
    """Metrics, picture, card, then the config: killed after none of them, one, two, three."""
    before = contents(tiny)
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_BETWEEN, str(tiny), str(renames)], check=False)
    assert killed.returncode == 9
    verify_checkpoint(tiny)
    assert Generator.from_pretrained(tiny).generate(seed=0)
    write_evaluation(tiny, Evaluation({}, EVALUATION.pictures))
    config = verify_checkpoint(tiny)
    assert metrics_of(tiny) == {"made_up_metric": 1.5, **(EVALUATION.metrics if renames else {})}
    assert set(config.files) == {*before, "neighbours.png"} - {"config.json"}
    assert {path.name for path in tiny.iterdir()} == {*before, "neighbours.png"}  # nothing is left over
    for name in ("generator.onnx", "generator.safetensors", "parity.json"):
        assert (tiny / name).read_bytes() == before[name]


KILLED_IN_BETWEEN = f"""
import os, sys
import numpy as np
from gan_serve.exports.write_evaluation import write_evaluation
from gan_serve.images.png import encode_png
from gan_serve.training.evaluation.evaluate import Evaluation

replace, checkpoint, left = os.replace, os.path.realpath(sys.argv[1]), int(sys.argv[2])
def die(source, target):
    global left
    if os.path.dirname(target) == checkpoint != os.path.dirname(source):  # out of the folder within
        if not left:
            os._exit(9)
        left -= 1
    replace(source, target)

os.replace = die
picture = encode_png(np.arange(64, dtype=np.uint8).reshape(8, 8, 1))
write_evaluation(checkpoint, Evaluation({EVALUATION.metrics!r}, {{"neighbours.png": picture}}))
"""


def test_where_nothing_can_be_put_is_told_before_the_work(tiny, monkeypatch):
    monkeypatch.setattr(files.os, "access", lambda place, mode: False)  # the tests may run as root, who may all
    with pytest.raises(CannotWrite, match="is not writable"):
        check_writable(str(tiny))


def test_a_link_to_a_checkpoint_stays_a_link(tiny, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tiny)
    write_evaluation(link, EVALUATION)
    assert link.is_symlink()
    assert "fd10k_cnn-fashion_test" in metrics_of(tiny)


def test_a_run_is_refused_with_what_to_do_first(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InvalidOption, match="it is a run") as error:
        check_writable(str(tmp_path))
    assert f"gan-serve export {tmp_path}" in error.value.hint
    with pytest.raises(InvalidOption, match="Nothing can be written to org/name"):
        check_writable("org/name")
