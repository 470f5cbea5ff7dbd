"""The ONNX Runtime session of a translator, and tiles for large pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from gan_serve.checkpoint.config import TranslatorConfig
from gan_serve.images.pixels import UInt8Array
from gan_serve.sampling.session import BATCH_SIZE, NetworkSession, Signature

TILE = 128  # pixels of the input, to each side, that a tile gives; it reads ``reach`` more


class Tile(NamedTuple):
    """Rows and columns of a picture: those that a tile reads, and those whose output is kept."""

    read: tuple[slice, slice]
    kept: tuple[slice, slice]


class TranslatorSession(NetworkSession):
    """A translator that is loaded and has computed its golden sample."""

    config: TranslatorConfig

    def work(self, height: int, width: int) -> float:
        """Return the operations for an input of this size, as ``network_cost`` counts them; tiles overlap."""
        pixels = height * width
        if self.config.any_size and max(height, width) > largest_side(self.config):
            reads = ([rows.stop - rows.start for rows in tile.read] for tile in tiles(height, width, self.config.reach))
            pixels = sum(rows * columns for rows, columns in reads)
        _, rows, columns, _ = self._one_input()["x"]
        return self._bounds.work * pixels / (rows * columns)

    def run(self, images: UInt8Array) -> UInt8Array:
        """Translate images of one size: uint8 [N, H, W, in_channels] -> uint8 [N, H', W', img_channels].

        Large pictures go through a network of ``any_size`` in tiles, which overlap by what a pixel depends on, so that
        there are no seams: pixels are those of the whole picture, within the rounding of another order of sums.
        """
        if not self.config.any_size or max(images.shape[1:3]) <= largest_side(self.config):
            return self._run({"x": images})
        height, width = images.shape[1:3]
        scale, reach = self.config.scale, self.config.reach
        whole = np.empty((len(images), scale * height, scale * width, self.config.img_channels), np.uint8)
        for tile in tiles(height, width, reach):
            part = self._run({"x": np.ascontiguousarray(images[:, tile.read[0], tile.read[1]])})
            inside, outside = [], []
            for read, kept in zip(tile.read, tile.kept, strict=True):
                inside.append(slice(scale * (kept.start - read.start), scale * (kept.stop - read.start)))
                outside.append(slice(scale * kept.start, scale * kept.stop))
            whole[:, outside[0], outside[1]] = part[:, inside[0], inside[1]]
        return whole

    def _one_input(self) -> dict[str, tuple[int, ...]]:
        side = largest_side(self.config) if self.config.any_size else self.config.in_resolution
        return {"x": (1, side, side, self.config.in_channels)}

    def _sizes_vary(self) -> bool:
        return self.config.any_size

    def _image_shape(self, inputs: Mapping[str, tuple[int, ...]]) -> tuple[int, int, int]:
        _, height, width, _ = inputs["x"]
        return (self.config.scale * height, self.config.scale * width, self.config.img_channels)

    def _golden_inputs(self) -> dict[str, Any]:
        return {"x": self.config.golden_sample.input_pixels()[None]}

    def _batch_for(self, inputs: Mapping[str, Any]) -> int:
        largest, pixels = self._one_input()["x"], inputs["x"].shape[1] * inputs["x"].shape[2]
        return int(min(BATCH_SIZE[self.device], max(1, self._batch * largest[1] * largest[2] // pixels)))

    def _has_signature(self, inputs: Signature, outputs: Signature) -> bool:
        config = self.config
        kinds = [(name, kind, len(size)) for name, (kind, size) in {**inputs, **outputs}.items()]
        fits = kinds == [("x", "tensor(uint8)", 3), ("img", "tensor(uint8)", 3)]
        if fits and config.any_size:  # their sizes have names in place of numbers
            fits = [inputs["x"][1][2], outputs["img"][1][2]] == [config.in_channels, config.img_channels]
            fits = fits and not any(isinstance(side, int) for side in inputs["x"][1][:2])
        elif fits:
            side, out = config.in_resolution, config.img_resolution
            fits = inputs["x"][1] == [side, side, config.in_channels]
            fits = fits and outputs["img"][1] == [out, out, config.img_channels]
        return fits


def largest_side(config: TranslatorConfig) -> int:
    """Return the width and height up to which a picture goes through a network of ``any_size`` in one piece."""
    return TILE + 2 * config.reach


def tiles(height: int, width: int, reach: int, tile: int = TILE) -> Iterator[Tile]:
    """Yield tiles whose kept parts cover a picture once, from the top left; each reads ``reach`` pixels around it.

    >>> [(part.read[1].start, part.kept[1].start, part.kept[1].stop) for part in tiles(1, 10, reach=2, tile=4)]
    [(0, 0, 4), (2, 4, 8), (6, 8, 10)]
    """
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            kept = slice(top, min(top + tile, height)), slice(left, min(left + tile, width))
            read = tuple(
                slice(max(0, part.start - reach), min(size, part.stop + reach))
                for part, size in zip(kept, (height, width), strict=True)
            )
            yield Tile((read[0], read[1]), kept)
