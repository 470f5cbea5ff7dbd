"""Evaluate a model or a run, by its name, on a data set, by its source: what ``gan-serve evaluate`` does."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import NamedTuple

from gan_serve.checkpoint.config import TrainingData
from gan_serve.errors import DataError, InvalidOption
from gan_serve.generator import Generator
from gan_serve.training.config import read_config
from gan_serve.training.data.labels import NONE
from gan_serve.training.data.load import ImageSet, load_images
from gan_serve.training.data.splits import HOLDOUT
from gan_serve.training.evaluation.evaluate import IMAGES, Evaluation, evaluate
from gan_serve.training.evaluation.features import INCEPTION, extractor_for, extractors, find_extractor
from gan_serve.training.evaluation.samplers import CheckpointSampler, NetworkSampler, run_sampler

MOST_TWICE, WORTH_A_WARNING = 0.5, 0.05  # shares of the images to compare with that training saw

AnySampler = CheckpointSampler | NetworkSampler

logger = logging.getLogger(__name__)


def judge(
    model_or_run: str | Path,
    data: str | None = None,
    *,
    labels: str | None = None,
    split: str | None = None,
    holdout: float | None = None,
    features: str | None = None,
    images: int = IMAGES,
    snapshot: str | None = None,
    dial: bool = True,
    pairs: bool = True,
    own_data: bool = False,
    quiet: bool = False,
) -> Evaluation:
    """Measure a checkpoint or the averaged generator of a run against real images.

    Args:
        model_or_run: a checkpoint (name, directory, ``org/name``) or the folder of a run.
        data: real images, see ``load_images``; those of the run if None.
        labels: see ``load_images``; as in training if None.
        split: ``test``, ``holdout`` or ``train``; if None ``holdout`` where a share is held out, else ``test``.
        holdout: the share of the data that training did not see; as in training if None.
        features: an extractor, see ``find_extractor``; if None our own that was trained on these data.
        images, dial, pairs, quiet: see ``evaluate``.
        own_data: refuse other images than those it was trained on, and what was held out or kept for tests with them.
        snapshot: of a run, see ``load_trained``.

    Raises:
        InvalidOption: no data, no extractor, or no images that training did not see. Else see ``evaluate``,
        ``load_images``, ``find_extractor``, ``Generator.from_pretrained`` and ``load_trained``.
    """
    sampler, data = _open(model_or_run, data, snapshot)
    extractor = find_extractor(features) if features is not None else None  # an error that needs no data comes first
    found = _training_images(sampler, data, labels, holdout)
    if own_data:
        _check_own(model_or_run, sampler.training_data, labels, found)
    if not found.are_known:
        logger.warning("%s is not what %s was trained on: no nearest-neighbour test.", found.images.name, model_or_run)
    split = split or (HOLDOUT if found.source.holdout else "test")
    real = _real_images(model_or_run, sampler.training_data, split, found)
    return evaluate(
        sampler, real, extractor or find_extractor(_features_for(found.images)),
        split=split, train=found.images if found.are_known else None,
        images=images, dial=dial, pairs=pairs, quiet=quiet,
    )  # fmt: skip


class Source(NamedTuple):
    """What ``load_images`` is told of data, but for the split."""

    data: str
    resolution: int
    channels: int
    labels: str | None
    holdout: float

    def load(self, split: str) -> ImageSet:
        """One split of the data."""
        return load_images(
            self.data, split=split, resolution=self.resolution, channels=self.channels, labels=self.labels,
            holdout=self.holdout,
        )  # fmt: skip


class TrainingImages(NamedTuple):
    """The ``train`` split of a source; ``are_known``: these images are what training saw, as far as it is recorded."""

    source: Source
    images: ImageSet
    are_known: bool


def _open(model_or_run: str | Path, data: str | None, snapshot: str | None) -> tuple[AnySampler, str]:
    """What draws, and the source of the images it is compared with."""
    run = Path(model_or_run)
    if os.path.isfile(run / "run.json"):  # Path.is_file raises where a name is too long
        return run_sampler(run, snapshot), data or read_config(run / "config.json").data
    if snapshot is not None:
        raise InvalidOption(f"{model_or_run} is a checkpoint and has no snapshots.", "Give the folder of its run.")
    sampler = CheckpointSampler(Generator.from_pretrained(str(model_or_run)))
    if data is None:
        known = f", such as {sampler.training_data.name}" if sampler.training_data else ""
        raise InvalidOption("A checkpoint is compared with real images.", f"Give --data{known}.")
    return sampler, data


def _training_images(sampler: AnySampler, data: str, labels: str | None, holdout: float | None) -> TrainingImages:
    """The training images of the data, with labels and holdout as they are given, else as in training.

    Where they are not the images of training, what is recorded of training does not apply to them.
    """
    given = Source(data, sampler.img_resolution, sampler.img_channels, labels, holdout or 0.0)
    seen = sampler.training_data
    if seen is None:
        return TrainingImages(given, given.load("train"), are_known=True)
    as_in_training = given._replace(
        labels=seen.labels if labels is None else labels, holdout=seen.holdout if holdout is None else holdout
    )
    try:
        images = as_in_training.load("train")
    except DataError:  # of other images, the table that training had its labels from may know nothing
        if labels == as_in_training.labels or as_in_training._replace(labels=NONE).load("train").digest == seen.digest:
            raise
        return TrainingImages(given, given.load("train"), are_known=False)
    if images.digest == seen.digest:
        return TrainingImages(as_in_training, images, are_known=True)
    if holdout is None and as_in_training != given:
        return TrainingImages(given, given.load("train"), are_known=False)
    return TrainingImages(as_in_training, images, are_known=False)


def _check_own(model_or_run: str | Path, seen: TrainingData | None, labels: str | None, found: TrainingImages) -> None:
    """Raise InvalidOption where figures would not be the model's own: of other images, or under other labels."""
    if not found.are_known and seen is not None:
        raise InvalidOption(
            f"These are not the images that {model_or_run} was trained on, and its own figures are of those.",
            f"Give those of {seen.name} as --data, without --holdout and --labels; or leave out --write.",
        )
    if seen is not None and labels not in (None, seen.labels):
        raise InvalidOption(
            f"{model_or_run} was not trained with --labels {labels}, and its own figures are by its own labels.",
            "Leave out --labels, or leave out --write.",
        )


def _real_images(model_or_run: str | Path, seen: TrainingData | None, split: str, found: TrainingImages) -> ImageSet:
    """The images of the split to compare with; InvalidOption where they are none, or not what the split says."""
    source, train, are_known = found
    if split == HOLDOUT and seen is not None and not are_known:
        raise InvalidOption(
            f"{train.name} is not what {model_or_run} was trained on, or not the same share of it was held out: which "
            "images it has not seen is not known.",
            f"Its training held out {seen.holdout:g} of {seen.name}. Else take --split test or train.",
        )
    if not len(train):
        raise InvalidOption(
            f"A share of {source.holdout:g} of {train.name} leaves no image to train on.", "Hold out a smaller one."
        )
    if split == "train":
        return train
    real = source.load(split)
    if not len(real):
        raise InvalidOption(
            f"A share of {source.holdout:g} of {real.name} holds out no image.",
            "Hold out a larger one, or take --split test or train.",
        )
    _check_unseen(real, train, split)
    return real


def _check_unseen(real: ImageSet, train: ImageSet, split: str) -> None:
    """Raise InvalidOption where most of the images are among those of training too; warn where some are."""
    twice = _share_of(real, train)
    if twice > MOST_TWICE and split == HOLDOUT:
        raise InvalidOption(
            f"{100 * twice:.0f} % of the held-out images are among the training images too.",
            "Keep each image once in the data, or take --split train.",
        )
    if twice > MOST_TWICE:
        raise InvalidOption(
            f"{real.name} has no {split} split of its own.",
            "Say which share training did not see (--holdout, as in the run's settings), or take --split train.",
        )
    if twice >= WORTH_A_WARNING:
        logger.warning(
            "%.0f %% of the %s images of %s are among the training images too.", 100 * twice, split, real.name
        )


def _share_of(images: ImageSet, others: ImageSet) -> float:
    """The share of images that are among others, pixel by pixel."""
    known = {image.tobytes() for image in others.images}
    return sum(image.tobytes() in known for image in images.images) / len(images)


def _features_for(train: ImageSet) -> str:
    found = extractor_for(train)
    if found is None:
        raise InvalidOption(
            f"No extractor of features was trained on these images ({train.name}).",
            f"Name one: --features {' or '.join([*extractors(), INCEPTION])}; or train one: "
            "python -m gan_serve.exports.feature_extractor.",
        )
    return found
