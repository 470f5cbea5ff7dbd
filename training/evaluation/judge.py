"""Evaluate a model or a run, by its name, on a data set, by its source: what ``gan-serve evaluate`` does."""

from __future__ import annotations

from pathlib import Path

from gan_serve.errors import InvalidOption
from gan_serve.generator import Generator
from gan_serve.training.config import read_config
from gan_serve.training.data import ImageSet, load_images
from gan_serve.training.evaluation.evaluate import IMAGES, Evaluation, evaluate
from gan_serve.training.evaluation.extractor import INCEPTION, extractor_for, extractors, find_extractor
from gan_serve.training.evaluation.samplers import CheckpointSampler, NetworkSampler, run_sampler
from gan_serve.training.sources.splits import HOLDOUT


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
    quiet: bool = False,
) -> Evaluation:
    """Measure a checkpoint or the averaged generator of a run against real images.

    Args:
        model_or_run: a checkpoint (name, directory, ``org/name``) or the folder of a run.
        data: real images, see ``load_images``; those of the run if None.
        labels: see ``load_images``; those of the run if None.
        split: ``test``, ``holdout`` or ``train``; if None ``holdout`` where a share is held out, else ``test``.
        holdout: the share of the data that training did not see; that of the run if None.
        features: an extractor, see ``find_extractor``; if None our own that was trained on these data.
        images, dial, pairs, quiet: see ``evaluate``.
        snapshot: of a run, see ``load_trained``.

    Raises:
        InvalidOption: no data, no extractor, or no images that training did not see. Else see ``evaluate``,
        ``load_images``, ``find_extractor``, ``Generator.from_pretrained`` and ``load_trained``.
    """
    sampler: CheckpointSampler | NetworkSampler
    run = Path(model_or_run)
    if (run / "run.json").is_file():
        config = read_config(run / "config.json")
        sampler = run_sampler(run, snapshot)
        data, labels = data or config.data, labels or config.labels
        holdout = config.holdout if holdout is None else holdout
    else:
        sampler = CheckpointSampler(Generator.from_pretrained(str(model_or_run)))
    if data is None:
        raise InvalidOption("A checkpoint is compared with real images.", "Give --data.")
    holdout = holdout or 0.0
    split = split or (HOLDOUT if holdout else "test")

    def load(split: str) -> ImageSet:
        return load_images(
            data,
            split=split,
            resolution=sampler.img_resolution,
            channels=sampler.img_channels,
            labels=labels,
            holdout=holdout,
        )

    train = load("train")
    real = train if split == "train" else load(split)
    if split != "train" and real.digest == train.digest:
        raise InvalidOption(
            f"{real.name} has no {split} split of its own.",
            "Say which share training did not see (--holdout, as in the run's settings), or take --split train.",
        )
    extractor = find_extractor(features or _features_for(train))
    return evaluate(
        sampler, real, extractor,
        split=split, train=None if split == "train" else train, images=images, dial=dial, pairs=pairs, quiet=quiet,
    )  # fmt: skip


def _features_for(train: ImageSet) -> str:
    found = extractor_for(train)
    if found is None:
        raise InvalidOption(
            f"No extractor of features was trained on {train.name}.",
            f"Name one: --features {' or '.join([*extractors(), INCEPTION])}; or train one: "
            "python -m gan_serve.exports.extractor.",
        )
    return found
