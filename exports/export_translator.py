"""Export the run of a translator as a checkpoint."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from gan_serve._version import __version__
from gan_serve.atomic_files import directory_atomically
from gan_serve.checkpoint.config import (
    FORMAT_VERSION,
    SAMPLES_FILE,
    Architecture,
    GoldenTranslation,
    Precision,
    TrainingData,
    TranslatorConfig,
)
from gan_serve.checkpoint.files import digest_files, write_config
from gan_serve.errors import DataError, ExportRefused, InvalidOption
from gan_serve.exports.card import Publication
from gan_serve.exports.round_weights import check_mantissa_bits
from gan_serve.exports.translator_card import translator_card
from gan_serve.exports.translator_to_onnx import CertifiedTranslator, certify_translator
from gan_serve.exports.write_checkpoint import check_export, run_metadata, write_files
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array
from gan_serve.images.png import encode_png
from gan_serve.sampling.session import open_session, run_in_batches
from gan_serve.sampling.translator_session import TranslatorSession
from gan_serve.training.data.splits import HOLDOUT
from gan_serve.training.translation.evaluate import measure_pairs, measure_sets
from gan_serve.training.translation.examples import Examples, read_examples
from gan_serve.training.translation.load import TrainedTranslator, load_trained_translator
from gan_serve.training.translation.measure import translate_images
from gan_serve.training.translation.pairs import PairedImages, as_rows, load_pairs

SHOWN = 16  # inputs in samples.png


def export_translator(
    run_dir: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    publication: Publication | None = None,
    snapshot: str | Path | None = None,
    precisions: Collection[Precision] | None = None,
    back: bool = False,
    mantissa_bits: int | None = None,
) -> Path:
    """Write the averaged translator of a run as a checkpoint, and return its directory.

    Arguments and errors are those of ``gan_serve.exports.export.export_run``; ``back`` exports the way back of a run
    without pairs, from targets to inputs (``RunError`` if there is none). It is measured on held-out images where
    the run's data has them, else on training images; the names of the metrics say which.
    """
    run_dir, out = Path(run_dir), Path(out)
    publication = publication or Publication()
    check_mantissa_bits(mantissa_bits)
    name, precisions = check_export(out, name, publication.license, precisions)
    trained = load_trained_translator(run_dir, snapshot)
    if trained.diverged:
        raise ExportRefused("The translator has weights that are not finite; the training diverged.", "Train again.")
    publication = publication.completed(trained.info.data)
    examples = read_examples(run_dir, trained.config)
    if back:
        trained, examples = trained.way_back(), Examples(*examples[::-1])
    metadata = run_metadata(run_dir, name, publication.license or "")
    certified = certify_translator(trained.network, examples.inputs, metadata, precisions, mantissa_bits)
    metrics, held_out = evaluate_trained(trained)

    with directory_atomically(out) as directory:
        sizes = {precision: len(content) for precision, content in certified.files.items()}
        card = translator_card(name, trained, publication, metrics, certified.parity, sizes)
        write_files(directory, certified, metrics, card, trained.network.state_dict())
        (directory / SAMPLES_FILE).write_bytes(encode_png(_sample_sheet(certified.files["fp32"], trained, held_out)))
        config = _config(name, trained, publication, certified, examples, directory)
        for precision, content in certified.files.items():  # each file must pass the checks of the runtime
            TranslatorSession(content, config, precision=precision, device="cpu")
        write_config(directory, config)
    return out


def evaluate_trained(trained: TrainedTranslator, split: str | None = None) -> tuple[dict[str, float], PairedImages]:
    """Return the metrics of a run's translator, and the images that it was measured on.

    Args:
        trained: the translator. split: ``test``, ``holdout`` or ``train``; by default held-out images where the data
            has them.
    """
    config = trained.config
    data, split = _held_out(trained, split)
    features = str(config.features)

    def there(images: UInt8Array) -> UInt8Array:
        return translate_images(trained.network, images)

    if data.paired:
        return measure_pairs(there, data, features, split), data
    network = trained.back
    back = None if network is None else lambda images: translate_images(network, images)
    target = config.domain_b if config.direction == "AtoB" else config.domain_a
    return measure_sets(there, back, data, features, split, target), data


def _held_out(trained: TrainedTranslator, split: str | None) -> tuple[PairedImages, str]:
    config = trained.config
    split = split or (HOLDOUT if config.holdout else "test")
    try:
        return load_pairs(config, split), split
    except (DataError, InvalidOption):
        if split != "test":
            raise
        return load_pairs(config), "train"


def _sample_sheet(model: bytes, trained: TrainedTranslator, data: PairedImages) -> UInt8Array:
    """Return rows of inputs, outputs and, for pairs, targets."""
    session, _ = open_session(model, "cpu")
    inputs = data.inputs.images[:SHOWN]
    outputs = run_in_batches(session, {"x": np.ascontiguousarray(inputs)})
    if data.paired:
        return grid(as_rows(inputs, outputs, data.targets.images[:SHOWN]), 8)
    return grid(as_rows(inputs, outputs), 8)


def _config(
    name: str,
    trained: TrainedTranslator,
    publication: Publication,
    certified: CertifiedTranslator,
    examples: Examples,
    directory: Path,
) -> TranslatorConfig:
    """Return the config of a checkpoint whose other files are in ``directory``."""
    network, config, data = trained.network, trained.config, trained.info.data
    source = examples.inputs[0]
    golden = {
        precision: run_in_batches(open_session(content, "cpu")[0], {"x": source[None]})[0]
        for precision, content in certified.files.items()
    }
    return TranslatorConfig(
        format_version=FORMAT_VERSION,
        gan_serve_version=__version__,
        task="translate",
        name=name,
        architecture=Architecture(family=config.family, arguments=trained.arguments),
        in_resolution=config.in_resolution,
        in_channels=network.in_channels,
        scale=config.scale,
        any_size=network.any_size,
        reach=network.reach,
        img_resolution=config.resolution,
        img_channels=network.img_channels,
        license=publication.license or "",
        training_data=TrainingData(name=data.name, digest=data.digest, holdout=config.holdout),
        files=digest_files(directory),
        golden_sample=GoldenTranslation.of_input(source, golden.pop("fp32"), golden),
    )
