"""The figures of a model card: each metric is there, told apart by meaning, with the cautions that it needs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gan_serve.exports.card import average_of
from gan_serve.exports.report import (
    END,
    START,
    compared,
    metrics_block,
    metrics_text,
    of_the_generator,
    truncation_tables,
    with_metrics,
)
from gan_serve.exports.truncation_plot import truncation_plot

PIXELS = {"mean_gradient_1000_seeds": 19.484, "diversity_1000_seeds": 69.653}
SAMPLED = {"fd10k_cnn-fashion_test": 12.3456789, "precision10k_cnn-fashion_test": 0.81, "made_up": 1.5}
NEIGHBOURS = {"nn_ratio_500_train": 0.94}
DIAL = {
    f"{stem}2k_cnn-fashion_test_truncation{truncation:g}": value / truncation
    for truncation in (1.0, 0.5, 0.85)
    for stem, value in (("fd", 10.0), ("precision", 0.4), ("recall", 0.3))
}


def section(block: str, title: str) -> str:
    """Return the text under a heading."""
    return block.partition(f"### {title}\n")[2].partition("\n###")[0]


def test_each_metric_stands_in_its_group_and_none_is_lost():
    block = metrics_block(PIXELS | SAMPLED | NEIGHBOURS | DIAL)
    assert block.startswith(START)
    assert block.endswith(END)
    for name in PIXELS | SAMPLED | NEIGHBOURS:
        assert block.count(f"| `{name}` |") == 1, name
    assert "`fd10k_cnn-fashion_test` | 12.3457 |" in section(block, "Distance to real images")
    assert "lower is better" in section(block, "Distance to real images")
    assert "`made_up` | 1.5 |" in section(block, "Other metrics")
    assert "`mean_gradient_1000_seeds` | 19.484 |" in section(block, "Sharpness, artefacts and diversity")
    assert "### Classes" not in block


def test_distances_without_features_of_these_images_are_explained():
    block = metrics_block({"swd379_holdout": 67.0, "kd379_cnn-general_holdout": 0.11, "cs379_cnn-general": 1.4})
    distance = section(block, "Distance to real images")
    assert "sliced Wasserstein distance between patches" in distance
    assert "`cnn-general` was trained on garments" in distance
    assert "cnn-general" not in metrics_block(SAMPLED)


def test_what_the_figures_cannot_tell_stands_beside_them():
    block = metrics_block(SAMPLED | NEIGHBOURS)
    assert "cannot be compared with published FID" in section(block, "Distance to real images")
    fidelity = section(block, "Fidelity and variety")
    assert "Blends of faces" in fidelity
    assert "Copies of training images have perfect distances" in fidelity
    assert "nearest neighbours below" in fidelity
    assert "was not run here" in section(metrics_block(SAMPLED), "Fidelity and variety")


def test_a_card_without_an_evaluation_speaks_of_pixels_alone():
    block = metrics_block(PIXELS)
    assert "do not tell whether an image makes sense" in block
    assert "FID" not in block
    assert block.count("###") == 1


def test_the_truncation_dial_is_a_table_from_small_to_large():
    block = section(metrics_block(SAMPLED | DIAL), "Truncation")
    rows = [line.split("|")[1:-1] for line in block.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in rows[0]] == ["truncation", "FD", "precision", "recall"]
    assert [row[0].strip() for row in rows[2:]] == ["0.5", "0.85", "1"]
    assert [cell.strip() for cell in rows[2]] == ["0.5", "20", "0.8", "0.6"]
    assert "2k_cnn-fashion_test" in block


def test_each_protocol_of_the_dial_has_its_table():
    other = {"fid2k_inception_test_truncation0.5": 80.0}
    assert list(truncation_tables(DIAL | other)) == ["2k_cnn-fashion_test", "2k_inception_test"]
    assert "| truncation | FID |" in metrics_block(DIAL | other)
    with (
        Image.open(io.BytesIO(truncation_plot(DIAL | other))) as both,
        Image.open(io.BytesIO(truncation_plot(DIAL))) as one,
    ):
        assert both.height == 2 * one.height


def test_what_only_looks_like_the_dial_is_a_figure_as_any_other():
    odd = {"fd2k_cnn_test_truncationhalf": 1.0, "made_up_truncation0.5": 2.0}
    assert not truncation_tables(odd)
    block = metrics_block(odd)
    assert all(f"`{name}`" in block for name in odd)


def test_pictures_are_shown_where_they_are():
    block = metrics_block(NEIGHBOURS | DIAL, {"neighbours.png", "truncation.png", "samples.png"})
    assert "](neighbours.png)" in section(block, "Nearest neighbours")
    assert "](truncation.png)" in section(block, "Truncation")
    assert ".png" not in metrics_block(NEIGHBOURS | DIAL)


def test_what_was_compared_is_read_from_the_names():
    assert compared(SAMPLED) == "10,000 generated and 10,000 real images (test), features cnn-fashion"
    other = {"precision9_x_train": 1.0, "fid1040_my_net_holdout": 3.0}
    assert compared(DIAL | other) == "1,040 generated and 1,040 real images (holdout), features my_net"
    assert compared(PIXELS | DIAL) == ""


def test_the_text_of_a_terminal_has_each_metric_and_says_which_way_is_better():
    paragraphs = metrics_text(PIXELS | SAMPLED | NEIGHBOURS | DIAL).split("\n\n")
    text = {paragraph.partition("\n")[0]: paragraph.splitlines()[1:] for paragraph in paragraphs}
    assert text[
        "Distance to real images (lower is better; fd_floor: the distance between two sets of real images)"
    ] == ["  fd10k_cnn-fashion_test         12.3457"]
    assert text["Other metrics"] == ["  made_up                        1.5"]
    assert [
        line.split()[0] for line in text["Sharpness, artefacts and diversity (best if equal to the real images)"]
    ] == list(PIXELS)
    title, dial = list(text.items())[-1]
    assert "2k_cnn-fashion_test" in title
    assert [line.split() for line in dial[:2]] == [
        ["truncation", "FD", "precision", "recall"],
        ["0.5", "20", "0.8", "0.6"],
    ]
    assert len({len(line) for line in dial}) == 1
    assert metrics_text({}) == ""


def test_the_figures_of_a_card_can_be_replaced_again_and_again():
    card = f"# name\n\n## Figures\n{metrics_block(PIXELS)}\n\n## Limits\nSome.\n"
    changed = with_metrics(card, metrics_block(SAMPLED))
    assert "fd10k" in changed
    assert "mean_gradient" not in changed
    assert with_metrics(changed, metrics_block(PIXELS)) == card


def test_a_card_whose_figures_cannot_be_replaced_gets_them_at_its_end():
    block = metrics_block(PIXELS)
    assert with_metrics("# name\n", block) == f"# name\n\n## Evaluation\n{block}\n"
    assert with_metrics("", block) == f"## Evaluation\n{block}\n"
    half = f"# name\n{START}\n"  # somebody cut the end off
    assert with_metrics(half, block).startswith(f"# name\n{START}")


def test_the_plot_is_a_png_with_a_line_for_each_metric():
    drawn = truncation_plot(DIAL)
    assert drawn == truncation_plot(DIAL)
    with Image.open(io.BytesIO(drawn)) as picture:
        assert picture.size == (500, 320)
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for colour in ((31, 119, 180), (255, 127, 14), (44, 160, 44)):  # Matplotlib's C0 to C2
        assert (pixels == colour).all(axis=1).sum() > 100
    with pytest.raises(ValueError, match="over truncation"):
        truncation_plot(SAMPLED)


def test_the_hub_is_told_of_generated_images_alone():
    metrics = {
        "fd10k_cnn_test": 1.0, "mean_gradient_1000_generated": 2.0, "mean_gradient_1000_test": 3.0,
        "nn_ratio_500_train": 4.0, "nn_l1_unseen_500_train": 5.0, "confident_of_real10k_cnn_test": 6.0,
        "fd2k_cnn_test_truncation0.5": 7.0, "mine": 8.0,
    }  # fmt: skip
    assert of_the_generator(metrics) == {
        "fd10k_cnn_test": 1.0, "mean_gradient_1000_generated": 2.0, "nn_ratio_500_train": 4.0, "mine": 8.0
    }  # fmt: skip


def test_the_card_of_a_run_without_an_average_does_not_speak_of_one():
    assert "moving average of the generator's, half-life 10 thousand" in average_of(10, "generator")
    assert average_of(0, "generator") == (
        "The weights are those of the generator after the last step; no average was kept."
    )
