"""Show results in a notebook: a list of images as a grid, the frames of a walk as an animation, small ones enlarged."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import numpy as np

from gan_serve.images.animation import encode_animation
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, from_pil
from gan_serve.images.png import encode_png
from gan_serve.sampling.receipt import GeneratedImage

SIDE = 640  # pixels that a grid or an animation is enlarged to at most
MOST_IMAGES = 256  # of a grid
FPS = 12.0


class GeneratedImages(list[GeneratedImage]):
    """A list of images that a notebook shows as a grid, or as an animation if they are the frames of a walk."""

    def __init__(self, images: Iterable[GeneratedImage] = (), *, animated: bool = False) -> None:
        super().__init__(images)
        self._animated = animated

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return the picture in base64 by its media type, and the text of the list."""
        bundle = {"text/plain": repr(self)}
        if not self or len({(image.size, image.mode) for image in self}) > 1:
            return bundle
        frames = np.stack([from_pil(image) for image in self[:MOST_IMAGES]])
        kind, content = "png", _enlarged_png(grid(frames))
        if self._animated:
            kind, content = "gif", encode_animation(enlarged(frames), "gif", fps=FPS)
        return bundle | {f"image/{kind}": base64.b64encode(content).decode()}


def enlarged(images: UInt8Array) -> UInt8Array:
    """Repeat the pixels of uint8 [N, H, W, C] as often as ``SIDE`` allows, at least once."""
    factor = max(1, SIDE // max(images.shape[1:3]))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def _enlarged_png(pixels: UInt8Array) -> bytes:
    return encode_png(enlarged(pixels[None])[0])
