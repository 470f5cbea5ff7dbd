"""Show results in a notebook: a list of images as a grid, the frames of a walk as an animation, small ones enlarged."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import numpy as np

from gan_serve.images.animation import encode_animation
from gan_serve.images.grid import grid
from gan_serve.images.pixels import UInt8Array, enlarge, from_pil
from gan_serve.images.png import encode_png
from gan_serve.sampling.receipt import GeneratedImage

SIDE = 640  # the largest side of an enlarged grid or animation, in pixels
MOST_IMAGES = 256  # that are shown


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
        if self._animated:
            kind, content = "gif", encode_animation(frames, "gif", scale=_scale(frames[0]))
        else:
            sheet = grid(frames)
            kind, content = "png", encode_png(enlarge(sheet, _scale(sheet)))
        return bundle | {f"image/{kind}": base64.b64encode(content).decode()}


def _scale(image: UInt8Array) -> int:
    """Return how often the pixels of an image, uint8 [H, W, C], are repeated to fill ``SIDE``; at least once."""
    side: int = max(image.shape[:2])
    return max(1, SIDE // side)
