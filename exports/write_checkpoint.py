"""Write a certified generator as a checkpoint: the part that exports of runs, of torch modules and imports share."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

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
from gan_serve.checkpoint.latent_space import LatentSpace
from gan_serve.errors import InvalidOption
from gan_serve.exports.card import Measurements
from gan_serve.exports.certify import Certified, check_precisions, default_labels, sample
from gan_serve.exports.latent_space import Images, write_latent_space
from gan_serve.exports.parity import spread
from gan_serve.exports.reference import Reference
from gan_serve.exports.translator_to_onnx import CertifiedTranslator
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array
from gan_serve.images.png import encode_png
from gan_serve.sampling.session import Session
from gan_serve.training.evaluation.pixel_metrics import SAMPLE, mean_gradient, pixel_metrics
from gan_serve.training.monitoring.grids import GRID_SEEDS

GOLDEN_SEED = 0
SEEDS_PER_CLASS = 8  # columns of samples.png for a conditional generator
TRUNCATION = 0.7  # the card states the sharpness at this truncation


@dataclass(frozen=True)
class Description:
    """The statements of a checkpoint about its generator.

    Attributes:
        name, license, class_names, architecture, training_data: fields of ``config.json``.
        card: returns ``README.md`` for the measurements of the exported files.
        real_metrics: metrics of the training images, for ``metrics.json``.
        weights: of a network of ``gan_serve.training.networks``, for fine-tuning.
        latent_space: measures the latent space of such a network, given a function that samples.
    """

    name: str
    license: str
    architecture: Architecture
    card: Callable[[Measurements], str]
    class_names: tuple[str, ...] = ()
    training_data: TrainingData | None = None
    real_metrics: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, Tensor] | None = None
    latent_space: Callable[[Images], LatentSpace] | None = None


def write_checkpoint(out: Path, network: Reference, certified: Certified, described: Description) -> None:
    """Write a checkpoint, completely or not at all, after each of its files has passed the checks of the runtime.

    Args:
        out: a new directory.
        network: what the files were certified against.
        certified: the files. described: what the checkpoint states about them.

    Raises:
        CannotWrite: ``out`` exists, or writing fails. InvalidCheckpoint: the runtime refuses a file, for its size or
        operators for example.
    """
    fp32, labels = certified.files["fp32"], default_labels(range(SAMPLE), network.c_dim)
    images = sample(fp32, network, range(SAMPLE), labels)
    truncated = sample(fp32, network, range(SAMPLE), labels, TRUNCATION)
    metrics = pixel_metrics(images, "seeds", labels) | dict(described.real_metrics)
    measurements = Measurements(
        parity=certified.parity,
        metrics=metrics,
        sizes={precision: len(content) for precision, content in certified.files.items()},
        image_shape=images.shape[1:],
        gradient=mean_gradient(images),
        truncated_gradient=mean_gradient(truncated),
        truncation=TRUNCATION,
    )
    with directory_atomically(out) as directory:
        write_files(directory, certified, metrics, described.card(measurements), described.weights)
        (directory / SAMPLES_FILE).write_bytes(encode_png(_sample_sheet(fp32, network)))
        checkpoint = _config(network, certified, described, directory, images)
        if described.latent_space is not None:
            write_latent_space(directory, described.latent_space(Session(fp32, checkpoint, device="cpu").run))
            checkpoint = checkpoint.model_copy(update={"files": digest_files(directory)})
        for precision, content in certified.files.items():
            Session(content, checkpoint, precision=precision, device="cpu")
        write_config(directory, checkpoint)


def write_files(
    directory: Path,
    certified: Certified | CertifiedTranslator,
    metrics: Mapping[str, float],
    card: str,
    weights: Mapping[str, Tensor] | None,
) -> None:
    """Write the networks, metrics and card of a checkpoint, and its weights for fine-tuning if there are any."""
    for precision, content in certified.files.items():
        (directory / PRECISION_FILES[precision]).write_bytes(content)
    if weights is not None:
        (directory / WEIGHTS_FILE).write_bytes(save(dict(weights)))
    (directory / PARITY_FILE).write_text(certified.parity.model_dump_json(indent=2) + "\n")
    (directory / METRICS_FILE).write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    (directory / "README.md").write_text(card)


def run_metadata(run_dir: Path, name: str, license: str) -> dict[str, str]:
    """Return the ``metadata_props`` of the ONNX files of a run."""
    digest = hashlib.sha256((run_dir / "config.json").read_bytes()).hexdigest()
    return file_metadata(name, license) | {"config_sha256": digest}


def file_metadata(name: str, license: str) -> dict[str, str]:
    """Return the ``metadata_props`` that every exported ONNX file has."""
    return {"name": name, "license": license, "gan_serve_version": __version__}


def check_export(
    out: Path, name: str | None, license: str | None, precisions: Collection[Precision] | None
) -> tuple[str, Collection[Precision]]:
    """Check the arguments of an export before it takes minutes; return its name and its precisions.

    Raises:
        CannotWrite: ``out`` exists. InvalidOption: no checkpoint can have the name, the licence is no SPDX name, or see
            ``check_precisions``.
    """
    check_new_directory(out)
    name = name or out.resolve().name
    if license is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", license):
        raise InvalidOption(
            f"{license!r} is not the name of a licence.", "Give its SPDX name, such as mit or cc-by-sa-3.0."
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise InvalidOption(
            f"{name!r} cannot be the name of a checkpoint.", "Give a --name of letters, digits, dots and hyphens."
        )
    return name, check_precisions(precisions)


def _config(
    network: Reference, certified: Certified, described: Description, directory: Path, images: UInt8Array
) -> CheckpointConfig:
    """Return the config of a checkpoint whose other files are in ``directory``, with the shape of ``images``."""
    labels = default_labels([GOLDEN_SEED], network.c_dim)
    golden = {
        precision: sample(content, network, [GOLDEN_SEED], labels)[0] for precision, content in certified.files.items()
    }
    return CheckpointConfig(
        format_version=FORMAT_VERSION,
        gan_serve_version=__version__,
        name=described.name,
        architecture=described.architecture,
        z_dim=network.z_dim,
        c_dim=network.c_dim,
        class_names=described.class_names,
        truncation_space=network.truncation_space,
        img_resolution=images.shape[1],
        img_channels=images.shape[3],
        license=described.license,
        training_data=described.training_data,
        files=digest_files(directory),
        golden_sample=GoldenSample.of(golden.pop("fp32"), GOLDEN_SEED, labels[0] if labels else None, golden),
    )


def _sample_sheet(model: bytes, network: Reference) -> UInt8Array:
    """Return the grid of seeds 0 to 63; with classes, a row of seeds 0 to 7 for each of at most 16 of them."""
    classes = spread(network.c_dim)
    if not classes:
        return grid(sample(model, network, GRID_SEEDS, None))
    seeds = [seed for _ in classes for seed in range(SEEDS_PER_CLASS)]
    labels = [number for number in classes for _ in range(SEEDS_PER_CLASS)]
    return grid(sample(model, network, seeds, labels), SEEDS_PER_CLASS)
