"""Write an evaluation into a checkpoint: metrics.json, the pictures, the model card, the digests."""

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
from gan_serve.checkpoint.config import CONFIG_FILE, METRICS_FILE, AnyConfig, CheckpointConfig, FileDigest
from gan_serve.checkpoint.files import (
    MAX_REPORT_BYTES,
    RUN_FILE,
    config_json,
    digest_files,
    read_any_config,
    read_config,
    read_verified,
    verify_checkpoint,
)
from gan_serve.errors import InvalidCheckpoint, InvalidOption
from gan_serve.exports.report import (
    CARD_FILE,
    TRUNCATION_PICTURE,
    metrics_block,
    of_the_generator,
    truncation_tables,
    with_metrics,
)
from gan_serve.exports.truncation_plot import truncation_plot
from gan_serve.hub.resolve import find_local
from gan_serve.regular_files import read_regular
from gan_serve.training.evaluation.evaluate import Evaluation

METRICS = TypeAdapter(dict[str, float])


def write_evaluation(directory: str | Path, evaluation: Evaluation) -> None:
    """Write an evaluation into a checkpoint: metrics, pictures, the model card, and the digests of these files.

    Metrics of the same name are replaced, others stay. In the card, only the metrics and their part of the Hub's
    metadata change; if it has no metrics yet, they are appended. Metrics over truncation are also plotted.

    Raises:
        InvalidCheckpoint, DigestMismatch: the files do not match the config, or the card's metadata cannot be read.
        CannotWrite: a file cannot be written; see ``put_files``.
    """
    directory = Path(os.path.realpath(directory))
    config = read_config(directory)
    verify_checkpoint(directory)
    metrics = _metrics(directory, config) | evaluation.metrics
    pictures = all_pictures(evaluation, metrics)
    files = {METRICS_FILE: (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode(), **pictures}
    if (directory / CARD_FILE).is_file():
        files[CARD_FILE] = _card(directory / CARD_FILE, metrics, {*config.files, *pictures}).encode()
    put_files(directory, config, files)


def put_files(directory: Path, config: AnyConfig, files: Mapping[str, bytes]) -> None:
    """Write files into a checkpoint and describe them in its config.

    Everything is first written to a temporary folder in the checkpoint, so that a full disk changes nothing. Then files
    are only renamed: first a config without the new files, then these files, then the new config. If the process is
    killed in between, the checkpoint still samples, but its config lists no card and no metrics until the next
    evaluation.
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
            read_any_config(new)  # raises if a checkpoint cannot have a file of such a name
            write_atomically(directory / CONFIG_FILE, with_files(others))
            for name in (*files, CONFIG_FILE):
                os.replace(new / name, directory / name)


def all_pictures(evaluation: Evaluation, metrics: Mapping[str, float]) -> dict[str, bytes]:
    """Return the pictures of an evaluation, with a plot over truncation if ``metrics`` has such values."""
    if not truncation_tables(evaluation.metrics) or TRUNCATION_PICTURE in evaluation.pictures:
        return dict(evaluation.pictures)
    return {**evaluation.pictures, TRUNCATION_PICTURE: truncation_plot(metrics)}


def check_writable(model: str) -> Path:
    """Return the directory of a checkpoint into which an evaluation can be written.

    Raises:
        InvalidOption: ``model`` is not the directory of a checkpoint, but a run or a repository on the Hub, for
            example.
        CannotWrite: files cannot be written there.
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


def is_run(path: str | Path) -> bool:
    """Return True for the folder of a training run."""
    return os.path.isfile(os.path.join(path, RUN_FILE))  # Path.is_file raises for names that are too long


def _metrics(directory: Path, config: CheckpointConfig) -> dict[str, float]:
    """Return the metrics of a checkpoint, also if an interrupted write left them out of the config."""
    path = directory / METRICS_FILE
    if METRICS_FILE not in config.files and not path.is_file():
        return {}
    try:
        described = METRICS_FILE in config.files
        content = read_verified(directory, config, METRICS_FILE) if described else read_regular(path, MAX_REPORT_BYTES)
        return METRICS.validate_json(content)
    except (ValidationError, OSError) as error:
        raise InvalidCheckpoint(
            f"{directory / METRICS_FILE} does not map names to numbers.", "Export the checkpoint again."
        ) from error


def _card(path: Path, metrics: Mapping[str, float], pictures: set[str]) -> str:
    """Return the card with these metrics in its text and in its metadata for the Hub."""
    try:
        text = read_regular(path, MAX_REPORT_BYTES).decode()
        card = ModelCard(text) if text.startswith("---") else None
    except (ValueError, TypeError, OSError, RecursionError, YAMLError) as error:
        raise InvalidCheckpoint(
            f"The metadata at the head of {path} cannot be read: {error}", "Write it as YAML between two lines of ---."
        ) from error
    block = metrics_block(metrics, pictures)
    has_metadata = card is not None and card.data.to_dict()  # type: ignore[no-untyped-call]
    if card is None or not isinstance(card.data, ModelCardData) or not has_metadata:
        return with_metrics(text, block)
    data, shown = card.data, of_the_generator(metrics)
    others = [result for result in data.eval_results or [] if result.metric_type not in metrics.keys() - shown.keys()]
    data.metrics = sorted({*(data.metrics or ())} - metrics.keys() | shown.keys())
    data.eval_results = _results(others, shown)
    card.text = with_metrics(card.text, block)
    return str(card)


def _results(results: list[EvalResult], metrics: Mapping[str, float]) -> list[EvalResult] | None:
    """Return the Hub's results with these metrics, on the data set of the first one; None if no data set is known."""
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
