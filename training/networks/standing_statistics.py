"""Estimate BatchNorm statistics for given latents: "standing statistics" (Brock et al. 2019, arXiv:1809.11096).

In eval mode, BatchNorm normalises by averages over the latents of training. Truncated latents have other statistics,
and with the averages of training their images lose contrast. The paper estimates the statistics again for each
truncation:

    z = torch.randn(2048, generator.z_dim)
    c = torch.arange(2048) % generator.c_dim
    statistics = standing_statistics(generator, 0.7 * z, c)
    generator.load_state_dict(statistics, strict=False)  # the generator now suits psi = 0.7
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def standing_statistics(
    generator: nn.Module, z: Tensor, c: Tensor | None = None, *, batch_size: int = 128
) -> dict[str, Tensor]:
    """Return the means and variances of the inputs of every BatchNorm of a generator for these latents.

    Each batch passes through the network with BatchNorm in training mode, so that it is normalised by its own
    statistics, and the statistics are averaged over the batches (section 3.1 and appendix E of the paper). All other
    layers are in eval mode. The generator does not change, and no random numbers are used.

    Args:
        generator: on the device of ``z``; see ``training/networks``.
        z: truncated latents float32 [N, z_dim]; a few thousand give means within one or two percent.
        c: labels int64 [N] for a conditional generator, with the classes in the shares of later use.
        batch_size: latents in a batch. A smaller last batch is left out, unless it is the only one.

    Returns:
        ``running_mean`` and ``running_var`` (unbiased) of each layer under their names in ``generator.state_dict()``;
        empty if the generator has no BatchNorm. ``num_batches_tracked`` is left out.

    Raises:
        ValueError: fewer than two latents, or a ``batch_size`` below two: one image has no variance.
    """
    if min(len(z), batch_size) < 2:
        raise ValueError(f"BatchNorm needs batches of two or more latents, not {min(len(z), batch_size)}.")
    network = copy.deepcopy(generator).eval()
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, _BatchNorm)}
    for layer in layers.values():
        layer.reset_running_stats()
        layer.momentum = None  # a mean over all batches with equal weights
        layer.train()
    for start in range(0, max(1, len(z) // batch_size) * batch_size, batch_size):
        part = slice(start, start + batch_size)
        _ = network(z[part]) if c is None else network(z[part], c[part])
    averages = ("running_mean", "running_var")
    return {f"{name}.{average}": layer.get_buffer(average) for name, layer in layers.items() for average in averages}
