"""Code that the peers with our ONNX file share: a session as in gan-serve, latents, and a call for a batch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime

from gan_serve.sampling.latents import latents_from_seeds

OUTPUT = ["img"]


def open_session() -> onnxruntime.InferenceSession:
    """Open a session with one thread for the file that ``CHECKPOINT`` and ``NETWORK`` in the environment name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = Path(os.environ["CHECKPOINT"]) / os.environ["NETWORK"]
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def draw(session: onnxruntime.InferenceSession, seeds: list[int]) -> np.ndarray:
    """Return the images of seeds, uint8 [N, H, W, C]."""
    z_dim = session.get_inputs()[0].shape[1]
    return session.run(OUTPUT, {"z": latents_from_seeds(seeds, z_dim)})[0]
