"""Translators: networks that map an image to an image, one class a family.

All map float32 [N, in_channels, H, W] in [-1, 1] to float32 [N, img_channels, scale·H, scale·W]; values beyond [-1, 1]
are clipped when they become pixels.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_serve.errors import InvalidOption
from gan_serve.training.networks.layers import SLOPE, norm_layer

Upsample = Literal["transposed", "nearest"]
MAX_LEVELS = 8  # of a U-Net, which is then 1x1 in the middle for 256x256


class Translator(nn.Module):
    """The base of all translators.

    Attributes:
        scale: the output is so many times as wide and as high as the input.
        any_size: the input may have any width and height, and each part of the output depends only on the pixels
            around it, at most ``reach`` away.
    """

    any_size = False

    def __init__(self, *, in_channels: int, img_channels: int, in_resolution: int, scale: int = 1) -> None:
        super().__init__()
        self.in_channels, self.img_channels, self.in_resolution = in_channels, img_channels, in_resolution
        self.scale = scale

    @property
    def reach(self) -> int:
        """Pixels of the input, to each side, on which a pixel of the output depends, where ``any_size``."""
        return 0


class SRResNet(Translator):
    """Residual blocks at the size of the input, then pixel shuffles (Ledig et al. 2017, arXiv:1609.04802, figure 4).

    Args:
        ngf: channels; the paper's: 64. blocks: residual blocks; the paper's: 16. scale: 1, 2, 4 or 8.
        out_kernel: width of the last layer's kernel; the paper's: 9.
        skip: add the input, enlarged by repeating pixels, so that the network learns the difference; not in the paper,
            as VDSR adds an interpolated one (Kim et al. 2016, arXiv:1511.04587).
    """

    any_size = True

    def __init__(
        self,
        *,
        in_channels: int,
        img_channels: int,
        in_resolution: int,
        scale: int = 4,
        ngf: int = 64,
        blocks: int = 16,
        out_kernel: int = 9,
        skip: bool = False,
    ) -> None:
        super().__init__(in_channels=in_channels, img_channels=img_channels, in_resolution=in_resolution, scale=scale)
        doublings = scale.bit_length() - 1
        if scale != 2**doublings:
            raise InvalidOption(f"scale must be 1, 2, 4 or 8, not {scale}.", "Add --set scale=4.")
        self.skip = skip and in_channels == img_channels
        self.head = nn.Sequential(nn.Conv2d(in_channels, ngf, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(*(_srgan_block(ngf) for _ in range(blocks)))
        self.join = nn.Sequential(nn.Conv2d(ngf, ngf, 3, padding=1, bias=False), nn.BatchNorm2d(ngf))
        self.up = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(ngf, 4 * ngf, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())
                for _ in range(doublings)
            )
        )
        self.image = nn.Conv2d(ngf, img_channels, out_kernel, padding=out_kernel // 2)
        # Layers at each size: 9x9 and two or one 3x3 at the input's, one 3x3 at each doubled one, then the last.
        sizes = [4 + 2 * blocks + 1, *(1 / 2**level for level in range(doublings)), (out_kernel // 2) / scale]
        self._reach = int(sum(sizes)) + 1

    @property
    def reach(self) -> int:
        """Pixels of the input, to each side, on which a pixel of the output depends."""
        return self._reach

    def forward(self, x: Tensor) -> Tensor:
        """Return images float32 [N, img_channels, scale·H, scale·W] of x float32 [N, in_channels, H, W]."""
        y = self.head(x)
        y = self.up(self.join(self.body(y)) + y)
        images: Tensor = self.image(y)
        return images + F.interpolate(x, scale_factor=self.scale) if self.skip else images


class _Residual(nn.Module):
    """The sum of the input and what some layers make of it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.layers(x)
        return added


class UNet(Translator):
    """Halves the image down to a few pixels and doubles it again, with connections between layers of one size.

    Isola et al. 2017 (arXiv:1611.07004), section 6.1.1. Dropout in the first decoders is the only noise: it is on while
    the network trains, and off in a checkpoint, whose images are to be the same each time.

    Args:
        ngf: channels of the outermost layer; the paper's: 64. dropout: of the three innermost decoders.
        norm: batch, instance, layer or none. upsample: ``transposed`` (the paper's) or ``nearest`` and a convolution,
            which leaves no checkerboard.
        full_size_channels: the last doubling gives so many channels, and one more convolution makes the image of them
            and of the input; 0: the last doubling makes the image (the paper's), from features of half its size.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        img_channels: int,
        in_resolution: int,
        ngf: int = 64,
        dropout: float = 0.5,
        norm: str = "batch",
        upsample: Upsample = "transposed",
        full_size_channels: int = 0,
    ) -> None:
        super().__init__(in_channels=in_channels, img_channels=img_channels, in_resolution=in_resolution)
        levels, side = 0, in_resolution
        while side % 2 == 0 and levels < MAX_LEVELS:
            levels, side = levels + 1, side // 2
        if levels < 2:
            raise InvalidOption(
                f"A U-Net halves the image at least twice, which {in_resolution} pixels do not allow.",
                "Choose a resolution that is a multiple of 4.",
            )
        widths = [ngf * min(2**level, 8) for level in range(levels)]
        down, up = [], []
        for level, width in enumerate(widths):
            before = widths[level - 1] if level else in_channels
            normed = 0 < level < levels - 1  # neither the first layer nor the innermost, which may be a single pixel
            layers: list[nn.Module] = [nn.LeakyReLU(SLOPE)] if level else []
            layers += [nn.Conv2d(before, width, 4, 2, 1)]
            down.append(nn.Sequential(*layers, *([norm_layer(norm, width)] if normed else [])))
            inside = width if level == levels - 1 else 2 * width  # with the connection
            if level:
                dropped = [nn.Dropout(dropout)] if levels - 4 < level else []
                up.append(
                    nn.Sequential(nn.ReLU(), _doubled(inside, before, upsample), norm_layer(norm, before), *dropped)
                )
            else:
                last = [nn.Tanh()] if not full_size_channels else [norm_layer(norm, full_size_channels), nn.ReLU()]
                up.append(
                    nn.Sequential(nn.ReLU(), _doubled(inside, full_size_channels or img_channels, upsample), *last)
                )
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.image: nn.Module | None = None
        if full_size_channels:
            self.image = nn.Sequential(
                nn.Conv2d(full_size_channels + in_channels, img_channels, 3, padding=1), nn.Tanh()
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return images float32 [N, img_channels, R, R] of x float32 [N, in_channels, R, R]."""
        given, kept = x, []
        for layer in self.down:
            x = layer(x)
            kept.append(x)
        kept.pop()
        for layer in reversed(self.up):
            x = layer(x)
            if kept:
                x = torch.cat([x, kept.pop()], dim=1)
        return x if self.image is None else self.image(torch.cat([x, given], dim=1))


class ResNetTranslator(Translator):
    """Two strided layers, residual blocks at a quarter of the size, and two layers that double it.

    Zhu et al. 2017 (CycleGAN, arXiv:1703.10593), section 7.2, after Johnson et al. 2016: reflected borders, instance
    normalisation.

    Args:
        ngf: channels of the first layer; the paper's: 64. blocks: the paper's: 6 at 128 pixels, 9 from 256 on.
        norm, upsample: see ``UNet``.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        img_channels: int,
        in_resolution: int,
        ngf: int = 64,
        blocks: int = 6,
        norm: str = "instance",
        upsample: Upsample = "transposed",
    ) -> None:
        super().__init__(in_channels=in_channels, img_channels=img_channels, in_resolution=in_resolution)
        if in_resolution % 4:
            raise InvalidOption(f"The resolution must be a multiple of 4, not {in_resolution}.", "Try 64.")
        layers: list[nn.Module] = [nn.Conv2d(in_channels, ngf, 7, padding=3, padding_mode="reflect")]
        layers += [norm_layer(norm, ngf), nn.ReLU()]
        for width in (ngf, 2 * ngf):
            layers += [nn.Conv2d(width, 2 * width, 3, 2, 1), norm_layer(norm, 2 * width), nn.ReLU()]
        layers += [_reflected_block(4 * ngf, norm) for _ in range(blocks)]
        for width in (4 * ngf, 2 * ngf):
            layers += [_doubled(width, width // 2, upsample, kernel=3), norm_layer(norm, width // 2), nn.ReLU()]
        layers += [nn.Conv2d(ngf, img_channels, 7, padding=3, padding_mode="reflect"), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return images float32 [N, img_channels, R, R] of x float32 [N, in_channels, R, R]."""
        images: Tensor = self.layers(x)
        return images


def _srgan_block(channels: int) -> _Residual:
    return _Residual(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.PReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
    )


def _reflected_block(channels: int, norm: str) -> _Residual:
    return _Residual(
        nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
        norm_layer(norm, channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
        norm_layer(norm, channels),
    )


def _doubled(inside: int, outside: int, upsample: Upsample, kernel: int = 4) -> nn.Module:
    """Return a layer that doubles width and height: [N, inside, H, W] -> [N, outside, 2H, 2W]."""
    if upsample == "nearest":
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inside, outside, 3, padding=1))
    return nn.ConvTranspose2d(inside, outside, kernel, 2, 1, output_padding=kernel % 2)
