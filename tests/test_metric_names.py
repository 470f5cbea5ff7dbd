"""The names of metrics: parsed into their parts, and formatted to the same text."""

from __future__ import annotations

import json

import pytest

from gan_serve.checkpoint.bundled import BUNDLED, list_models
from gan_serve.exports.report import STEMS
from gan_serve.training.evaluation import metric_names
from gan_serve.training.evaluation.metric_names import MetricName

METRICS_FILES = [BUNDLED / name / "metrics.json" for name in list_models()]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "recall_within_class_min10k_cnn-mnist_test",
            MetricName("recall_within_class_min", 10_000, "cnn-mnist", "test"),
        ),
        ("recall10k_cnn-mnist_test", MetricName("recall", 10_000, "cnn-mnist", "test")),
        ("label_agreement_worst_class10k_cnn-mnist", MetricName("label_agreement_worst_class", 10_000, "cnn-mnist")),
        ("label_agreement10k_my_net", MetricName("label_agreement", 10_000, "my_net")),
        ("is10k_inception", MetricName("is", 10_000, "inception")),
        ("diversity_within_class_1000_generated", MetricName("diversity_within_class", 1000, source="generated")),
        ("fid2k_inception_test_truncation0.7", MetricName("fid", 2000, "inception", "test", truncation=0.7)),
        ("fd2k_my_photos_train_truncation1", MetricName("fd", 2000, "my_photos", "train", truncation=1.0)),
        ("confident_of_real10k_cnn-mnist_test", MetricName("confident_of_real", 10_000, "cnn-mnist", "test")),
        ("fd_floor1040_cnn-bricks_holdout", MetricName("fd_floor", 1040, "cnn-bricks", "holdout")),
        ("fd10k_cnn_test_class:T-shirt/top", MetricName("fd", 10_000, "cnn", "test", label="T-shirt/top")),
        ("fd9_cnn-bricks_holdout_class:plate_1x2", MetricName("fd", 9, "cnn-bricks", "holdout", label="plate_1x2")),
        (
            "mean_gradient_1000_generated_truncation0.7",
            MetricName("mean_gradient", 1000, source="generated", truncation=0.7),
        ),
        ("nn_ratio_left_out_500_train", MetricName("nn_ratio_left_out", 500, source="train")),
        ("swd1024_train", MetricName("swd", 1024, source="train")),
        ("swd1k_train_16px", MetricName("swd", 1000, source="train", size=16)),
    ],
)  # fmt: skip
def test_a_name_is_parsed_and_formatted(text, name):
    assert MetricName.parse(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    "text", ["isolated", "precision_of_mine", "swd_500_train", "fd_test", "fd10k", "nn_ratio10k_train", "", "made up"]
)
def test_a_name_of_no_known_form_has_no_parts(text):
    assert MetricName.parse(text) is None


@pytest.mark.parametrize("path", METRICS_FILES, ids=lambda path: path.parent.name)
def test_every_name_of_the_checkpoints_is_known(path):
    for text in json.loads(path.read_text()):
        name = MetricName.parse(text)
        assert name is not None, text
        assert str(name) == text
        assert name.stem in STEMS
        assert name.source in ("", "train", "test", "holdout", "seeds", "generated")
        assert name.features == "" or name.features.startswith("cnn-")


def test_every_stem_is_shown_in_a_group():
    forms = (metric_names.COMPARED, metric_names.CLASSIFIED, metric_names.OF_ONE_SET, metric_names.OF_PIXELS)
    assert sorted(STEMS) == sorted(["swd", *(stem for form in forms for stem in form)])


@pytest.mark.parametrize(
    ("text", "is_reference"),
    [
        ("mean_gradient_1000_seeds", False),
        ("mean_gradient_1000_test", True),
        ("checkerboard_1000_generated", False),
        ("nn_ratio_500_train", False),
        ("nn_l1_unseen_500_train", True),
        ("nn_l1_left_out_500_train", True),
        ("nn_ratio_left_out_500_train", False),
        ("fd10k_cnn_test", False),
        ("fd_floor10k_cnn_test", True),
        ("fd_within_class_max_floor10k_cnn_test", True),
        ("fd_within_class_max10k_cnn_test", False),
        ("label_agreement_balanced_of_real10k_cnn_test", True),
    ],
)
def test_metrics_of_real_images_are_told_apart(text, is_reference):
    name = MetricName.parse(text)
    assert name is not None
    assert name.is_reference == is_reference
