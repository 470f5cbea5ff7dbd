"""Evaluate a model or a run, by its name, on a data set, by its source: what ``gan-serve evaluate`` does."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from gan_serve.errors import InvalidOption
from gan_serve.generator import Generator
from gan_serve.training.config import read_config
from gan_serve.training.data import ImageSet, load_images
from gan_serve.training.evaluation.evaluate import IMAGES, Evaluation, evaluate
from gan_serve.training.evaluation.extractor import INCEPTION, extractor_for, extractors, find_extractor
from gan_serve.training.evaluation.samplers import CheckpointSampler, NetworkSampler, run_sampler
from gan_serve.training.sources.splits import HOLDOUT

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
    sampler: CheckpointSampler | NetworkSampler
    run = Path(model_or_run)
    if os.path.isfile(run / "run.json"):  # Path.is_file raises where a name is too long
        sampler = run_sampler(run, snapshot)
        data = data or read_config(run / "config.json").data
    else:
        if snapshot is not None:
            raise InvalidOption(f"{model_or_run} is a checkpoint and has no snapshots.", "Give the folder of its run.")
        sampler = CheckpointSampler(Generator.from_pretrained(str(model_or_run)))
    if data is None:
        known = f", such as {sampler.training_data.name}" if sampler.training_data else ""
        raise InvalidOption("A checkpoint is compared with real images.", f"Give --data{known}.")

    def load(split: str, holdout: float, labels: str | None) -> ImageSet:
        return load_images(
            data,
            split=split,
            resolution=sampler.img_resolution,
            channels=sampler.img_channels,
            labels=labels,
            holdout=holdout,
        )

    extractor = find_extractor(features) if features is not None else None  # an error that needs no data comes first

    # Which images training saw is recorded; it tells whether these are they.
    seen = sampler.training_data
    known_holdout = seen.holdout if seen and holdout is None else holdout or 0.0
    known_labels = seen.labels if seen and labels is None else labels
    train = load("train", known_holdout, known_labels)
    is_known = seen is None or train.digest == seen.digest
    if own_data and not is_known:
        raise InvalidOption(
            f"These are not the images that {model_or_run} was trained on, and its own figures are of those.",
            "Leave out --holdout and --labels to take those of training, or leave out --write.",
        )
    if not is_known and (holdout, labels) == (None, None) and (known_holdout, known_labels) != (0.0, None):
        known_holdout, known_labels = 0.0, None  # they are of other images
        train = load("train", known_holdout, known_labels)
    split = split or (HOLDOUT if known_holdout else "test")
    real = train if split == "train" else load(split, known_holdout, known_labels)
    if split == HOLDOUT and not is_known:
        raise InvalidOption(
            f"{train.name} is not what {model_or_run} was trained on, or not the same share of it was held out: which "
            "images it has not seen is not known.",
            f"Its training held out {seen.holdout:g}." if seen else "Take --split test or train.",
        )
    if split != "train" and _share_of(real, train) > 0.5:
        raise InvalidOption(
            f"{real.name} has no {split} split of its own.",
            "Say which share training did not see (--holdout, as in the run's settings), or take --split train.",
        )
    if seen and not is_known:
        logger.warning("%s is not what it was trained on (%s): no nearest-neighbour test.", train.name, seen.name)
    extractor = extractor or find_extractor(_features_for(train))
    return evaluate(
        sampler, real, extractor,
        split=split, train=train if is_known else None,
        images=images, dial=dial, pairs=pairs, quiet=quiet,
    )  # fmt: skip


def _share_of(images: ImageSet, others: ImageSet) -> float:
    """The share of images that are among others, pixel by pixel."""
    known = {image.tobytes() for image in others.images}
    return sum(image.tobytes() in known for image in images.images) / len(images)


def _features_for(train: ImageSet) -> str:
    found = extractor_for(train)
    if found is None:
        raise InvalidOption(
            f"No extractor of features was trained on {train.name}.",
            f"Name one: --features {' or '.join([*extractors(), INCEPTION])}; or train one: "
            "python -m gan_serve.exports.extractor.",
        )
    return found
