"""From a training run to a checkpoint that proves itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

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
from gan_serve.exports.onnx import to_onnx
from gan_serve.exports.parity import measure_parity
from gan_serve.files import directory_atomically
from gan_serve.images import UInt8Array, encode_png, grid
from gan_serve.latents import latents_from_seeds
from gan_serve.runtime import Session, draw, open_session
from gan_serve.training.config import read_config
from gan_serve.training.evaluation.pixels import SAMPLE, pixel_metrics
from gan_serve.training.monitor import GRID_SEEDS
from gan_serve.training.networks import build_generator
from gan_serve.training.run import read_run_info
from gan_serve.training.state import load_snapshot, snapshots

GOLDEN_SEED = 0


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
    if license is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", license):
        raise InvalidOption(f"{license!r} is no name of a licence.", "Give its SPDX name, such as mit or cc-by-sa-3.0.")
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
    if not all(torch.isfinite(value).all() for value in generator.state_dict().values()):
        raise ExportRefused("The generator's weights are not all finite numbers; the training diverged.", "Train anew.")

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
        (directory / "metrics.json").write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
        card = model_card(
            name, license, config, info, parity, metrics, shown=state["shown"], seconds=state["seconds"]
        )  # fmt: skip
        (directory / "README.md").write_text(card)
        checkpoint = CheckpointConfig(
            format_version=FORMAT_VERSION,
            gan_serve_version=__version__,
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


def _draw(model: bytes, z_dim: int) -> UInt8Array:
    session, _ = open_session(model, "cpu")
    return draw(session, latents_from_seeds(range(SAMPLE), z_dim))
