"""Sample images with a generator of torch, as pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from gan_serve.images.encoding import UInt8Array
from gan_serve.training.networks import to_pixels

CHUNK = 64  # images at a time


@torch.no_grad()
def sample_images(generator: nn.Module, z: Tensor, c: Tensor | None = None, psi: Tensor | None = None) -> UInt8Array:
    """Return the images uint8 [N, H, W, C] of ``generator`` in eval mode for latents z [N, z_dim] and labels c [N].

    ``psi`` float32 [N] is for generators that truncate in w by themselves.

    It works on the generator's device, 64 images at a time, and leaves the generator's mode as it was.
    """
    device = next(generator.parameters()).device
    was_training = generator.training
    generator.eval()
    sampled = []
    for start in range(0, len(z), CHUNK):
        inputs = [None if x is None else x[start : start + CHUNK].to(device) for x in (z, c)]
        styles = {} if psi is None else {"psi": psi[start : start + CHUNK].to(device)}
        sampled.append(to_pixels(generator(*inputs, **styles).float()).cpu().numpy())
    generator.train(was_training)
    return np.concatenate(sampled)
