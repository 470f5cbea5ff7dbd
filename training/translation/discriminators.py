"""Discriminators of translators: of patches, and of whole images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_serve.training.networks.layers import SLOPE, norm_layer


def patch_layers(resolution: int) -> int:
    """Return the strided layers of the largest PatchGAN, at most 3, whose patch is no larger than the image.

    Patches are 16, 34 and 70 pixels wide for 1, 2 and 3 layers (Isola et al. 2017, section 6.1.2).

    >>> [patch_layers(resolution) for resolution in (28, 64, 128, 256)]
    [1, 2, 3, 3]
    """
    return next((layers for layers, patch in ((3, 70), (2, 34)) if patch <= resolution), 1)


class PatchDiscriminator(nn.Module):
    """A PatchGAN: a logit for each patch of an image (Isola et al. 2017, section 6.1.2).

    Args:
        channels: of the image, and of the input that it was made from where that is seen too.
        ndf: channels of the first layer; the paper's: 64. layers: strided layers, see ``patch_layers``.
        norm: batch, instance, layer or none.
    """

    def __init__(self, *, channels: int, ndf: int = 64, layers: int = 3, norm: str = "batch") -> None:
        super().__init__()
        body: list[nn.Module] = [nn.Conv2d(channels, ndf, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        width = ndf
        for level in range(1, layers + 1):
            before, width = width, ndf * min(2**level, 8)
            stride = 2 if level < layers else 1
            body += [nn.Conv2d(before, width, 4, stride, 1), norm_layer(norm, width), nn.LeakyReLU(SLOPE)]
        self.body = nn.Sequential(*body, nn.Conv2d(width, 1, 4, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits float32 [N·patches] of images float32 [N, channels, H, W]."""
        logits: Tensor = self.body(images)
        return logits.flatten()


class ImageDiscriminator(nn.Module):
    """One logit for an image: 3x3 layers of stride 1 and 2 in turn, then the mean over the pixels.

    Ledig et al. 2017, figure 4, whose two dense layers, which fix the size of the images, are a mean and one layer
    here.

    Args:
        channels: of the image. ndf: channels of the first layer; the paper's: 64.
        layers: pairs of layers, each of which halves the image; the paper's: 4.
        norm: batch, instance, layer or none.
    """

    def __init__(self, *, channels: int, ndf: int = 64, layers: int = 4, norm: str = "batch") -> None:
        super().__init__()
        body: list[nn.Module] = []
        before = channels
        for level in range(layers):
            width = ndf * min(2**level, 8)
            first = [nn.Identity()] if not level else [norm_layer(norm, width)]
            body += [nn.Conv2d(before, width, 3, 1, 1), *first, nn.LeakyReLU(SLOPE)]
            body += [nn.Conv2d(width, width, 3, 2, 1), norm_layer(norm, width), nn.LeakyReLU(SLOPE)]
            before = width
        self.body = nn.Sequential(*body)
        self.logit = nn.Linear(before, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits float32 [N] of images float32 [N, channels, H, W]."""
        logits: Tensor = self.logit(torch.mean(self.body(images), dim=(2, 3)))
        return logits.squeeze(1)
