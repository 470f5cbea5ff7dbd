"""Export a training run as a checkpoint."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from pathlib import Path

from safetensors.torch import save

from gan_serve._version import __version__
from gan_serve.atomic_files import check_new_directory, directory_atomically
from gan_serve.checkpoint.config import (
    FORMAT_VERSION,
    METRICS_FILE,
    PARITY_FILE,
    PRECISION_FILES,
    SAMPLES_FILE,
    WEIGHTS_FILE,
    Architecture,
    CheckpointConfig,
    GoldenSample,
    Precision,
    TrainingData,
)
from gan_serve.checkpoint.files import digest_files, write_config
from gan_serve.errors import ExportRefused, InvalidOption
from gan_serve.exports.card import Measurements, Publication, model_card
from gan_serve.exports.certify import Certified, certify, check_precisions, default_labels, sample
from gan_serve.exports.latent_space import measure_latent_space, write_latent_space
from gan_serve.exports.parity import spread
from gan_serve.exports.to_onnx import PixelGenerator
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array
from gan_serve.images.png import encode_png
from gan_serve.sampling.session import Session
from gan_serve.training.evaluation.pixel_metrics import SAMPLE, mean_gradient, pixel_metrics
from gan_serve.training.load_run import Trained, load_trained
from gan_serve.training.monitoring.grids import GRID_SEEDS

GOLDEN_SEED = 0
SEEDS_PER_CLASS = 8  # columns of samples.png for a conditional generator
TRUNCATION = 0.7  # the card states the sharpness at this truncation


def export_run(
    run_dir: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    publication: Publication | None = None,
    snapshot: str | Path | None = None,
    precisions: Collection[Precision] | None = None,
) -> Path:
    """Write the averaged generator of a run as a checkpoint, and return its directory.

    Args:
        run_dir: the folder of a training run.
        out: a new directory; it is written completely or not at all.
        name: the checkpoint's name; that of ``out`` if None.
        publication: the licence, the credit and the note of the card; see ``Publication``.
        snapshot: a snapshot of the run, or ``best`` for the one with the best quality in the log; the last one if None.
        precisions: the files to write, ``fp32`` among them; all that are close enough to fp32 if None.

    Raises:
        RunError: there is no run, or no snapshot that fits its config. ExportRefused: ONNX differs from torch.
        CannotWrite: ``out`` exists, or writing fails. InvalidOption: an invalid name, licence or precision.
    """
    run_dir, out = Path(run_dir), Path(out)
    check_new_directory(out)  # before the export, which takes minutes
    precisions = check_precisions(precisions)
    publication = publication or Publication()
    name = name or out.resolve().name
    _check_names(name, publication.license)
    trained = load_trained(run_dir, snapshot)
    if trained.diverged:
        raise ExportRefused("The generator has weights that are not finite; the training diverged.", "Train anew.")
    publication = publication.completed(trained.info.data)

    network = PixelGenerator(trained.generator)
    metadata = {
        "name": name,
        "license": publication.license or "",
        "gan_serve_version": __version__,
        "config_sha256": hashlib.sha256((run_dir / "config.json").read_bytes()).hexdigest(),
    }
    certified = certify(trained.generator, metadata, precisions)
    fp32, labels = certified.files["fp32"], default_labels(range(SAMPLE), network.c_dim)
    images = sample(fp32, network, range(SAMPLE), labels)
    truncated = sample(fp32, network, range(SAMPLE), labels, TRUNCATION)
    metrics = pixel_metrics(images, "seeds", labels) | trained.info.data.metrics
    measurements = Measurements(
        parity=certified.parity,
        metrics=metrics,
        sizes={precision: len(content) for precision, content in certified.files.items()},
        gradient=mean_gradient(images),
        truncated_gradient=mean_gradient(truncated),
        truncation=TRUNCATION,
    )

    with directory_atomically(out) as directory:
        for precision, content in certified.files.items():
            (directory / PRECISION_FILES[precision]).write_bytes(content)
        (directory / WEIGHTS_FILE).write_bytes(save(trained.generator.state_dict()))
        (directory / SAMPLES_FILE).write_bytes(encode_png(_sample_sheet(fp32, network)))
        (directory / PARITY_FILE).write_text(certified.parity.model_dump_json(indent=2) + "\n")
        (directory / METRICS_FILE).write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
        (directory / "README.md").write_text(model_card(name, trained, publication, measurements))
        checkpoint = _config(name, trained, publication, certified, directory)
        session = Session(fp32, checkpoint, device="cpu")
        write_latent_space(directory, measure_latent_space(trained.generator, session.run))
        checkpoint = checkpoint.model_copy(update={"files": digest_files(directory)})
        for precision, content in certified.files.items():  # each file must pass the checks of the runtime
            Session(content, checkpoint, precision=precision, device="cpu")
        write_config(directory, checkpoint)
    return out


def _check_names(name: str, license: str | None) -> None:
    if license is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", license):
        raise InvalidOption(
            f"{license!r} is not the name of a licence.", "Give its SPDX name, such as mit or cc-by-sa-3.0."
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise InvalidOption(
            f"{name!r} cannot be the name of a checkpoint.", "Give a --name of letters, digits, dots and hyphens."
        )


def _config(
    name: str, trained: Trained, publication: Publication, certified: Certified, directory: Path
) -> CheckpointConfig:
    """Return the config of a checkpoint whose other files are in ``directory``."""
    network, config, data = PixelGenerator(trained.generator), trained.config, trained.info.data
    labels = default_labels([GOLDEN_SEED], network.c_dim)
    golden = {
        precision: sample(content, network, [GOLDEN_SEED], labels)[0] for precision, content in certified.files.items()
    }
    return CheckpointConfig(
        format_version=FORMAT_VERSION,
        gan_serve_version=__version__,
        name=name,
        architecture=Architecture(family=config.family, arguments=trained.arguments),
        z_dim=config.z_dim,
        c_dim=len(trained.class_names),
        class_names=trained.class_names,
        truncation_space=network.truncation_space,
        img_resolution=config.resolution,
        img_channels=data.img_channels,
        license=publication.license or "",
        training_data=TrainingData(name=data.name, digest=data.digest, holdout=config.holdout, labels=config.labels),
        files=digest_files(directory),
        golden_sample=GoldenSample.of(golden.pop("fp32"), GOLDEN_SEED, labels[0] if labels else None, golden),
    )


def _sample_sheet(model: bytes, network: PixelGenerator) -> UInt8Array:
    """Return the grid of seeds 0 to 63; with classes, a row of seeds 0 to 7 for each of at most 16 of them."""
    classes = spread(network.c_dim)
    if not classes:
        return grid(sample(model, network, GRID_SEEDS, None))
    seeds = [seed for _ in classes for seed in range(SEEDS_PER_CLASS)]
    labels = [number for number in classes for _ in range(SEEDS_PER_CLASS)]
    return grid(sample(model, network, seeds, labels), SEEDS_PER_CLASS)
