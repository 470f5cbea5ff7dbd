"""Evaluate a model or a run, by its name, on a data set, by its source, as ``gan-serve evaluate`` does."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gan_serve.checkpoint.config import TrainingData
from gan_serve.errors import DataError, InvalidOption
from gan_serve.exports.samplers import CheckpointSampler, NetworkSampler, run_sampler
from gan_serve.exports.write_evaluation import is_run
from gan_serve.generator import Generator
from gan_serve.training.config import read_config
from gan_serve.training.data.label_tables import NONE
from gan_serve.training.data.load import ImageSet, load_images
from gan_serve.training.data.splits import HOLDOUT
from gan_serve.training.evaluation.evaluate import DEFAULT_OPTIONS, Evaluation, EvaluationOptions, evaluate
from gan_serve.training.evaluation.extractor_registry import extractor_for, find_extractor
from gan_serve.training.evaluation.features import GENERAL

# The share of real images that training saw too: beyond the first an evaluation is refused, beyond the second it warns.
MAX_SEEN, WARN_SEEN = 0.5, 0.05

AnySampler = CheckpointSampler | NetworkSampler

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RealImages:
    """The real images that a model is compared with.

    data: see ``load_images``; the data of the run if None.
    labels: see ``load_images``; as in training if None.
    split: ``test``, ``holdout`` or ``train``; if None ``holdout`` where a share is held out, else ``test``, or
        ``train`` with a warning for a run on images without a test split.
    holdout: the share of the images that was held out from training; as in training if None.
    """

    data: str | None = None
    labels: str | None = None
    split: str | None = None
    holdout: float | None = None


def evaluate_model(
    model_or_run: str | Path,
    real: RealImages = RealImages(),
    *,
    features: str | None = None,
    snapshot: str | None = None,
    own_data: bool = False,
    options: EvaluationOptions = DEFAULT_OPTIONS,
) -> Evaluation:
    """Measure a checkpoint or the averaged generator of a run against real images.

    Args:
        model_or_run: a checkpoint (name, directory, ``org/name``) or the folder of a run.
        real: the images to compare with.
        features: an extractor, see ``find_extractor``; if None, the one of this package that was trained on these
            images, or else ``cnn-general``, with a warning.
        snapshot: a snapshot of a run, see ``load_trained``.
        own_data: refuse real images of another data set than that of its training.
        options: the extent of the evaluation.

    Raises:
        InvalidOption: no data, no extractor, or no held-out images. Other errors: see ``evaluate``,
        ``load_images``, ``find_extractor``, ``Generator.from_pretrained`` and ``load_trained``.

    >>> evaluate_model("fashion-dcgan", RealImages("fashion-mnist")).metrics  # doctest: +SKIP
    {'fd10k_cnn-fashion_test': 0.47572, ...}
    """
    sampler, data = _open(model_or_run, real.data, snapshot)
    # Before the data are loaded, so that its error comes early.
    extractor = find_extractor(features) if features is not None else None
    found = _training_images(sampler, data, real.labels, real.holdout)
    if own_data:
        _check_own(model_or_run, sampler.training_data, real.labels, found)
    if not found.are_known:
        logger.warning(
            "%s is not the data set that %s was trained on; the nearest-neighbour test is left out.",
            found.images.name,
            model_or_run,
        )
    split = real.split or _default_split(sampler.training_data, found)
    images = _real_images(model_or_run, sampler.training_data, split, found)
    return evaluate(
        sampler, images, extractor or find_extractor(_features_for(found.images)),
        split=split, train=found.images if found.are_known else None, options=options,
    )  # fmt: skip


class Source(NamedTuple):
    """The arguments of ``load_images`` except the split."""

    data: str
    resolution: int
    channels: int
    labels: str | None
    holdout: float

    def load(self, split: str) -> ImageSet:
        """Load one split of the data."""
        return load_images(
            self.data, split=split, resolution=self.resolution, channels=self.channels, labels=self.labels,
            holdout=self.holdout,
        )  # fmt: skip


class TrainingImages(NamedTuple):
    """The ``train`` split of a source; ``are_known``: the record of the training says that it saw these images."""

    source: Source
    images: ImageSet
    are_known: bool


def _open(model_or_run: str | Path, data: str | None, snapshot: str | None) -> tuple[AnySampler, str]:
    """Return the sampler, and the source of the images that it is compared with."""
    run = Path(model_or_run)
    if is_run(run):
        return run_sampler(run, snapshot), data or read_config(run / "config.json").data
    if snapshot is not None:
        raise InvalidOption(f"{model_or_run} is a checkpoint and has no snapshots.", "Give the folder of its run.")
    sampler = CheckpointSampler(Generator.from_pretrained(str(model_or_run)))
    if data is None:
        known = f", such as {sampler.training_data.name}" if sampler.training_data else ""
        raise InvalidOption("A checkpoint is compared with real images.", f"Give --data{known}.")
    return sampler, data


def _training_images(sampler: AnySampler, data: str, labels: str | None, holdout: float | None) -> TrainingImages:
    """Return the training images of the data; labels and holdout are those given, or else those of the training.

    The labels and the holdout of the training do not apply to other images.
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
    except DataError:  # the table of the training labels may lack other images
        if labels == as_in_training.labels or as_in_training._replace(labels=NONE).load("train").digest == seen.digest:
            raise
        return TrainingImages(given, given.load("train"), are_known=False)
    if images.digest == seen.digest:
        return TrainingImages(as_in_training, images, are_known=True)
    if holdout is None and as_in_training != given:
        return TrainingImages(given, given.load("train"), are_known=False)
    return TrainingImages(as_in_training, images, are_known=False)


def _check_own(model_or_run: str | Path, seen: TrainingData | None, labels: str | None, found: TrainingImages) -> None:
    """Raise ``InvalidOption`` if the metrics would be those of other images or labels than in training."""
    if not found.are_known and seen is not None:
        raise InvalidOption(
            f"{model_or_run} was trained on other images, and a checkpoint has only metrics of its own data set.",
            f"Give the images of {seen.name} as --data, without --holdout and --labels; or leave out --write.",
        )
    if seen is not None and labels not in (None, seen.labels):
        raise InvalidOption(
            f"{model_or_run} was not trained with --labels {labels}, and a checkpoint has only metrics for its own "
            "labels.",
            "Leave out --labels, or leave out --write.",
        )


def _default_split(seen: TrainingData | None, found: TrainingImages) -> str:
    """Return the split to compare with: ``holdout``, ``test``, or ``train`` where there is no other."""
    if found.source.holdout:
        return HOLDOUT
    if seen is not None and found.are_known and len(found.images):
        try:
            real = found.source.load("test")
        except DataError:
            return "test"  # loading it again raises the error
        if _share_of(real, found.images) > MAX_SEEN:
            logger.warning(
                "No images of %s were held out, so the images are compared with those of the training: the metrics "
                "end in _train and say nothing about new images. Train with --set holdout=0.1 to hold out a tenth.",
                found.images.name,
            )
            return "train"
    return "test"


def _real_images(model_or_run: str | Path, seen: TrainingData | None, split: str, found: TrainingImages) -> ImageSet:
    """Return the images of the split; raise ``InvalidOption`` if there are none, or training saw them."""
    source, train, are_known = found
    if split == HOLDOUT and seen is not None and not are_known:
        raise InvalidOption(
            f"{train.name} is not what {model_or_run} was trained on, or not the same share of it was held out: which "
            "images it has not seen is not known.",
            f"Its training held out {seen.holdout:g} of {seen.name}. Else take --split test or train.",
        )
    if not len(train):
        raise InvalidOption(
            f"A holdout of {source.holdout:g} of {train.name} leaves no image to train on.", "Hold out a smaller one."
        )
    if split == "train":
        return train
    real = source.load(split)
    if not len(real):
        raise InvalidOption(
            f"A holdout of {source.holdout:g} of {real.name} has no image.",
            "Hold out a larger one, or take --split test or train.",
        )
    _check_unseen(real, train, split)
    return real


def _check_unseen(real: ImageSet, train: ImageSet, split: str) -> None:
    """Raise ``InvalidOption`` if most of the images are also training images; warn if some are."""
    seen = _share_of(real, train)
    if seen > MAX_SEEN and split == HOLDOUT:
        raise InvalidOption(
            f"{100 * seen:.0f} % of the held-out images are also training images.",
            "Remove duplicates from the data, or use --split train.",
        )
    if seen > MAX_SEEN:
        raise InvalidOption(
            f"{real.name} has no {split} split of its own.",
            "Give the share that was held out from training (--holdout, as in the run's settings), or use --split "
            "train.",
        )
    if seen >= WARN_SEEN:
        logger.warning("%.0f %% of the %s images of %s are also training images.", 100 * seen, split, real.name)


def _share_of(images: ImageSet, others: ImageSet) -> float:
    """Return the share of images that have an exact copy in ``others``."""
    known = {image.tobytes() for image in others.images}
    return sum(image.tobytes() in known for image in images.images) / len(images)


def _features_for(train: ImageSet) -> str:
    found = extractor_for(train)
    if found is None:
        logger.warning(
            "There is no feature extractor for these images (%s), so the features are those of %s, which was trained "
            "on other images. --features names another one; python -m gan_serve.exports.feature_extractor trains one.",
            train.name,
            GENERAL,
        )
    return found or GENERAL
