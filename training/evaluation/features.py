"""Features of images, which a feature extractor computes and metrics compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from gan_serve.images.pixels import UInt8Array

INCEPTION = "inception"  # the extractor for which the Fréchet distance is called FID
GENERAL = "cnn-general"  # for images that no other small extractor was trained on

Floats = npt.NDArray[np.float32]


class Features(NamedTuple):
    """The output of an extractor for N images: features float32 [N, D], logits float32 [N, K]."""

    features: Floats
    logits: Floats

    def first(self, count: int) -> Features:
        """Return the features of the first ``count`` images."""
        return Features(self.features[:count], self.logits[:count])

    def where(self, rows: npt.NDArray[np.bool_]) -> Features:
        """Return the features of the images that a mask bool [N] selects."""
        return Features(self.features[rows], self.logits[rows])


class Extractor(Protocol):
    """Computes the features of images uint8 [N, H, W, C]; ``name`` and ``digest`` identify it."""

    @property
    def name(self) -> str:
        """The name, which is part of the names of metrics."""
        ...

    @property
    def digest(self) -> str:
        """The digest ``sha256:...`` of the weights."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes or attributes of the logits; empty if no data set of this package has them."""
        ...

    @property
    def attributes(self) -> bool:
        """True if the logits are those of attributes, which do not exclude each other."""
        ...

    def __call__(self, images: UInt8Array) -> Features:
        """Return features float32 [N, D] and logits float32 [N, K] of images uint8 [N, H, W, C]."""
        ...


def extract(
    extractor: Extractor, images: UInt8Array, progress: Callable[[int], object] = lambda images: None, piece: int = 512
) -> Features:
    """Extract the features of many images, ``piece`` at a time; ``progress`` is called with the size of each piece."""
    pieces = []
    for start in range(0, len(images), piece):
        pieces.append(extractor(images[start : start + piece]))
        progress(len(pieces[-1].features))
    features, logits = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return Features(features, logits)


def logits_of_classes(extractor: Extractor, class_names: Sequence[str], logits: Floats) -> Floats | None:
    """Return logits [N, K] of an extractor as those of ``class_names`` [N, len(class_names)], in their order.

    An extractor of attributes has two classes if they are called ``ATTRIBUTE`` and ``not ATTRIBUTE``, or after the
    first words of an attribute if these are unique: ``not blond`` and ``blond`` belong to ``Blond_Hair``.

    Returns:
        None if it does not have these classes.
    """
    known = list(extractor.class_names)
    if class_names and set(class_names) == set(known):
        return logits[:, [known.index(name) for name in class_names]]
    if not extractor.attributes or len(class_names) != 2:
        return None
    attribute = next((name for name in class_names if f"not {name}" in class_names), None)
    names = [name.replace("_", " ").lower() + " " for name in known]
    columns = [column for column, name in enumerate(names) if name.startswith(f"{attribute} ")]
    if len(columns) != 1:
        return None
    has = logits[:, columns[0]]
    return np.stack([has if name == attribute else np.zeros_like(has) for name in class_names], axis=1)
