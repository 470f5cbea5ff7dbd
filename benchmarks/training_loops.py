"""The two loops that training.py compares: the trainer of this package, and that of PyTorch's DCGAN tutorial."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gan_serve.training.config import TrainConfig
from gan_serve.training.data.batch_loader import Batch, Loader
from gan_serve.training.data.load import ImageSet
from gan_serve.training.loop import _number_of_classes, pick_device, resolve_settings
from gan_serve.training.step import Training


class Loop(Protocol):
    """One way to train."""

    device: torch.device

    def step(self) -> int:
        """Train one step; returns how many real images it showed."""
        ...

    def generators(self) -> dict[str, nn.Module]:
        """The generators to sample from, by name."""
        ...


class Ours:
    """``Training.step`` with ``Loader``, as the trainer calls them, the generator's average included."""

    def __init__(self, config: TrainConfig, data: ImageSet, *, channels_last: bool | None = None) -> None:
        self.device = pick_device(config.device)
        config = resolve_settings(config, data, self.device)
        self.training = Training.start(config, self.device, c_dim=_number_of_classes(config, data))
        self.loader = Loader(data, seed=config.seed, labels=bool(config.conditional), device=self.device)
        self.layout = None if channels_last is None else _layout(channels_last)
        if self.layout:
            for network in (self.training.generator, self.training.discriminator, self.training.ema.generator):
                network.to(memory_format=self.layout)  # type: ignore[call-overload]

    def step(self) -> int:
        set_switches(ours=True)
        shown, size = self.training.shown, self.training.config.batch_size
        starts = range(shown, shown + self.training.images_a_step, size)
        fresh = self.loader.fresh_batch(shown, size) if self.training.needs_fresh_batch else None
        self.training.step([self._batch(start, size) for start in starts], fresh)
        return self.training.shown - shown

    def generators(self) -> dict[str, nn.Module]:
        return {"ours, averaged": self.training.ema.generator, "ours, last weights": self.training.generator}

    def _batch(self, start: int, size: int) -> Batch:
        images, c = self.loader.batch(start, size)
        return Batch(images.contiguous(memory_format=self.layout) if self.layout else images, c)


class Tutorial:
    """The loop of https://pytorch.org/tutorials/beginner/dcgan_faces_tutorial.html around our networks.

    Real and generated images pass the discriminator one after the other, in NCHW and float32; losses and the means of
    D are read (``.item()``) each step; Adam is torch's default; there is no average of the generator. Two things are
    not the tutorial's: logits with ``BCEWithLogitsLoss`` for a sigmoid with ``BCELoss``, as our networks give logits,
    and images that are in memory, where the tutorial decodes files: both make it faster, if anything.
    """

    def __init__(self, config: TrainConfig, data: ImageSet) -> None:
        self.device = pick_device(config.device)
        start = Training.start(resolve_settings(config, data, self.device), self.device)
        self.netG = start.generator.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.netD = start.discriminator.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.nz = config.z_dim
        self.criterion = nn.BCEWithLogitsLoss()
        self.optimizerD = torch.optim.Adam(self.netD.parameters(), lr=config.d_lr, betas=(config.d_beta1, 0.999))
        self.optimizerG = torch.optim.Adam(self.netG.parameters(), lr=config.g_lr, betas=(config.g_beta1, 0.999))
        self.dataloader = DataLoader(PILImages(data.images), batch_size=config.batch_size, shuffle=True, num_workers=2)
        self.batches = self._endless()
        self.G_losses: list[float] = []
        self.D_losses: list[float] = []

    def step(self) -> int:
        set_switches(ours=False)
        data = next(self.batches)

        # (1) Update D network: maximize log(D(x)) + log(1 - D(G(z)))
        self.netD.zero_grad()
        real_cpu = data.to(self.device)
        b_size = real_cpu.size(0)
        label = torch.full((b_size,), 1.0, dtype=torch.float, device=self.device)
        output = self.netD(real_cpu).view(-1)
        errD_real = self.criterion(output, label)  # noqa: N806 (names of the tutorial)
        errD_real.backward()
        D_x = output.mean().item()  # noqa: N806, F841
        noise = torch.randn(b_size, self.nz, device=self.device)
        fake = self.netG(noise)
        label.fill_(0.0)
        output = self.netD(fake.detach()).view(-1)
        errD_fake = self.criterion(output, label)  # noqa: N806
        errD_fake.backward()
        D_G_z1 = output.mean().item()  # noqa: N806, F841
        errD = errD_real + errD_fake  # noqa: N806
        self.optimizerD.step()

        # (2) Update G network: maximize log(D(G(z)))
        self.netG.zero_grad()
        label.fill_(1.0)
        output = self.netD(fake).view(-1)
        errG = self.criterion(output, label)  # noqa: N806
        errG.backward()
        D_G_z2 = output.mean().item()  # noqa: N806, F841
        self.optimizerG.step()
        self.G_losses.append(errG.item())
        self.D_losses.append(errD.item())
        return b_size

    def generators(self) -> dict[str, nn.Module]:
        return {"tutorial, last weights": self.netG}

    def _endless(self) -> Iterator[Tensor]:
        while True:
            yield from self.dataloader


class PILImages(Dataset[Tensor]):
    """Images as torchvision's data sets give them: a PIL image each, then ToTensor and Normalize(0.5, 0.5)."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        array = self.images[index]
        image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
        pixels = torch.from_numpy(np.array(image, copy=True)).view(image.height, image.width, -1)
        return pixels.permute(2, 0, 1).contiguous().float().div(255).sub_(0.5).div_(0.5)


def set_switches(*, ours: bool) -> None:
    """Torch's switches for the GPU: as the trainer sets them for its process, or torch's defaults."""
    torch.set_float32_matmul_precision("high" if ours and torch.cuda.is_available() else "highest")
    torch.backends.cudnn.benchmark = ours and torch.cuda.is_available()


def _layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format
