"""What the peers that run our ONNX file share: a session as gan-serve makes it, latents, and one run for a batch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime

from gan_serve.sampling.latents import latents_from_seeds

OUTPUT = ["img"]


def open_session() -> onnxruntime.InferenceSession:
    """One thread. ``CHECKPOINT`` and ``NETWORK`` in the environment say which file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = Path(os.environ["CHECKPOINT"]) / os.environ["NETWORK"]
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def draw(session: onnxruntime.InferenceSession, seeds: list[int]) -> np.ndarray:
    """uint8 [N, H, W, C]."""
    z_dim = session.get_inputs()[0].shape[1]
    return session.run(OUTPUT, {"z": latents_from_seeds(seeds, z_dim)})[0]
