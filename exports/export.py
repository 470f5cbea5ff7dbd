"""From a training run to a checkpoint that proves itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from gan_serve.exports.card import model_card
from gan_serve.exports.onnx import to_onnx
from gan_serve.exports.parity import measure_parity
from gan_serve.training.config import read_config
from gan_serve.training.evaluation.pixels import SAMPLE, pixel_metrics
from gan_serve.training.networks import build_generator
from gan_serve.training.run import read_run_info
from gan_serve.training.state import load_snapshot, snapshots
from safetensors.torch import save

from gan_serve.checkpoint import (
    PRECISION_FILES,
    WEIGHTS_FILE,
    Architecture,
    CheckpointConfig,
    GoldenSample,
    digest_files,
    write_config,
)
from gan_serve.errors import InvalidOption, RunError
from gan_serve.files import directory_atomically
from gan_serve.images import encode_png, grid
from gan_serve.latents import latents_from_seeds
from gan_serve.runtime import Session

GOLDEN_SEED = 0
GRID_SEEDS = range(64)


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
        snapshot: one of the run's snapshots; the last if None.

    Raises:
        RunError: no run, or no snapshot. ExportRefused: ONNX differs from torch. CannotWrite: ``out`` exists, or the
        disk refuses.
    """
    run_dir, out = Path(run_dir), Path(out)
    name = name or out.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InvalidOption(f"{name!r} is no name for a checkpoint.", "Use letters, digits, dots, dashes; give --name.")
    info = read_run_info(run_dir)
    config = read_config(run_dir / "config.json")
    state = load_snapshot(Path(snapshot) if snapshot else _last_snapshot(run_dir))

    arguments = {
        "z_dim": config.z_dim,
        "img_resolution": config.resolution,
        "img_channels": info.data.img_channels,
    }
    generator = build_generator(config.family, **arguments)
    try:
        generator.load_state_dict(state["ema"])
    except (KeyError, RuntimeError) as error:
        raise RunError(f"The snapshot does not fit the run's config: {error}", "Give the run it belongs to.") from error
    generator.eval()

    model = to_onnx(generator, config.z_dim)
    parity = measure_parity(model, generator, config.z_dim)
    drawn = _draw(model, config.z_dim)
    metrics = pixel_metrics(drawn, "seeds") | info.data.metrics
    license = license or info.data.license

    with directory_atomically(out) as directory:
        (directory / PRECISION_FILES["fp32"]).write_bytes(model)
        (directory / WEIGHTS_FILE).write_bytes(save(generator.state_dict()))
        (directory / "samples.png").write_bytes(encode_png(grid(drawn[: len(GRID_SEEDS)])))
        (directory / "parity.json").write_text(parity.model_dump_json(indent=2) + "\n")
        (directory / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        card = model_card(
            name, license, config, info, parity, metrics, shown=state["shown"], seconds=state["seconds"]
        )  # fmt: skip
        (directory / "README.md").write_text(card)
        checkpoint = CheckpointConfig(
            name=name,
            architecture=Architecture(family=config.family, arguments=arguments),
            z_dim=config.z_dim,
            img_resolution=config.resolution,
            img_channels=info.data.img_channels,
            license=license,
            files=digest_files(directory),
            golden_sample=GoldenSample.of(drawn[GOLDEN_SEED], GOLDEN_SEED),
        )
        Session(model, checkpoint, device="cpu")  # the checkpoint must pass what its users' runtime will ask of it
        write_config(directory, checkpoint)
    return out


def _last_snapshot(run_dir: Path) -> Path:
    found = snapshots(run_dir)
    if not found:
        raise RunError(f"The run in {run_dir} has no snapshot yet.", "Train for at least one tick.")
    return found[-1]


def _draw(model: bytes, z_dim: int) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    images: np.ndarray = session.run(["img"], {"z": latents_from_seeds(range(SAMPLE), z_dim)})[0]
    return images
