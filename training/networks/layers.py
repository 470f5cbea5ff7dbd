"""Layers that several families share, and the rule for the sizes of a network."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gan_serve.errors import InvalidOption
from gan_serve.training.networks.options import BatchNormOptions

SLOPE = 0.2  # of every LeakyReLU, as in the DCGAN paper
Upsampling = Literal["transposed", "nearest", "bilinear"]  # a transposed convolution, or upsampling and a convolution


def start_and_levels(img_resolution: int) -> tuple[int, int]:
    """Return the start size of a network, at least 4, and the number of doublings: R = start * 2**levels.

    Raises:
        InvalidOption: the resolution is not a multiple of 4, or less than 8.

    >>> start_and_levels(64), start_and_levels(28)
    ((4, 4), (7, 2))
    """
    if img_resolution < 8 or img_resolution % 4:
        raise InvalidOption(
            f"img_resolution must be a multiple of 4 and at least 8, not {img_resolution}.",
            f"Try {max(8, round(img_resolution / 4) * 4)}.",
        )
    start, levels = img_resolution, 0
    while start % 2 == 0 and start >= 8:
        start, levels = start // 2, levels + 1
    return start, levels


def scaled(channels: int, width: float) -> int:
    """Return ``width`` times ``channels``, at least 1."""
    return max(1, round(channels * width))


def upsampling_by_2(mode: str) -> nn.Upsample:
    """Return nearest-neighbour or bilinear upsampling, [N, C, H, W] -> [N, C, 2H, 2W]."""
    return nn.Upsample(scale_factor=2, mode=mode, align_corners=False if mode == "bilinear" else None)


def with_labels(z: Tensor, c: Tensor | None, c_dim: int) -> Tensor:
    """Join one-hot labels to latents: z [N, z_dim], c int64 [N] -> [N, z_dim + c_dim] (Mirza and Osindero 2014).

    One-hot labels are scaled by √c_dim, so that their mean square is 1, like that of latents.

    Raises:
        ValueError: the network is conditional and no labels are given.
    """
    if not c_dim:
        return z
    return torch.cat([z, one_hot(c, c_dim) * math.sqrt(c_dim)], dim=1)


def label_planes(images: Tensor, c: Tensor | None, c_dim: int) -> Tensor:
    """Join one-hot labels to images as constant planes: [N, C, H, W] -> [N, C + c_dim, H, W]."""
    planes = one_hot(c, c_dim).to(images.dtype)[:, :, None, None].expand(-1, -1, *images.shape[2:])
    return torch.cat([images, planes], dim=1)


def one_hot(c: Tensor | None, c_dim: int) -> Tensor:
    """Return one-hot float32 [N, c_dim] of labels int64 [N]; zeros for others, as a check would wait for the GPU."""
    if c is None:
        raise ValueError(f"This network is conditional: give labels int64 [N] from 0 to {c_dim - 1}.")
    return (c[:, None] == torch.arange(c_dim, device=c.device)).float()


def latents_as(kind: str, z: Tensor) -> Tensor:
    """Return latents N(0, 1) float32 [N, z_dim] as they are, or ``uniform`` from -1 to 1: erf(z / √2)."""
    return torch.erf(z / math.sqrt(2)) if kind == "uniform" else z


def set_batch_norm(network: nn.Module, options: BatchNormOptions) -> None:
    """Set what every BatchNorm in ``network`` adds to the variance, and the share of a batch in its averages.

    The momentum is counted as torch does: average = (1 - momentum) average + momentum batch. Keras says 1 - momentum,
    and has 1e-3 where torch adds 1e-5 to the variance.
    """
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum, layer.eps = options.bn_momentum, options.bn_eps


class MinibatchStd(nn.Module):
    """Append a feature map with the standard deviation over a group of images (Karras et al. 2018, section 3).

    The batch is split into groups of ``GROUP`` (or the largest divisor of N below it), so that the statistic does
    not depend on the batch size. Maps [N, C, H, W] -> [N, C + 1, H, W], or features [N, F] -> [N, F + 1].
    """

    GROUP = 4

    def forward(self, x: Tensor) -> Tensor:
        """Append the statistic, which is 0 for a batch of one image."""
        group = next(size for size in range(min(self.GROUP, len(x)), 0, -1) if len(x) % size == 0)
        groups = x.float().view(group, -1, *x.shape[1:])  # [G, N/G, ...]
        deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt()
        statistic = deviation.flatten(1).mean(dim=1).repeat(group).to(x.dtype)  # [N]
        return torch.cat([x, statistic.view(-1, *[1] * (x.ndim - 1)).expand(-1, 1, *x.shape[2:])], dim=1)


class MinibatchDiscrimination(nn.Module):
    """Append to the features of each image its closeness to the rest of the batch (Salimans et al. 2016, section 3.2).

    M_i = T f(x_i) in R^{B x C}; o(x_i)_b = sum over j != i of exp(-||M_ib - M_jb||_1).
    [N, F] -> [N, F + kernels].
    """

    def __init__(self, n_features: int, kernels: int = 50, kernel_dim: int = 5) -> None:
        super().__init__()
        self.kernels = kernels
        self.kernel_dim = kernel_dim
        self.project = nn.Linear(n_features, kernels * kernel_dim, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Append the closeness of each image to all others."""
        matrices = self.project(features).unflatten(1, (self.kernels, self.kernel_dim))
        distance = (matrices[:, None] - matrices[None]).abs().sum(dim=3)  # [N, N, kernels]
        closeness = torch.exp(-distance).sum(dim=1) - 1  # without the closeness of an image to itself
        return torch.cat([features, closeness], dim=1)


def norm_layer(kind: str, channels: int) -> nn.Module:
    """Return a normalisation of maps [N, channels, H, W] by name: ``batch``, ``instance``, ``layer`` or ``none``."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if kind == "layer":
        return nn.GroupNorm(1, channels)
    return nn.Identity()


class ByteDropout(nn.Dropout):
    """Dropout with random bytes for the mask, 8 at a time; several times faster on a CPU than torch's.

    The probability is rounded to a multiple of 1/256, and the scale matches the rounded value, so the mean is exact.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share of ``x`` in training mode, and scale the rest by 1 / (1 - share)."""
        threshold = min(255, round(self.p * 256))
        if not self.training or not threshold:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None)
        noise = words.view(torch.uint8)[: x.numel()].view(x.shape)
        return x * (noise >= threshold).to(x.dtype) * (256 / (256 - threshold))


def use_byte_dropout(network: nn.Module) -> None:
    """Replace every dropout layer in ``network`` by ``ByteDropout``."""
    for name, layer in network.named_children():
        if isinstance(layer, nn.Dropout):
            setattr(network, name, ByteDropout(layer.p))
        else:
            use_byte_dropout(layer)


def normalise_spectrally(network: nn.Module) -> None:
    """Divide every weight matrix by its largest singular value, estimated by power iteration (Miyato et al. 2018).

    A convolution's weight counts as the matrix [out, in * height * width].
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
            nn.utils.parametrizations.spectral_norm(layer)
