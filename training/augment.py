"""Flip real images, and augment all images that the discriminator sees, in batches on the device.

DiffAugment (Zhao et al. 2020, arXiv:2006.10738): the same random changes for real and generated images, in the steps of
the discriminator and the generator, so that the discriminator does not overfit to a small data set. Images are float
[N, C, H, W] in [-1, 1]. To add an augmentation, write its function and name it in ``AUGMENTATIONS``;
tests/test_extending.py does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gan_serve.training.random_numbers import StepRandom


def flip(images: Tensor, random: StepRandom) -> Tensor:
    """Mirror half of the images left to right."""
    mirrored = random.uniform(len(images), 1, 1, 1) < 0.5
    return torch.where(mirrored, images.flip(3), images)


def color(images: Tensor, random: StepRandom) -> Tensor:
    """Change the brightness by up to ±0.5, the saturation by a factor of 0 to 2, the contrast by 0.5 to 1.5."""
    brightness, saturation, contrast = random.uniform(len(images), 3)[:, :, None, None, None].unbind(1)
    images = images + (brightness - 0.5)
    if images.shape[1] > 1:
        gray = images.mean(dim=1, keepdim=True)
        images = (images - gray) * (2 * saturation) + gray
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (contrast + 0.5) + mean


def translation(images: Tensor, random: StepRandom) -> Tensor:
    """Shift by up to an eighth of the size each way; the new border is 0 (mid-gray)."""
    n, _, height, width = images.shape
    reach = torch.tensor([height // 8, width // 8], device=images.device)
    dy, dx = torch.floor(random.uniform(n, 2) * (2 * reach + 1) - reach).long().unbind(1)
    rows = torch.arange(height, device=images.device) + dy[:, None]
    columns = torch.arange(width, device=images.device) + dx[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    batch = torch.arange(n, device=images.device)[:, None, None]
    moved = images.movedim(1, 3)[batch, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    return moved.movedim(3, 1) * inside[:, None]


def cutout(images: Tensor, random: StepRandom) -> Tensor:
    """Set a square of half the size at a random place to 0 (mid-gray)."""
    n, _, height, width = images.shape
    size = torch.tensor([height, width], device=images.device)
    top, left = torch.floor(random.uniform(n, 2) * (size + 1)).long().unbind(1)
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    in_rows = (rows - top[:, None] + height // 4).div(height // 2, rounding_mode="floor") == 0
    in_columns = (columns - left[:, None] + width // 4).div(width // 2, rounding_mode="floor") == 0
    hidden = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return torch.where(hidden, torch.zeros((), dtype=images.dtype, device=images.device), images)


AUGMENTATIONS: dict[str, Callable[[Tensor, StepRandom], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
}


def augment(images: Tensor, kinds: Sequence[str], random: StepRandom, probability: float = 1.0) -> Tensor:
    """Apply the named augmentations in the order given, each with the given probability for an image.

    The probability is the strength p of Karras et al. 2020 (arXiv:2006.06676), section 2.2.
    """
    for kind in kinds:
        changed = AUGMENTATIONS[kind](images, random)
        if probability < 1:
            changed = torch.where(random.uniform(len(images), 1, 1, 1) < probability, changed, images)
        images = changed
    return images
