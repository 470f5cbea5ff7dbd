"""Batches of a data set that is on the device as uint8: no loader processes, and no copies in a step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gan_serve.training.data.load import ImageSet
from gan_serve.training.distributed import Processes
from gan_serve.training.snapshots import DataOrder


class Batch(NamedTuple):
    """Real images float32 [N, C, H, W] in [-1, 1], and their labels int64 [N] where the run is conditional."""

    images: Tensor
    c: Tensor | None


class Loader:
    """Batches of ``data`` in the order that follows from the seed (see ``DataOrder``)."""

    def __init__(
        self, data: ImageSet, *, seed: int, labels: bool, device: torch.device, processes: Processes | None = None
    ) -> None:
        self._images = torch.tensor(data.images).permute(0, 3, 1, 2).contiguous().to(device)
        self._labels = torch.tensor(data.labels).to(device) if labels else None
        self._order = DataOrder(len(data), seed, device)
        self._processes = processes or Processes()

    def batch(self, shown: int, size: int) -> Batch:
        """Return the part of this process of the next ``size`` images after ``shown`` images were shown."""
        rank, world, _ = self._processes
        part = size // world
        indices = self._order.batch(shown + rank * part, part)
        images = as_floats(self._images[indices])
        return Batch(images, None if self._labels is None else self._labels[indices])

    def fresh_batch(self, shown: int, size: int) -> Batch:
        """Return the batch half a pass ahead of ``batch(shown, size)``."""
        return self.batch(shown + self._order.n // 2, size)


def as_floats(images: Tensor) -> Tensor:
    """Return images uint8 [N, C, H, W] as float32 in [-1, 1]."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
