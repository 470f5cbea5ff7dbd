"""Show results in a notebook: images as a grid or a row for each label, the frames of a walk as an animation."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import numpy as np

from gan_serve.images.animation import encode_animation
from gan_serve.images.captions import enlarge_small, with_row_names
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


class GeneratedRows(dict[str, list[GeneratedImage]]):
    """Lists of images by label that a notebook shows as a sheet: a row for each label, beside its name."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return the sheet in base64 by its media type, and the text of the lists."""
        bundle = {"text/plain": repr(dict(self))}
        columns = len(next(iter(self.values()), []))
        names = list(self)[: MOST_IMAGES // columns] if columns else []
        images = [image for name in names for image in self[name]]
        if not names or len(images) != columns * len(names):
            return bundle
        frames = np.stack([from_pil(image) for image in images])
        sheet = with_row_names(enlarge_small(grid(frames, columns), frames.shape[2]), names)
        return bundle | {"image/png": base64.b64encode(encode_png(sheet)).decode()}


def _scale(image: UInt8Array) -> int:
    """Return how often the pixels of an image, uint8 [H, W, C], are repeated to fill ``SIDE``; at least once."""
    side: int = max(image.shape[:2])
    return max(1, SIDE // side)
