"""The losses of translators beside the adversarial one, and the perceptual distance.

All take images float32 [N, C, H, W] in [-1, 1] and return a scalar. Adversarial losses are those of
``gan_serve.training.losses``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_serve.training.evaluation.feature_maps import unit_features

PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,  # E|x - y| (Isola et al. 2017, eq. 3)
    "l2": F.mse_loss,  # E(x - y)², of SRResNet (Ledig et al. 2017, eq. 4)
}


def perceptual_distance(maps: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return the distances float32 [N] of N pairs of images by their feature maps; 0 for equal images.

    Mean over the layers and pixels of |f/|f| - g/|g||², where f and g are the channels of a pixel: the distance of
    Zhang et al. 2018 (LPIPS, arXiv:1801.03924), eq. 1, with all weights 1, in our features.
    """
    layers = [
        (unit_features(one) - unit_features(other)).square().sum(dim=1).mean(dim=(1, 2))
        for one, other in zip(maps, others, strict=True)
    ]
    return torch.stack(layers).mean(dim=0)
