"""A small classifier of real images; its last features serve to compare generated images.

Inception was trained on photographs and takes 6 GFLOP for an image. This network takes about a hundredth of that, is
trained in minutes on the data set in question, and needs no download. ``gan_serve.exports.feature_extractor`` trains
one and writes it as ONNX.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_serve.images.pixels import UInt8Array

BATCH = 128
SEED = 0  # of weights, order and shifts
PEAK_LEARNING_RATE = 4e-3
WEIGHT_DECAY = 5e-4  # of AdamW, multiplied by the learning rate
SHIFT = 1 / 28  # largest shift, as a share of the width
FEATURES = 128


class Classifier(nn.Module):
    """3x3 convolutions with BatchNorm, two at each size down to about 7x7, a mean over the pixels, and a linear layer.

    Args:
        img_resolution: R. img_channels: C.
        outputs: number of classes, or of attributes that an image has or does not have.

    The 128 features are the means over the pixels of the last layer. There are about 200 thousand weights.
    """

    def __init__(self, img_resolution: int, img_channels: int, outputs: int) -> None:
        super().__init__()
        widths = (16, 40, 80) if img_resolution >= 48 else (40, 80)
        layers: list[nn.Module] = [_block(img_channels, widths[0])]
        for before, after in pairwise((*widths, FEATURES)):
            layers += [_block(before, before, stride=2), _block(before, after)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [N, 128] and logits [N, outputs] of images float32 [N, C, R, R] in [-1, 1]."""
        features = self.body(images).mean(dim=(2, 3))
        return features, self.head(F.dropout(features, 0.2, self.training))


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )


def train_classifier(
    images: UInt8Array,
    targets: npt.NDArray[np.int64],
    outputs: int,
    *,
    epochs: int,
    flip: bool,
    bf16: bool = False,
    progress: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Classifier:
    """Train with AdamW and a one-cycle learning rate, on images that are randomly shifted and optionally mirrored.

    Args:
        images: uint8 [N, R, R, C].
        targets: int64 [N], the class of each image; or int64 [N, outputs] of 0 and 1, its attributes.
        outputs: number of classes or attributes.
        epochs: passes over the images.
        flip: mirror half of the images.
        bf16: compute convolutions in bfloat16.
        progress: called after each epoch with its number and mean loss.

    Returns:
        The classifier in eval mode.
    """
    torch.manual_seed(SEED)
    random = torch.Generator().manual_seed(SEED)
    channels_first = torch.tensor(images).permute(0, 3, 1, 2)  # a copy, because images may be read-only
    expected = torch.from_numpy(targets)
    model = Classifier(images.shape[1], images.shape[3], outputs).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    steps = max(1, len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=epochs * steps)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(images), generator=random)[: steps * BATCH].view(-1, BATCH):
            batch = _augmented(channels_first[rows], flip, random)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(batch.contiguous(memory_format=torch.channels_last))[1].float()
            loss = _loss(logits, expected[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        progress(epoch + 1, total / steps)
    return cast(Classifier, model.eval())


def as_input(images: Tensor) -> Tensor:
    """Convert pixels uint8 [N, C, R, R] to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def _loss(logits: Tensor, expected: Tensor) -> Tensor:
    if expected.ndim == 1:
        return F.cross_entropy(logits, expected, label_smoothing=0.05)
    return F.binary_cross_entropy_with_logits(logits, expected.float())


def _augmented(images: Tensor, flip: bool, random: torch.Generator) -> Tensor:
    """Shift each image by up to ``SHIFT`` of its width, repeating the border, and mirror half of them if ``flip``."""
    n, _, side, _ = images.shape
    most = round(SHIFT * side)
    padded = F.pad(as_input(images), (most, most, most, most), mode="replicate")
    offsets = torch.randint(0, 2 * most + 1, (2, n), generator=random)
    span = torch.arange(side)
    rows = (offsets[0, :, None] + span)[:, None, :, None]
    columns = offsets[1, :, None] + span
    if flip:
        mirrored = torch.rand(n, generator=random) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    each = torch.arange(n)[:, None, None, None]
    channels = torch.arange(images.shape[1])[None, :, None, None]
    return padded[each, channels, rows, columns[:, None, None, :]]
