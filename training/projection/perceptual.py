"""The distance of two images in the features of a small extractor, as residuals for the search."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gan_serve.training.evaluation.feature_maps import FeatureMaps, unit_features

NO_FEATURES = "none"  # in place of a name: pixels alone


class PerceptualFeatures:
    """The layers of a small extractor, whose distance follows what people see more closely than that of pixels.

    The distance of two images is the sum over layers of the mean over pixels of the squared difference of their
    features, each pixel's features scaled to norm 1: LPIPS (Zhang et al. 2018, arXiv:1801.03924, equation 1) with equal
    weights. Of the layers of one size, the strided one is used.

    Args:
        name: a name of ``extractors()``, or the folder of an extractor; see ``FeatureMaps`` for the errors.
    """

    def __init__(self, name: str) -> None:
        self.maps = FeatureMaps(name, others=(NO_FEATURES,))

    def __call__(self, images: Tensor) -> Tensor:
        """Return the scaled features of images float32 [N, C, H, W] in [-1, 1], all layers together: [N, D].

        The sum of the squared differences of two of them is the distance of their images.
        """
        side = self.maps.info.img_resolution
        if images.shape[2:] != (side, side):
            images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=False)
        strided = (x for x, stride in zip(self.maps(images), self.maps.strides, strict=True) if stride > 1)
        return torch.cat([unit_features(x).flatten(1) / (x.shape[2] * x.shape[3]) ** 0.5 for x in strided], dim=1)
