"""From an evaluation to a checkpoint that shows it: metrics.json, the pictures, the model card, the digests."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from pydantic import TypeAdapter, ValidationError
from yaml import YAMLError  # type: ignore[import-untyped]

from gan_serve.atomic_files import cannot_write, check_folder, remove_leftovers, write_atomically
from gan_serve.checkpoint.config import CONFIG_FILE, METRICS_FILE, CheckpointConfig, FileDigest
from gan_serve.checkpoint.files import config_json, digest_files, read_config, read_verified, verify_checkpoint
from gan_serve.errors import InvalidCheckpoint, InvalidOption
from gan_serve.exports.report import (
    CARD_FILE,
    TRUNCATION_PICTURE,
    dials,
    figures_block,
    of_the_generator,
    truncation_plot,
    with_figures,
)
from gan_serve.hub.resolve import find_local
from gan_serve.training.evaluation.evaluate import Evaluation

METRICS = TypeAdapter(dict[str, float])


def write_evaluation(directory: str | Path, evaluation: Evaluation) -> None:
    """Put an evaluation into a checkpoint: its figures, its pictures, the model card and the digests of all of them.

    Metrics of the same name are replaced, others stay. Of the card only the figures and their part of the Hub's
    metadata change; where it has no figures to replace, they are appended. Where metrics of the truncation dial come
    without a picture, it is drawn.

    Raises:
        InvalidCheckpoint, DigestMismatch: the checkpoint is not what its config describes, or its card's metadata
        cannot be read. CannotWrite: the disk refuses; see ``_put``.
    """
    directory = Path(os.path.realpath(directory))
    config = verify_checkpoint(directory)
    metrics = _metrics(directory, config) | evaluation.metrics
    pictures = all_pictures(evaluation, metrics)
    files = {METRICS_FILE: (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode(), **pictures}
    if (directory / CARD_FILE).is_file():
        files[CARD_FILE] = _card(directory / CARD_FILE, metrics, {*config.files, *pictures}).encode()
    _put(directory, config, files)


def _put(directory: Path, config: CheckpointConfig, files: Mapping[str, bytes]) -> None:
    """Put files into a checkpoint and describe them in its config.

    All is first written to a folder within, so that a full disk changes nothing. Then only names change: the config is
    replaced by one that does not describe these files, they come, and the new config. Killed in between, the checkpoint
    draws as before, but describes no card and no figures until an evaluation is written again.
    """

    def with_files(digests: Mapping[str, FileDigest]) -> bytes:
        return config_json(config.model_copy(update={"files": dict(sorted(digests.items()))}))

    others = {name: digest for name, digest in config.files.items() if name not in files}
    with cannot_write(directory):
        remove_leftovers(directory)
        with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=directory) as room:
            new = Path(room)
            for name, content in files.items():
                write_atomically(new / name, content)
            write_atomically(new / CONFIG_FILE, with_files({**others, **digest_files(new)}))
            read_config(new)  # raises where no checkpoint can hold a file of such a name
            write_atomically(directory / CONFIG_FILE, with_files(others))
            for name in (*files, CONFIG_FILE):
                os.replace(new / name, directory / name)


def all_pictures(evaluation: Evaluation, metrics: Mapping[str, float]) -> dict[str, bytes]:
    """The pictures of an evaluation, and a plot of the dial in ``metrics`` where it measured one and has no plot."""
    if not dials(evaluation.metrics) or TRUNCATION_PICTURE in evaluation.pictures:
        return dict(evaluation.pictures)
    return {**evaluation.pictures, TRUNCATION_PICTURE: truncation_plot(metrics)}


def check_writable(model: str) -> Path:
    """The directory of the checkpoint whose figures are to be written.

    Raises:
        InvalidOption: it is no directory of a checkpoint, such as a run or a repository on the Hub. CannotWrite: files
        cannot be put there.
    """
    if is_run(model):
        raise InvalidOption(
            f"Nothing can be written to {model}: it is a run, not a checkpoint.",
            f"Export it first (gan-serve export {model} --out CHECKPOINT), then evaluate the checkpoint.",
        )
    directory = find_local(model) or Path(model)
    try:
        read_config(directory)
    except InvalidCheckpoint as error:
        raise InvalidOption(f"Nothing can be written to {model}.", "Give the directory of a checkpoint.") from error
    check_folder(directory)
    return directory


def is_run(path: str) -> bool:
    """Whether this is the folder of a training run."""
    return os.path.isfile(os.path.join(path, "run.json"))


def _metrics(directory: Path, config: CheckpointConfig) -> dict[str, float]:
    """The metrics that a checkpoint has, also those that a killed write left undescribed; none without a file."""
    path = directory / METRICS_FILE
    if METRICS_FILE not in config.files and not path.is_file():
        return {}
    try:
        described = METRICS_FILE in config.files
        return METRICS.validate_json(read_verified(directory, config, METRICS_FILE) if described else path.read_bytes())
    except ValidationError as error:
        raise InvalidCheckpoint(
            f"{directory / METRICS_FILE} does not hold numbers by name.", "Export the checkpoint again."
        ) from error


def _card(path: Path, metrics: Mapping[str, float], pictures: set[str]) -> str:
    """The card with these figures, in its text and in what the Hub reads of it."""
    try:
        text = path.read_bytes().decode()
        card = ModelCard(text) if text.startswith("---") else None
    except (ValueError, TypeError, YAMLError) as error:
        raise InvalidCheckpoint(
            f"The metadata at the head of {path} cannot be read: {error}", "It is YAML between two lines of ---."
        ) from error
    block = figures_block(metrics, pictures)
    has_metadata = card is not None and card.data.to_dict()  # type: ignore[no-untyped-call]
    if card is None or not isinstance(card.data, ModelCardData) or not has_metadata:
        return with_figures(text, block)
    data, shown = card.data, of_the_generator(metrics)
    others = [result for result in data.eval_results or [] if result.metric_type not in metrics.keys() - shown.keys()]
    data.metrics = sorted({*(data.metrics or ())} - metrics.keys() | shown.keys())
    data.eval_results = _results(others, shown)
    card.text = with_figures(card.text, block)
    return str(card)


def _results(results: list[EvalResult], metrics: Mapping[str, float]) -> list[EvalResult] | None:
    """The Hub's results with these metrics, on the data set of the first; None where no data set is known."""
    if not results:
        return None
    first = results[0]
    of_others = [result for result in results if result.unique_identifier != first.unique_identifier]
    ours = {result.metric_type: result for result in results if result.unique_identifier == first.unique_identifier}
    plain = dataclasses.replace(first, metric_name=None, metric_config=None, metric_args=None)
    ours |= {
        name: dataclasses.replace(ours.get(name, plain), metric_type=name, metric_value=value)
        for name, value in metrics.items()
    }
    return [*(ours[name] for name in sorted(ours)), *of_others]
