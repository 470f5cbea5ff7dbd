"""From a training run to a checkpoint that proves itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from gan_serve._version import __version__
from gan_serve.checkpoint import (
    FORMAT_VERSION,
    PRECISION_FILES,
    WEIGHTS_FILE,
    Architecture,
    CheckpointConfig,
    GoldenSample,
    digest_files,
    write_config,
)
from gan_serve.errors import ExportRefused, InvalidOption, RunError
from gan_serve.exports.card import model_card
from gan_serve.exports.onnx import PixelGenerator, to_onnx
from gan_serve.exports.parity import measure_parity, spread
from gan_serve.files import directory_atomically
from gan_serve.images import UInt8Array, encode_png, grid
from gan_serve.latents import latents_from_seeds
from gan_serve.runtime import Session, draw, network_inputs, open_session
from gan_serve.training.config import generator_arguments, read_config
from gan_serve.training.evaluation.pixels import SAMPLE, pixel_metrics
from gan_serve.training.monitor import GRID_SEEDS
from gan_serve.training.networks import build_generator
from gan_serve.training.recorder import best_kimg
from gan_serve.training.run import read_run_info
from gan_serve.training.state import load_snapshot, snapshot_path, snapshots

GOLDEN_SEED = 0
SEEDS_PER_CLASS = 8  # in samples.png of a conditional generator


def export_run(
    run_dir: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    license: str | None = None,
    snapshot: str | Path | None = None,
) -> Path:
    """Write the averaged generator of a run as a checkpoint.

    Args:
        run_dir: the folder of a training run.
        out: a new directory; it appears whole or not at all.
        name: the checkpoint's name; that of ``out`` if None.
        license: SPDX name; that of the data where it is known, else ``other``.
        snapshot: one of the run's snapshots, or ``best``: the one with the best quality in the log; the last if None.

    Raises:
        RunError: no run, or no snapshot that fits its config. ExportRefused: ONNX differs from torch. CannotWrite:
        ``out`` exists, or the disk refuses.
    """
    run_dir, out = Path(run_dir), Path(out)
    name = name or out.resolve().name
    if license is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", license):
        raise InvalidOption(f"{license!r} is no name of a licence.", "Give its SPDX name, such as mit or cc-by-sa-3.0.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InvalidOption(f"{name!r} is no name for a checkpoint.", "Use letters, digits, dots, dashes; give --name.")
    info = read_run_info(run_dir)
    config = read_config(run_dir / "config.json")
    class_names = info.data.class_names if config.conditional else ()
    state = load_snapshot(_snapshot(run_dir, snapshot))

    arguments = generator_arguments(config, img_channels=info.data.img_channels, c_dim=len(class_names))
    generator = build_generator(config.family, **arguments)
    try:
        generator.load_state_dict(state["ema"])
    except (KeyError, RuntimeError) as error:
        raise RunError(f"The snapshot does not fit the run's config: {error}", "Give the run it belongs to.") from error
    generator.eval()
    if not all(torch.isfinite(value).all() for value in generator.state_dict().values()):
        raise ExportRefused("The generator's weights are not all finite numbers; the training diverged.", "Train anew.")

    license = license or info.data.license
    metadata = {
        "name": name,
        "license": license,
        "gan_serve_version": __version__,
        "config_sha256": hashlib.sha256((run_dir / "config.json").read_bytes()).hexdigest(),
    }
    model = to_onnx(generator, metadata)
    parity = measure_parity(model, generator)
    network, labels = PixelGenerator(generator), _labels_of(range(SAMPLE), len(class_names))
    drawn = _draw(model, network, range(SAMPLE), labels)
    metrics = pixel_metrics(drawn, "seeds") | info.data.metrics

    with directory_atomically(out) as directory:
        (directory / PRECISION_FILES["fp32"]).write_bytes(model)
        (directory / WEIGHTS_FILE).write_bytes(save(generator.state_dict()))
        (directory / "samples.png").write_bytes(encode_png(_sample_sheet(model, network)))
        (directory / "parity.json").write_text(parity.model_dump_json(indent=2) + "\n")
        (directory / "metrics.json").write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
        card = model_card(
            name, license, config, info, parity, metrics, class_names=class_names,
            truncation_space=network.truncation_space, shown=state["shown"], seconds=state["seconds"],
        )  # fmt: skip
        (directory / "README.md").write_text(card)
        checkpoint = CheckpointConfig(
            format_version=FORMAT_VERSION,
            gan_serve_version=__version__,
            name=name,
            architecture=Architecture(family=config.family, arguments=arguments),
            z_dim=config.z_dim,
            c_dim=len(class_names),
            class_names=class_names,
            truncation_space=network.truncation_space,
            img_resolution=config.resolution,
            img_channels=info.data.img_channels,
            license=license,
            files=digest_files(directory),
            golden_sample=GoldenSample.of(drawn[GOLDEN_SEED], GOLDEN_SEED, labels[GOLDEN_SEED] if labels else None),
        )
        Session(model, checkpoint, device="cpu")  # the checkpoint must pass what its users' runtime will ask of it
        write_config(directory, checkpoint)
    return out


def _snapshot(run_dir: Path, wanted: str | Path | None) -> Path:
    """The snapshot that is meant; see ``export_run``."""
    found = snapshots(run_dir)
    if not found:
        raise RunError(f"The run in {run_dir} has no snapshot yet.", "Train for at least one tick.")
    if wanted != "best":
        return Path(wanted) if wanted else found[-1]
    kimg = best_kimg(run_dir)
    if kimg is None:
        raise RunError(f"The run in {run_dir} measured no quality.", "Leave --snapshot away to export its last one.")
    return snapshot_path(run_dir, kimg)


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
    classes = None if labels is None else np.array(labels, np.int64)
    latents = latents_from_seeds(seeds, network.z_dim)
    return draw(session, network_inputs(latents, classes, 1.0, network.truncation_space))
