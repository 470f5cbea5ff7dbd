"""From an evaluation to a checkpoint that shows it: metrics.json, the pictures, the model card, the digests."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from pydantic import TypeAdapter, ValidationError
from yaml import YAMLError  # type: ignore[import-untyped]

from gan_serve.checkpoint import (
    CONFIG_FILE,
    METRICS_FILE,
    CheckpointConfig,
    config_json,
    digest_files,
    read_config,
    read_json,
    verify_checkpoint,
)
from gan_serve.errors import InvalidCheckpoint, InvalidOption
from gan_serve.exports.figures import (
    CARD_FILE,
    TRUNCATION_PICTURE,
    dials,
    figures_block,
    of_the_generator,
    truncation_plot,
    with_figures,
)
from gan_serve.files import cannot_write, write_atomically
from gan_serve.hub import find_local
from gan_serve.training.evaluation.evaluate import Evaluation

METRICS = TypeAdapter(dict[str, float])


def write_evaluation(directory: str | Path, evaluation: Evaluation) -> None:
    """Put an evaluation into a checkpoint: its figures, its pictures, the model card and the digests of all of them.

    Metrics of the same name are replaced, others stay. Of the card only the figures and their part of the Hub's
    metadata change; where it has no figures to replace, they are appended. Where metrics of the truncation dial come
    without a picture, it is drawn. The directory is replaced as a whole: killed, or on a full disk, the old one stands.

    Raises:
        InvalidCheckpoint, DigestMismatch: the checkpoint is not what its config describes, or its card's metadata
        cannot be read. CannotWrite: the disk refuses.
    """
    directory = Path(os.path.realpath(directory))
    _restore(directory)
    config = verify_checkpoint(directory)
    metrics = _metrics(directory, config) | evaluation.metrics
    pictures = all_pictures(evaluation, metrics)
    files = {METRICS_FILE: (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode(), **pictures}
    if (directory / CARD_FILE).is_file():
        files[CARD_FILE] = _card(directory / CARD_FILE, metrics, {*config.files, *pictures}).encode()
    with _replaced(directory) as new:
        for name, content in files.items():
            write_atomically(new / name, content)
        digests = {name: digest for name, digest in digest_files(new).items() if name in files}
        digests = dict(sorted({**config.files, **digests}.items()))  # what no config described stays undescribed
        write_atomically(new / CONFIG_FILE, config_json(config.model_copy(update={"files": digests})))
        verify_checkpoint(new)


def all_pictures(evaluation: Evaluation, metrics: Mapping[str, float]) -> dict[str, bytes]:
    """The pictures of an evaluation, and a plot of the dial in ``metrics`` where it measured one and has no plot."""
    if not dials(evaluation.metrics) or TRUNCATION_PICTURE in evaluation.pictures:
        return dict(evaluation.pictures)
    return {**evaluation.pictures, TRUNCATION_PICTURE: truncation_plot(metrics)}


def check_writable(model: str) -> Path:
    """The directory of the checkpoint whose figures are to be written.

    Raises:
        InvalidOption: it is no directory of a checkpoint, such as a run or a repository on the Hub.
    """
    if is_run(model):
        raise InvalidOption(
            f"Nothing can be written to {model}: it is a run, not a checkpoint.",
            f"Export it first (gan-serve export {model} --out CHECKPOINT), then evaluate the checkpoint.",
        )
    _restore(Path(os.path.realpath(model)))
    directory = find_local(model)
    try:
        read_config(directory or Path(model))
    except InvalidCheckpoint as error:
        raise InvalidOption(f"Nothing can be written to {model}.", "Give the directory of a checkpoint.") from error
    return directory or Path(model)


def is_run(path: str) -> bool:
    """Whether this is the folder of a training run."""
    return os.path.isfile(os.path.join(path, "run.json"))


def _metrics(directory: Path, config: CheckpointConfig) -> dict[str, float]:
    """The metrics that a checkpoint has; none where it has no file of them."""
    if METRICS_FILE not in config.files:
        return {}
    try:
        return METRICS.validate_python(read_json(directory, config, METRICS_FILE))
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


# The directory as a whole


@contextlib.contextmanager
def _replaced(directory: Path) -> Iterator[Path]:
    """Yield a directory with all but the config of ``directory``; when the block ends well, it takes its place.

    Unchanged files are linked, where the file system can, so that nothing of theirs can be lost. No system call puts a
    directory in the place of another everywhere; between two renames the old one lies at ``_before``, and ``_restore``
    finds it there. Both lie a level deeper than checkpoints do: what a killed process left is not taken for one.
    """
    before = _before(directory)

    def config_alone(folder: str, _names: list[str]) -> list[str]:
        return [CONFIG_FILE] if Path(folder) == directory else []

    with cannot_write(directory):
        room = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=directory.parent))
        new = room / directory.name
        try:
            shutil.copytree(directory, new, copy_function=_link, ignore=config_alone)
            yield new
            before.parent.mkdir(exist_ok=True)
            os.rename(directory, before)
            os.rename(new, directory)
        finally:
            shutil.rmtree(room, ignore_errors=True)
            _restore(directory)


def _restore(directory: Path) -> None:
    """Put back what was moved aside for one that never came, and remove what is left of one that did."""
    before = _before(directory)
    with cannot_write(directory):
        if before.exists() and not directory.exists():
            os.rename(before, directory)
        if directory.exists():
            shutil.rmtree(before.parent, ignore_errors=True)


def _before(directory: Path) -> Path:
    """Where the old directory lies while the new one takes its place."""
    return directory.with_name(f".{directory.name}.before") / directory.name


def _link(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
