"""Labels, on a small conditional network: its level of grey is 100 for each class, and a little of the latent."""

from __future__ import annotations

import numpy as np
import pytest
from conditional_checkpoint import write_conditional

from gan_serve import Generator, UnknownLabel


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return Generator.from_pretrained(write_conditional(tmp_path_factory.mktemp("conditional")))


def classes_of(pixels: np.ndarray) -> list[int]:
    return [int(image.max()) // 100 for image in pixels]


def test_a_label_is_a_name_or_an_index(conditional):
    assert classes_of(conditional.generate(n=3, seed=0, label="Ankle boot", output="numpy")) == [1, 1, 1]
    assert classes_of(conditional.generate(n=2, seed=0, label=0, output="numpy")) == [0, 0]
    assert classes_of(conditional.generate(n=2, seed=0, label=np.int64(1), output="numpy")) == [1, 1]
    assert classes_of(conditional.generate(n=2, seed=0, label=np.array([1, 0]), output="numpy")) == [1, 0]
    assert classes_of(conditional.generate(seeds="0-2", label=["Bag", 1, "Bag"], output="numpy")) == [0, 1, 0]


def test_without_a_label_the_seed_decides(conditional):
    samples = conditional.sample(seeds=[4, 7, 4])
    assert samples.labels == ["Bag", "Ankle boot", "Bag"]
    assert classes_of(samples.pixels) == [0, 1, 0]


def test_the_receipt_names_the_label(conditional):
    [image] = conditional.generate(seeds=3, label=0)
    assert image.info["gan_serve"]["label"] == "Bag"


def test_a_walk_holds_one_label(conditional):
    frames = conditional.interpolate([0, 1], steps=3, label="Ankle boot", output="numpy")
    assert classes_of(frames) == [1, 1, 1, 1]
    assert conditional.sample_walk([1, 0], steps=2).labels == ["Ankle boot"] * 3


NO_LABELS = ["bag", "Boot", 2, -1, True, 1.0, ["Bag"], ["Bag", "Bag", "Bag"], [None, None], b"\0\1", 10**400]


@pytest.mark.parametrize("label", NO_LABELS)
def test_any_other_label_is_refused(conditional, label):
    with pytest.raises(UnknownLabel):
        conditional.generate(seeds=[0, 1], label=label)


def test_an_unknown_label_lists_the_names_and_the_nearest(conditional):
    with pytest.raises(UnknownLabel, match="Bag, Ankle boot") as error:
        conditional.generate(label="ankle boots")
    assert error.value.hint == "Did you mean 'Ankle boot'?"
