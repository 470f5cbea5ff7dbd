"""Metrics on constructed cases: what is drawn is known, so it is known what the figures must say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from remembering import Remembering

from gan_serve.errors import InvalidOption
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.image_set import Int64Array
from gan_serve.training.data.load import ImageSet, load_images
from gan_serve.training.evaluation.cache import cached_features
from gan_serve.training.evaluation.evaluate import EvaluationOptions, evaluate
from gan_serve.training.evaluation.extractor_registry import find_extractor
from gan_serve.training.evaluation.features import Extractor, Features, extract, logits_of_classes

QUICK = EvaluationOptions(truncations=False, quiet=True)


@dataclass
class ArraySampler:
    """Samples image ``seed`` of an array, whatever the label and truncation."""

    images: UInt8Array
    class_names: tuple[str, ...] = ()
    img_resolution: int = 12
    img_channels: int = 1

    def sample(self, seeds: Sequence[int], labels: Int64Array | None, truncation: float) -> UInt8Array:
        return self.images[list(seeds)]


@dataclass
class Truncating(ArraySampler):
    """The smaller the truncation, the fewer different images. ``drawn``: how many at each truncation."""

    drawn: Counter[float] = field(default_factory=Counter)

    def sample(self, seeds: Sequence[int], labels: Int64Array | None, truncation: float) -> UInt8Array:
        self.drawn[truncation] += len(seeds)
        return self.images[[round(seed * truncation) for seed in seeds]]


@dataclass
class ByClass(ArraySampler):
    """Draws an image of the class that it is asked for; ``images`` are of ``labels`` by ``class_names``."""

    labels: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def sample(self, seeds: Sequence[int], labels: Int64Array | None, truncation: float) -> UInt8Array:
        of_class = [self.images[self.labels == label] for label in range(len(self.class_names))]
        return np.stack(
            [of_class[label][seed % len(of_class[label])] for seed, label in zip(seeds, labels, strict=True)]
        )


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Remembering(find_extractor("cnn-mnist"))


def framed(data: ImageSet) -> ImageSet:
    """Digits of 12x12 pixels with a black border, as MNIST has them, for the network that knows MNIST."""
    return replace(data, images=np.pad(data.images, ((0, 0), (2, 2), (2, 2), (0, 0))))


@pytest.fixture(scope="module")
def halves(digits: Path) -> tuple[ImageSet, ImageSet]:
    """Digits to train on, and as many others that training did not see; in a random order."""
    return halves_of(digits, 400)


def halves_of(digits: Path, size: int) -> tuple[ImageSet, ImageSet]:
    data = framed(load_images(digits))
    order = np.random.RandomState(5).permutation(len(data))
    return data.only(order[:size]), data.only(order[size : 2 * size])


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def clean(halves, extractor) -> dict[str, float]:
    """The figures of real images that training did not see, as a perfect generator would sample them."""
    train, real = halves
    return figures(train.images, real, extractor)


def in_order(real: ImageSet) -> UInt8Array:
    """The real images in the order that ``evaluate`` takes them in."""
    return real.images[np.random.RandomState(0).permutation(len(real))]


def figures(drawn: UInt8Array, real: ImageSet, extractor: Extractor, **options) -> dict[str, float]:
    return evaluate(ArraySampler(drawn), real, extractor, split="test", options=QUICK, **options).metrics


def test_the_same_images_are_at_no_distance(halves, extractor):
    _, real = halves
    metrics = figures(in_order(real), real, extractor)
    assert metrics["fd400_cnn-mnist_test"] < 1e-6
    assert metrics["precision400_cnn-mnist_test"] == metrics["recall400_cnn-mnist_test"] == 1
    assert metrics["coverage400_cnn-mnist_test"] == 1
    assert metrics["class_share_max400_cnn-mnist"] < 0.2


def test_unseen_real_images_are_near(clean):
    assert clean["precision400_cnn-mnist_test"] > 0.6
    assert clean["recall400_cnn-mnist_test"] > 0.6
    assert clean["fd400_cnn-mnist_test"] < 1
    assert clean["classes_missing400_cnn-mnist"] == 0


def test_one_class_alone_lowers_recall_and_coverage_but_not_precision(halves, extractor, clean):
    train, real = halves
    zeros = train.images[train.labels == 0]
    metrics = figures(np.tile(zeros, (20, 1, 1, 1))[:400], real, extractor)
    assert metrics["precision400_cnn-mnist_test"] > clean["precision400_cnn-mnist_test"] - 0.1
    assert metrics["recall400_cnn-mnist_test"] < 0.3
    assert metrics["coverage400_cnn-mnist_test"] < 0.3
    assert metrics["classes_missing400_cnn-mnist"] >= 7
    assert metrics["fd400_cnn-mnist_test"] > 10 * clean["fd400_cnn-mnist_test"]


def test_noise_lowers_precision_and_sharpens(halves, extractor, clean):
    train, real = halves
    noise = np.random.RandomState(3).normal(0, 90, train.images.shape)
    noisy = np.clip(train.images + noise, 0, 255).astype(np.uint8)
    worse = figures(noisy, real, extractor)
    assert worse["precision400_cnn-mnist_test"] < clean["precision400_cnn-mnist_test"] - 0.3
    assert worse["mean_gradient_400_generated"] > 1.3 * worse["mean_gradient_400_test"]


def test_copies_look_perfect_but_to_the_nearest_neighbours(digits, extractor):
    train, real = halves_of(digits, 800)
    copies = figures(train.images, real, extractor, train=train)
    others, unseen = real.only(np.arange(400)), real.only(np.arange(400, 800))
    honest = figures(others.images, unseen, extractor, train=train)
    assert copies["precision800_cnn-mnist_test"] > 0.6
    assert copies["nn_ratio_500_train"] == copies["nn_l1_generated_500_train"] == 0
    assert copies["nn_l1_unseen_500_train"] > 0
    assert copies["nn_suspects_500_train"] == 1
    assert honest["nn_ratio_400_train"] == pytest.approx(1, abs=0.1)
    assert honest["nn_suspects_400_train"] < 0.05


def test_copies_are_suspects_also_where_the_data_hold_images_twice(digits, extractor):
    data = framed(load_images(digits))
    order = np.random.RandomState(6).permutation(len(data))
    train, unseen, others = (data.only(order[start : start + 500]) for start in (0, 500, 1000))
    twice = replace(unseen, images=np.concatenate([train.images[:10], unseen.images[10:]]))  # 2 %
    few_copies = np.concatenate([train.images[:60], others.images[60:]])
    assert figures(few_copies, twice, extractor, train=train)["nn_suspects_500_train"] == 60 / 500
    assert figures(few_copies, unseen, extractor, train=train)["nn_suspects_500_train"] >= 60 / 500
    assert figures(others.images, unseen, extractor, train=train)["nn_suspects_500_train"] < 0.03


def test_a_hundredth_needs_a_hundred_images(halves, extractor):
    train, real = halves
    for n, told in ((99, False), (100, True)):
        metrics = figures(real.images[100 : 100 + n], real.only(np.arange(n)), extractor, train=train)
        assert (f"nn_suspects_{n}_train" in metrics) == told
        assert f"nn_ratio_{n}_train" in metrics


def test_an_honest_generator_is_as_far_from_the_training_images_as_unseen_ones(digits, extractor):
    data = framed(load_images(digits))
    order = np.random.RandomState(6).permutation(len(data))
    train, real, others = (data.only(order[start : start + 500]) for start in (0, 500, 1000))
    evaluation = evaluate(ArraySampler(others.images), real, extractor, split="test", train=train, options=QUICK)
    assert evaluation.metrics["nn_ratio_500_train"] == pytest.approx(1, abs=0.1)
    assert evaluation.pictures["neighbours.png"].startswith(b"\x89PNG")


def test_shuffled_labels_agree_by_chance(digits, extractor):
    _, real = halves_of(digits, 800)
    names = real.class_names
    order = np.random.RandomState(0).permutation(len(real))
    sampler = ArraySampler(real.images[order], names)
    right = evaluate(sampler, real, extractor, split="test", options=QUICK).metrics
    shuffled = replace(real, labels=np.random.RandomState(8).permutation(real.labels))
    wrong = evaluate(sampler, shuffled, extractor, split="test", options=QUICK).metrics
    assert right["label_agreement800_cnn-mnist"] > 0.7  # 8x8 digits, by a classifier of 28x28 ones
    assert wrong["label_agreement800_cnn-mnist"] == pytest.approx(0.1, abs=0.04)
    assert right["recall_within_class_min800_cnn-mnist_test"] == 1


def test_classes_are_matched_by_name(halves, extractor):
    _, real = halves
    order = np.random.RandomState(0).permutation(len(real))
    backwards = ArraySampler(real.images[order], tuple(reversed(real.class_names)))
    metrics = evaluate(backwards, real, extractor, split="test", options=QUICK).metrics
    assert metrics["label_agreement400_cnn-mnist"] > 0.7


def test_the_sampler_is_asked_for_the_classes_that_its_images_are_judged_by(digits, extractor):
    train, real = halves_of(digits, 800)
    recognised = train.only(extract(extractor, train.images).logits.argmax(1) == train.labels)
    assert real.class_names == tuple("0123456789")
    names = tuple(reversed(real.class_names))
    sampler = ByClass(recognised.images, names, labels=9 - recognised.labels)
    metrics = evaluate(sampler, real, extractor, split="test", options=QUICK).metrics  # 800: two pieces
    assert metrics["label_agreement800_cnn-mnist"] == metrics["label_agreement_worst_class800_cnn-mnist"] == 1
    assert metrics["classes_missing800_cnn-mnist"] == 0


def test_classes_that_the_features_do_not_know_are_told(halves, caplog):
    _, real = halves
    metrics = evaluate(
        ArraySampler(in_order(real), real.class_names), real, Counting(), split="test", options=QUICK
    ).metrics
    assert "counting does not have the classes of the generator (0; 1; 2; 3; 4 and 5 more)" in caplog.text
    assert caplog.text.count("does not have the classes") == 1
    assert not any(name.startswith(("label_agreement", "class")) for name in metrics)


def test_the_truncation_dial_gives_up_variety(halves, extractor):
    train, real = halves
    sampler = Truncating(train.images)
    metrics = evaluate(sampler, real, extractor, split="test", options=EvaluationOptions(quiet=True)).metrics
    recalls = [metrics[f"recall400_cnn-mnist_test_truncation{t}"] for t in (0.3, 0.5, 0.7, 0.85, 1)]
    assert recalls[0] < recalls[2] < recalls[4]
    assert metrics["fd400_cnn-mnist_test_truncation1"] == metrics["fd400_cnn-mnist_test"]
    assert sampler.drawn == dict.fromkeys((0.3, 0.5, 0.7, 0.85, 1), 400)  # of truncation 1 no image is drawn twice


def test_diversity_within_a_class_shows_a_generator_that_ignores_its_latents(halves, extractor):
    _, real = halves
    order = np.random.RandomState(0).permutation(len(real))
    firsts = np.stack([real.images[real.labels == label][0] for label in real.labels[order]])
    metrics = evaluate(ArraySampler(firsts, real.class_names), real, extractor, split="test", options=QUICK).metrics
    assert metrics["diversity_within_class_400_generated"] == 0 < metrics["diversity_within_class_400_test"]
    assert metrics["diversity_400_generated"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"img_resolution": 16}, r"images have the shape \[16, 16, 1\], the real ones \[12, 12, 1\]"),
        ({"class_names": ("cat", "dog")}, r"generator has the classes cat, dog, but the real images have 0, 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(halves, extractor, change, message):
    train, real = halves
    with pytest.raises(InvalidOption, match=message):
        evaluate(
            ArraySampler(train.images, **change), real, extractor, split="test", options=EvaluationOptions(quiet=True)
        )


def test_ten_images_are_the_fewest(halves, extractor):
    _, real = halves
    with pytest.raises(InvalidOption, match="9 real images are too few"):
        figures(real.images, real.only(np.arange(9)), extractor)


def test_features_do_not_depend_on_the_batch(halves):
    images, extractor = halves[0].images[:64], find_extractor("cnn-mnist")
    together, one_by_one = extract(extractor, images), extract(extractor, images, piece=1)
    np.testing.assert_allclose(together.features, one_by_one.features, atol=1e-5)
    np.testing.assert_allclose(together.logits, one_by_one.logits, atol=1e-4)


def test_progress_counts_every_image(halves, extractor):
    told: list[int] = []
    extract(extractor, halves[0].images[:70], told.append, piece=32)
    assert told == [32, 32, 6]


@dataclass
class Counting:
    """An extractor that counts what it is asked."""

    name: str = "counting"
    digest: str = "sha256:1"
    class_names: tuple[str, ...] = ()
    attributes: bool = False
    asked: int = 0

    def __call__(self, images: UInt8Array) -> Features:
        self.asked += len(images)
        flat = images.reshape(len(images), -1).astype(np.float32)
        return Features(flat, flat[:, :2])


def test_features_of_real_images_are_computed_once(halves, tmp_path):
    images, extractor = halves[0].images[:50], Counting()
    first = cached_features(extractor, images, folder=tmp_path)
    again = cached_features(extractor, images, folder=tmp_path)
    assert extractor.asked == 50
    np.testing.assert_array_equal(first.features, again.features)
    cached_features(extractor, images[:49], folder=tmp_path)
    cached_features(Counting(digest="sha256:2"), images, folder=tmp_path)
    assert extractor.asked == 99
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x93NUMPY"])
def test_a_damaged_cache_is_computed_again(halves, tmp_path, content):
    images, extractor = halves[0].images[:50], Counting()
    cached_features(extractor, images, folder=tmp_path)
    [path] = tmp_path.iterdir()
    path.write_bytes(content)
    cached_features(extractor, images, folder=tmp_path)
    cached_features(extractor, images, folder=tmp_path)
    assert extractor.asked == 100


def test_a_cache_that_cannot_be_written_is_no_error(halves, tmp_path):
    (tmp_path / "file").write_text("")
    assert len(cached_features(Counting(), halves[0].images[:50], folder=tmp_path / "file").features) == 50


def test_a_class_and_its_absence_are_read_from_an_attribute():
    attributes = Counting(class_names=("Smiling", "Blond_Hair", "Black_Hair"), attributes=True)
    logits = np.array([[5.0, -1.0, 9.0], [-5.0, 2.0, 9.0]], np.float32)
    for name in ("blond hair", "blond"):
        for class_names, seen in (((f"not {name}", name), [0, 1]), ((name, f"not {name}"), [1, 0])):
            found = logits_of_classes(attributes, class_names, logits)
            assert found is not None
            assert found.argmax(1).tolist() == seen
    assert logits_of_classes(attributes, ("cat", "dog"), logits) is None


def test_where_all_images_were_seen_a_tenth_is_left_out_of_the_search(digits, extractor):
    data = framed(load_images(digits))
    order = np.random.RandomState(6).permutation(len(data))
    train, others = data.only(order[:1200]), data.only(order[1200:1700])
    sampler = ArraySampler(np.concatenate([others.images, train.images[:700]]))
    metrics = evaluate(sampler, train, extractor, split="train", train=train, options=QUICK).metrics
    assert metrics["nn_l1_left_out_120_train"] > 0
    assert metrics["nn_ratio_left_out_120_train"] == pytest.approx(1, abs=0.2)
    assert metrics["nn_suspects_left_out_120_train"] < 0.1
    assert not {"nn_l1_unseen_120_train", "nn_ratio_120_train", "nn_suspects_120_train"} & metrics.keys()


@pytest.mark.parametrize(("n", "left_out"), [(10, 1), pytest.param(400, 40, marks=pytest.mark.slow), (501, 50)])
def test_few_training_images_are_compared_too(digits, extractor, n, left_out):
    train, others = halves_of(digits, 800)
    few = train.only(np.arange(n))
    metrics = figures_of_training(others.images, few, extractor)
    assert 0.3 < metrics[f"nn_ratio_left_out_{left_out}_train"] < 3
    copies = figures_of_training(in_order(few)[::-1], few, extractor)  # the images left out are not among the first
    assert copies[f"nn_ratio_left_out_{left_out}_train"] == 0


def figures_of_training(drawn: UInt8Array, train: ImageSet, extractor: Extractor) -> dict[str, float]:
    return evaluate(ArraySampler(drawn), train, extractor, split="train", train=train, options=QUICK).metrics
