"""Truncation in w, the style space (Karras et al. 2019, appendix B): styles are moved towards their mean."""

from __future__ import annotations

import torch
from torch import Tensor

W_MEAN_DECAY = 0.995  # for each step, as in the paper's code


@torch.no_grad()
def track_mean_style(w_mean: Tensor, w: Tensor) -> None:
    """Move ``w_mean`` [w_dim], a moving average over training, towards the mean of the styles ``w`` [N, w_dim]."""
    w_mean.lerp_(w.mean(dim=0).to(w_mean.dtype), 1 - W_MEAN_DECAY)


def truncate_styles(ws: Tensor, w_mean: Tensor, psi: Tensor) -> Tensor:
    """Return w_mean + psi (w - w_mean): exactly w where psi is 1, and w_mean where it is 0.

    Args:
        ws: styles of the layers, [N, num_layers, w_dim].
        w_mean: float32 [w_dim].
        psi: float32 [N], from 0 to 1.

    Returns:
        float32 [N, num_layers, w_dim].
    """
    return torch.lerp(w_mean, ws.float(), psi[:, None, None])
