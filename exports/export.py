"""From a training run to a checkpoint that proves itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from safetensors.torch import save
from torch import nn

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
    digest_files,
    write_config,
)
from gan_serve.errors import ExportRefused, InvalidOption
from gan_serve.exports.card import model_card
from gan_serve.exports.graph import copy_of
from gan_serve.exports.parity import Parity, is_batch_invariant, measure_parity, spread
from gan_serve.exports.quantize import GATE, Reduced, to_fp16, to_int8
from gan_serve.exports.rewrite import optimize
from gan_serve.exports.to_onnx import PixelGenerator, finished, torch_export
from gan_serve.images.encoding import UInt8Array, encode_png, grid
from gan_serve.sampling.latents import latents_from_seeds
from gan_serve.sampling.session import Session, draw, network_inputs, open_session
from gan_serve.training.evaluation.pixel_metrics import SAMPLE, pixel_metrics
from gan_serve.training.load_run import load_trained
from gan_serve.training.monitoring.grids import GRID_SEEDS

GOLDEN_SEED = 0
GATE_SEEDS = range(256)  # what int8 and fp16 are judged by
CALIBRATION_SEEDS = range(2**31, 2**31 + 128)  # what the ranges of int8 are measured on; none that is judged
SEEDS_PER_CLASS = 8  # in samples.png of a conditional generator


def export_run(
    run_dir: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    license: str | None = None,
    credit: str | None = None,
    note: str = "",
    snapshot: str | Path | None = None,
    precisions: Collection[Precision] | None = None,
) -> Path:
    """Write the averaged generator of a run as a checkpoint.

    Args:
        run_dir: the folder of a training run.
        out: a new directory; it appears whole or not at all.
        name: the checkpoint's name; that of ``out`` if None.
        license: SPDX name; that of the data where it is known, else ``other``.
        credit: whose images it was trained on, and on what terms, for the card; that of the data if None.
        note: what its users should know beside, for the card, such as that a longer run is due.
        snapshot: one of the run's snapshots, or ``best``: the one with the best quality in the log; the last if None.
        precisions: which files to make, ``fp32`` among them; each that is near enough if None.

    Raises:
        RunError: no run, or no snapshot that fits its config. ExportRefused: ONNX differs from torch. CannotWrite:
        ``out`` exists, or the disk refuses. InvalidOption: a name, a licence or a precision that cannot be.
    """
    run_dir, out = Path(run_dir), Path(out)
    check_new_directory(out)  # before all the work
    precisions = _checked(precisions)
    name = name or out.resolve().name
    if license is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", license):
        raise InvalidOption(f"{license!r} is no name of a licence.", "Give its SPDX name, such as mit or cc-by-sa-3.0.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InvalidOption(f"{name!r} is no name for a checkpoint.", "Use letters, digits, dots, dashes; give --name.")
    trained = load_trained(run_dir, snapshot)
    if trained.diverged:
        raise ExportRefused("The generator's weights are not all finite numbers; the training diverged.", "Train anew.")
    generator, config, info, class_names = trained.generator, trained.config, trained.info, trained.class_names
    network, labels = PixelGenerator(generator), _labels_of(range(SAMPLE), len(class_names))
    license = license or info.data.license
    if credit is not None:
        info = info.model_copy(update={"data": info.data.model_copy(update={"credit": credit})})

    metadata = {
        "name": name,
        "license": license,
        "gan_serve_version": __version__,
        "config_sha256": hashlib.sha256((run_dir / "config.json").read_bytes()).hexdigest(),
    }
    files, parity, drawn = _certified(generator, labels, metadata, precisions)
    golden = {
        precision: _draw(content, network, [GOLDEN_SEED], labels and labels[:1])[0]
        for precision, content in files.items()
    }
    metrics = pixel_metrics(drawn, "seeds", labels) | info.data.metrics

    with directory_atomically(out) as directory:
        for precision, content in files.items():
            (directory / PRECISION_FILES[precision]).write_bytes(content)
        (directory / WEIGHTS_FILE).write_bytes(save(generator.state_dict()))
        (directory / SAMPLES_FILE).write_bytes(encode_png(_sample_sheet(files["fp32"], network)))
        (directory / PARITY_FILE).write_text(parity.model_dump_json(indent=2) + "\n")
        (directory / METRICS_FILE).write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
        card = model_card(
            name, license, config, info, parity, metrics, class_names=class_names,
            truncation_space=network.truncation_space, note=note, shown=trained.shown, seconds=trained.seconds,
            sizes={precision: len(content) for precision, content in files.items()},
        )  # fmt: skip
        (directory / "README.md").write_text(card)
        checkpoint = CheckpointConfig(
            format_version=FORMAT_VERSION,
            gan_serve_version=__version__,
            name=name,
            architecture=Architecture(family=config.family, arguments=trained.arguments),
            z_dim=config.z_dim,
            c_dim=len(class_names),
            class_names=class_names,
            truncation_space=network.truncation_space,
            img_resolution=config.resolution,
            img_channels=info.data.img_channels,
            license=license,
            training_data=TrainingData(
                name=info.data.name, digest=info.data.digest, holdout=config.holdout, labels=config.labels
            ),
            files=digest_files(directory),
            golden_sample=GoldenSample.of(golden.pop("fp32"), GOLDEN_SEED, labels[0] if labels else None, golden),
        )
        for precision, content in files.items():  # they must pass what their users' runtime will ask of them
            Session(content, checkpoint, precision=precision, device="cpu")
        write_config(directory, checkpoint)
    return out


def _checked(precisions: Collection[Precision] | None) -> Collection[Precision]:
    """The precisions that are wanted; see ``export_run``."""
    wanted = tuple(PRECISION_FILES if precisions is None else precisions)
    for precision in wanted:
        if precision not in PRECISION_FILES:
            raise InvalidOption.unknown("precision", precision, PRECISION_FILES)
    if "fp32" not in wanted:
        raise InvalidOption("A checkpoint has fp32: it is what the others are compared with.", "Add fp32.")
    return wanted


class _Certified(NamedTuple):
    """The files of each precision, how near they are, and what fp32 draws for seeds from 0 on, uint8 [N, H, W, C]."""

    files: dict[Precision, bytes]
    parity: Parity
    drawn: UInt8Array


def _certified(
    generator: nn.Module, labels: list[int] | None, metadata: dict[str, str], wanted: Collection[Precision]
) -> _Certified:
    """Export in fp32, and in the wanted precisions that are near enough; see ``export_run`` for the errors."""
    network = PixelGenerator(generator)
    plain = torch_export(generator)
    fused = copy_of(plain)
    optimize(fused)
    model = finished(fused, metadata)
    parity = measure_parity(model, generator)
    drawn = _draw(model, network, range(SAMPLE), labels)

    reduced, refused = _reduced(plain, network, drawn, wanted)
    files: dict[Precision, bytes] = {"fp32": model}
    for precision, each in reduced.items():
        files[precision] = finished(onnx.load_from_string(each.model), metadata | {"precision": precision})
    fidelity: dict[str, Any] = {precision: each.fidelity for precision, each in reduced.items()}
    return _Certified(files, parity.model_copy(update=fidelity | {"refused": refused}), drawn)


def _reduced(
    plain: onnx.ModelProto, network: PixelGenerator, drawn: UInt8Array, wanted: Collection[Precision]
) -> tuple[dict[Precision, Reduced], dict[Precision, str]]:
    """The other wanted precisions that hold the gate and draw a seed alike in every batch; and why the rest is refused.

    Args:
        plain: the generator as torch exports it.
        drawn: the images of fp32 for seeds from 0 on, uint8 [N, H, W, C].
    """

    def inputs(seeds: range) -> dict[str, Any]:
        return _inputs(network, seeds, _labels_of(seeds, network.c_dim))

    reference = drawn[: len(GATE_SEEDS)]

    def int8() -> Reduced | None:
        fused = copy_of(plain)
        optimize(fused, "int8")
        return to_int8(fused, inputs(CALIBRATION_SEEDS), inputs(GATE_SEEDS), reference)

    def fp16() -> Reduced | None:
        return to_fp16(plain, inputs(GATE_SEEDS), reference)

    makers: dict[Precision, Callable[[], Reduced | None]] = {"int8": int8, "fp16": fp16}
    reduced: dict[Precision, Reduced] = {}
    refused: dict[Precision, str] = {}
    for precision, make in makers.items():
        if precision not in wanted:
            refused[precision] = "it was not asked for"
        elif (each := make()) is None:
            refused[precision] = f"its images are not within {GATE:.0f} dB of fp32"
        elif not _same_in_any_batch(each.model, inputs(GATE_SEEDS)):
            refused[precision] = "an image depends on its batch"
        else:
            reduced[precision] = each
    return reduced, refused


def _same_in_any_batch(model: bytes, inputs: dict[str, Any]) -> bool:
    session, _ = open_session(model, "cpu")
    return is_batch_invariant(session, inputs, draw(session, inputs))


def _labels_of(seeds: Iterable[int], c_dim: int) -> list[int] | None:
    """The labels that seeds take where none is asked for; see ``Generator.sample``."""
    return [seed % c_dim for seed in seeds] if c_dim else None


def _sample_sheet(model: bytes, network: PixelGenerator) -> UInt8Array:
    """Seeds 0 to 63; or, with classes, seeds 0 to 7 under each of at most 16 of them, a row a class."""
    classes = spread(network.c_dim)
    if not classes:
        return grid(_draw(model, network, GRID_SEEDS, None))
    seeds = [seed for _ in classes for seed in range(SEEDS_PER_CLASS)]
    labels = [number for number in classes for _ in range(SEEDS_PER_CLASS)]
    return grid(_draw(model, network, seeds, labels), SEEDS_PER_CLASS)


def _draw(model: bytes, network: PixelGenerator, seeds: Iterable[int], labels: list[int] | None) -> UInt8Array:
    """Draw seeds, each under its label, with the exported file; ``network`` tells what it takes."""
    session, _ = open_session(model, "cpu")
    return draw(session, _inputs(network, seeds, labels))


def _inputs(network: PixelGenerator, seeds: Iterable[int], labels: list[int] | None) -> dict[str, Any]:
    classes = None if labels is None else np.array(labels, np.int64)
    return network_inputs(latents_from_seeds(seeds, network.z_dim), classes, 1.0, network.truncation_space)
