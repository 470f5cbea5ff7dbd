"""Measure a translator beside its targets: PSNR, SSIM, perceptual distance; without pairs, distances of the sets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gan_serve.images.compare import psnr
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.evaluation.feature_maps import FeatureMaps
from gan_serve.training.evaluation.pixel_metrics import LUMA
from gan_serve.training.networks import to_pixels
from gan_serve.training.translation.batch_loader import as_tensor
from gan_serve.training.translation.losses import perceptual_distance

PIECE = 32  # images at a time
WINDOW = 11  # pixels of the Gaussian window of SSIM, whose deviation is 1.5
Floats = npt.NDArray[np.float64]


@torch.no_grad()
def translate_images(network: nn.Module, inputs: UInt8Array) -> UInt8Array:
    """Return the outputs uint8 [N, H', W', C'] of ``network`` in eval mode for inputs uint8 [N, H, W, C]."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    outputs = [
        to_pixels(network(as_tensor(inputs[start : start + PIECE]).to(device)).float()).cpu().numpy()
        for start in range(0, len(inputs), PIECE)
    ]
    network.train(was_training)
    return np.concatenate(outputs)


def ssim(images: UInt8Array, reference: UInt8Array) -> Floats:
    """Return the structural similarity of each image float64 [N], 1 for equal ones.

    Of the luma, with a Gaussian window of 11 pixels and deviation 1.5, K1 0.01, K2 0.03 and no padding (Wang et al.
    2004, section III). Images are uint8 [N, H, W, C], at least 11 pixels wide and high.

    >>> image = np.random.RandomState(0).randint(0, 256, (1, 16, 16, 1)).astype(np.uint8)
    >>> float(ssim(image, image)[0])
    1.0
    """
    x, y = (_luma(each) for each in (images, reference))
    places = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    line = torch.exp(-places.square() / (2 * 1.5**2))
    line = line / line.sum()

    def local(values: torch.Tensor) -> torch.Tensor:
        across = torch.nn.functional.conv2d(values, line.view(1, 1, 1, -1))
        return torch.nn.functional.conv2d(across, line.view(1, 1, -1, 1))

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = local(x), local(y)
    variance_x, variance_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    similar = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similar = similar / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
    return np.asarray(similar.mean(dim=(1, 2, 3)).numpy(), np.float64)


def perceptual(features: FeatureMaps, images: UInt8Array, reference: UInt8Array) -> Floats:
    """Return the perceptual distance of each pair of images float64 [N], see ``losses.perceptual_distance``."""

    def maps(part: UInt8Array) -> list[torch.Tensor]:
        found: list[torch.Tensor] = features(as_tensor(part))
        return found

    with torch.no_grad():
        pieces = [
            perceptual_distance(maps(images[start : start + PIECE]), maps(reference[start : start + PIECE]))
            for start in range(0, len(images), PIECE)
        ]
    return torch.cat(pieces).double().numpy()


def compare(images: UInt8Array, targets: UInt8Array, features: FeatureMaps) -> dict[str, float]:
    """Return the means of PSNR in decibels, SSIM, and the perceptual distance of N pairs of images."""
    measures: dict[str, Callable[[], Floats]] = {
        "psnr": lambda: psnr(images, targets),
        "ssim": lambda: ssim(images, targets),
        "perceptual": lambda: perceptual(features, images, targets),
    }
    return {name: round(float(measure().mean()), 4) for name, measure in measures.items()}


def _luma(images: UInt8Array) -> torch.Tensor:
    values = images[..., 0].astype(np.float64) if images.shape[3] == 1 else images.astype(np.float64) @ LUMA
    return torch.from_numpy(np.asarray(values, np.float64))[:, None]
