"""Runs that version 0.1.0 began go on as they began; ``tests/old_runs`` holds a tiny one."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from gan_serve.training.config import make_config, read_config
from gan_serve.training.legacy import MINIBATCH_ON_FEATURES, PLAIN_EMBEDDING, UNFLIPPED_MATCHING, with_legacy_values
from gan_serve.training.loop import train
from gan_serve.training.networks.equalized import EqualizedEmbedding
from gan_serve.training.snapshots import load_snapshot, snapshots
from gan_serve.training.step import Training

OLD_RUN = Path(__file__).parent / "old_runs" / "dcgan"


def test_an_old_run_resumes_to_the_weights_that_the_old_version_reached(digits, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(OLD_RUN, run_dir)
    reached = load_snapshot(snapshots(run_dir)[-1])
    snapshots(run_dir)[-1].unlink()
    config = read_config(run_dir / "config.json")
    assert config.legacy == (MINIBATCH_ON_FEATURES, UNFLIPPED_MATCHING)
    train(config.model_copy(update={"data": str(digits)}), run_dir, resume=True, quiet=True)
    now = load_snapshot(snapshots(run_dir)[-1])
    # Bit for bit where it was made; another processor rounds otherwise.
    for network in ("generator", "discriminator", "ema"):
        torch.testing.assert_close(now[network], reached[network], rtol=1e-3, atol=1e-5)


def test_old_settings_that_nothing_changed_for_keep_no_legacy_rule():
    old = {"family": "dcgan", "minibatch": None, "conditional": True, "conditioning": "projection", "flip": True}
    assert with_legacy_values(old)["legacy"] == []
    assert with_legacy_values(old)["ema_rampup"] == 0
    assert with_legacy_values(old | {"legacy": [], "ema_rampup": 0.05})["ema_rampup"] == 0.05


def test_an_old_style_based_run_keeps_its_plain_embedding():
    settings = {"data": "x", "channels": 1, "conditional": True, "conditioning": "projection", "width": 0.02}
    new = make_config("stylegan", settings)
    old = new.model_copy(update={"legacy": (PLAIN_EMBEDDING,)})
    embeddings = [Training.start(config, torch.device("cpu"), c_dim=4).discriminator.embed for config in (new, old)]
    assert [type(embedding) for embedding in embeddings] == [EqualizedEmbedding, torch.nn.Embedding]
    deviation = embeddings[1].weight.std().item()
    assert deviation < 1
    assert embeddings[0](torch.arange(4)).std().item() < 1.5 * embeddings[0].embedding_dim ** -0.5
