"""BatchNorm statistics of a generator for given latents: "standing statistics" (Brock et al. 2019, arXiv:1809.11096).

In eval mode BatchNorm normalises by averages that training collected over full latents. Truncated latents have other
statistics, and with the old ones their images turn dim. The paper estimates them anew for each truncation:

    z = torch.randn(2048, generator.z_dim)
    c = torch.arange(2048) % generator.c_dim
    statistics = standing_statistics(generator, 0.7 * z, c)
    generator.load_state_dict(statistics, strict=False)  # now it is a generator for psi = 0.7
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
    """Return the means and variances that every BatchNorm of a generator meets for these latents.

    Each batch passes the network with BatchNorm in training mode, normalised by its own statistics as while training,
    and the statistics are averaged over the batches (section 3.1 and appendix E of the paper). All other layers are in
    eval mode. The generator itself, its statistics included, does not change, and no random number is drawn.

    Args:
        generator: on the device of ``z``; see ``training/networks``.
        z: latents float32 [N, z_dim], truncated already; a few thousand give means within a percent or two.
        c: labels int64 [N] where the generator is conditional, spread over the classes as they will be asked for.
        batch_size: latents in a pass. A rest that is smaller than that is left out, but for the only batch.

    Returns:
        ``running_mean`` and ``running_var`` of each layer (the variance is the unbiased one), under their names in
        ``generator.state_dict()``; empty where the generator has no BatchNorm. ``num_batches_tracked`` is left out.

    Raises:
        ValueError: fewer than two latents, or a ``batch_size`` below two: one image has no variance.
    """
    if min(len(z), batch_size) < 2:
        raise ValueError(f"BatchNorm needs batches of two or more latents, not {min(len(z), batch_size)}.")
    network = copy.deepcopy(generator).eval()
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, _BatchNorm)}
    for layer in layers.values():
        layer.reset_running_stats()
        layer.momentum = None  # a mean over all batches, each of the same weight
        layer.train()
    for start in range(0, max(1, len(z) // batch_size) * batch_size, batch_size):
        part = slice(start, start + batch_size)
        _ = network(z[part]) if c is None else network(z[part], c[part])
    averages = ("running_mean", "running_var")
    return {f"{name}.{average}": layer.get_buffer(average) for name, layer in layers.items() for average in averages}
