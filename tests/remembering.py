"""An extractor that computes the features of each image once: tests show it the same images again and again."""

from __future__ import annotations

import numpy as np

from gan_serve.images.pixels import UInt8Array
from gan_serve.training.evaluation.features import Extractor, Features, Floats


class Remembering:
    """Another extractor, which is asked for images that it has not seen yet. Features do not depend on the batch."""

    def __init__(self, extractor: Extractor) -> None:
        self.name, self.digest = extractor.name, extractor.digest
        self.class_names, self.attributes = extractor.class_names, extractor.attributes
        self._extractor = extractor
        self._known: dict[tuple[tuple[int, ...], bytes], tuple[Floats, Floats]] = {}

    def __call__(self, images: UInt8Array) -> Features:
        keys = [(image.shape, image.tobytes()) for image in images]
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in self._known}
        if new:
            found = self._extractor(np.stack([*new.values()]))
            self._known |= zip(new, zip(found.features, found.logits, strict=True), strict=True)
        features, logits = (np.stack(parts) for parts in zip(*(self._known[key] for key in keys), strict=True))
        return Features(features, logits)
