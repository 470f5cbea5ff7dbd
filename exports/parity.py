"""How far an ONNX file is from torch, pixel by pixel, and whether its images depend on the batch."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch
from pydantic import BaseModel
from torch import nn

from gan_serve.errors import ExportRefused
from gan_serve.exports.onnx import PixelGenerator
from gan_serve.latents import latents_from_seeds, truncate
from gan_serve.runtime import open_session

SEEDS = range(256)
TRUNCATIONS = (1.0, 0.7, 0.5)
BATCH_SIZES = (1, 2, 3, 7, 16, 64)
BOUND = 1  # grey levels


class Parity(BaseModel):
    """``parity.json``: the largest difference in any pixel, in grey levels, and over what it was measured."""

    max_difference: int
    differing_pixels: float
    bound: int
    batch_invariant: bool
    seeds: int
    truncations: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    torch_version: str
    onnxruntime_version: str


def measure_parity(model: bytes, generator: nn.Module, z_dim: int) -> Parity:
    """Compare an ONNX file with its torch generator (eval mode, CPU), both in fp32.

    Raises:
        ExportRefused: a pixel differs by more than one grey level, or an image depends on its batch.
    """
    session, _ = open_session(model, "cpu")
    reference = PixelGenerator(generator).eval()
    latents = latents_from_seeds(SEEDS, z_dim)

    differences, invariant = [], True
    for truncation in TRUNCATIONS:
        z = truncate(latents, truncation)
        with torch.no_grad():
            expected = reference(torch.from_numpy(z)).numpy().astype(np.int16)
        whole = session.run(["img"], {"z": z})[0]
        differences.append(np.abs(whole - expected))
        for size in BATCH_SIZES:
            pieces = [session.run(["img"], {"z": z[start : start + size]})[0] for start in range(0, len(z), size)]
            invariant = invariant and np.array_equal(np.concatenate(pieces), whole)
    difference = np.stack(differences)
    parity = Parity(
        max_difference=int(difference.max()),
        differing_pixels=float((difference > 0).mean()),
        bound=BOUND,
        batch_invariant=invariant,
        seeds=len(SEEDS),
        truncations=TRUNCATIONS,
        batch_sizes=BATCH_SIZES,
        torch_version=torch.__version__,
        onnxruntime_version=onnxruntime.__version__,
    )
    if parity.max_difference > BOUND:
        raise ExportRefused(
            f"The ONNX file differs from torch by {parity.max_difference} grey levels; at most {BOUND} is allowed.",
            "Nothing was written. Try the pinned versions of torch and ONNX Runtime (constraints.txt).",
        )
    if not invariant:
        raise ExportRefused("The pixels of an image depend on the batch it is in.", "Nothing was written.")
    return parity
