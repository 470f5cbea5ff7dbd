"""Batches of inputs and targets that are kept on the device as uint8."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.batch_loader import as_floats
from gan_serve.training.snapshots import DataOrder
from gan_serve.training.translation.pairs import PairedImages


class PairBatch(NamedTuple):
    """Inputs x float32 [N, C, h, w] and targets y float32 [N, C, H, W], both in [-1, 1]."""

    x: Tensor
    y: Tensor


class PairLoader:
    """Batches in an order that follows from the seed; inputs and targets without pairs each have their own."""

    def __init__(self, data: PairedImages, *, seed: int, device: torch.device) -> None:
        self._inputs, self._targets = (_on(device, each.images) for each in (data.inputs, data.targets))
        order = DataOrder(len(data.inputs), seed, device)
        self._orders = (order, order if data.paired else DataOrder(len(data.targets), seed + 1, device))

    def batch(self, shown: int, size: int) -> PairBatch:
        """Return the next ``size`` inputs and targets after ``shown`` were shown."""
        chosen = [order.batch(shown, size) for order in self._orders]
        return PairBatch(as_floats(self._inputs[chosen[0]]), as_floats(self._targets[chosen[1]]))


def as_tensor(images: UInt8Array) -> Tensor:
    """Return images uint8 [N, H, W, C] as float32 [N, C, H, W] in [-1, 1]."""
    return as_floats(torch.tensor(images).permute(0, 3, 1, 2))


def _on(device: torch.device, images: UInt8Array) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)
