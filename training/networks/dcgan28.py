"""The DCGAN for small gray images: a dense layer to a quarter of the size, then 5x5 transposed convolutions.

Radford et al. 2016 in the form of TensorFlow's DCGAN lesson on MNIST 28x28.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from gan_serve.errors import InvalidOption

SLOPE = 0.2


class DCGAN28Generator(nn.Module):
    """Dense to (R/4)²·256, then 5x5 transposed convolutions to 128 (stride 1), 64 (stride 2), C (stride 2), and tanh.

    BatchNorm and LeakyReLU 0.2 lie between the layers; no layer has a bias, as BatchNorm would cancel it, but the last.

    Args:
        z_dim: numbers in a latent.
        img_resolution: R, width and height of the images; a multiple of 4.
        img_channels: C, 1 for gray or 3 for RGB.

    Raises:
        InvalidOption: the resolution is not a multiple of 4.
    """

    def __init__(self, z_dim: int, img_resolution: int, img_channels: int) -> None:
        super().__init__()
        start = _quarter(img_resolution)
        self.layers = nn.Sequential(
            OrderedDict(
                dense=nn.Linear(z_dim, start * start * 256, bias=False),
                norm0=nn.BatchNorm1d(start * start * 256),
                act0=nn.LeakyReLU(SLOPE),
                reshape=nn.Unflatten(1, (256, start, start)),
                conv1=nn.ConvTranspose2d(256, 128, 5, stride=1, padding=2, bias=False),
                norm1=nn.BatchNorm2d(128),
                act1=nn.LeakyReLU(SLOPE),
                conv2=nn.ConvTranspose2d(128, 64, 5, stride=2, padding=2, output_padding=1, bias=False),
                norm2=nn.BatchNorm2d(64),
                act2=nn.LeakyReLU(SLOPE),
                conv3=nn.ConvTranspose2d(64, img_channels, 5, stride=2, padding=2, output_padding=1),
                tanh=nn.Tanh(),
            )
        )

    def forward(self, z: Tensor) -> Tensor:
        """z float32 [N, z_dim] -> images float32 [N, C, R, R] in [-1, 1]."""
        images: Tensor = self.layers(z)
        return images


class DCGAN28Discriminator(nn.Module):
    """Two 5x5 stride-2 convolutions, 64 and 128, each with LeakyReLU 0.2 and dropout, no BatchNorm; one logit.

    Args:
        img_resolution: R, width and height of the images; a multiple of 4.
        img_channels: C, 1 for gray or 3 for RGB.
        dropout: share of activations dropped after each convolution while training.

    Raises:
        InvalidOption: the resolution is not a multiple of 4.
    """

    def __init__(self, img_resolution: int, img_channels: int, dropout: float = 0.3) -> None:
        super().__init__()
        end = _quarter(img_resolution)
        self.layers = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(img_channels, 64, 5, stride=2, padding=2),
                act1=nn.LeakyReLU(SLOPE),
                drop1=nn.Dropout(dropout),
                conv2=nn.Conv2d(64, 128, 5, stride=2, padding=2),
                act2=nn.LeakyReLU(SLOPE),
                drop2=nn.Dropout(dropout),
                flatten=nn.Flatten(),
                logit=nn.Linear(128 * end * end, 1),
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images float32 [N, C, R, R] in [-1, 1] -> logits float32 [N]; above 0 means real."""
        logits: Tensor = self.layers(images)
        return logits.squeeze(1)


def _quarter(img_resolution: int) -> int:
    if img_resolution < 8 or img_resolution % 4:
        raise InvalidOption(
            f"img_resolution must be a multiple of 4 and at least 8, not {img_resolution}.",
            f"Try {max(8, round(img_resolution / 4) * 4)}.",
        )
    return img_resolution // 4
