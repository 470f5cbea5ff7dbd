"""Features: what an extractor, a network of our own or Inception, sees in images; metrics compare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from gan_serve.images.pixels import UInt8Array

INCEPTION = "inception"  # the extractor whose Fréchet distance is called FID

Floats = npt.NDArray[np.float32]


class Features(NamedTuple):
    """The output of an extractor for N images: features float32 [N, D], logits float32 [N, K]."""

    features: Floats
    logits: Floats

    def first(self, count: int) -> Features:
        """Return those of the first ``count`` images."""
        return Features(self.features[:count], self.logits[:count])

    def where(self, rows: npt.NDArray[np.bool_]) -> Features:
        """Return those of the images that a mask bool [N] selects."""
        return Features(self.features[rows], self.logits[rows])


class Extractor(Protocol):
    """Turns images uint8 [N, H, W, C] into features; ``name`` and ``digest`` identify it."""

    @property
    def name(self) -> str:
        """Its name, as metrics have it."""
        ...

    @property
    def digest(self) -> str:
        """``sha256:...`` of its weights."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes or attributes of its logits; empty where no data set here has them."""
        ...

    @property
    def attributes(self) -> bool:
        """True where the logits are of attributes, which do not exclude each other."""
        ...

    def __call__(self, images: UInt8Array) -> Features:
        """Images uint8 [N, H, W, C] -> features float32 [N, D], logits float32 [N, K]."""
        ...


def extract(
    extractor: Extractor, images: UInt8Array, progress: Callable[[int], object] = lambda images: None, piece: int = 512
) -> Features:
    """Extract the features of many images, ``piece`` at a time; ``progress`` is called with the number just done."""
    pieces = []
    for start in range(0, len(images), piece):
        pieces.append(extractor(images[start : start + piece]))
        progress(len(pieces[-1].features))
    features, logits = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return Features(features, logits)


def logits_of_classes(extractor: Extractor, class_names: Sequence[str], logits: Floats) -> Floats | None:
    """Return logits [N, K] of an extractor as those of ``class_names`` [N, len(class_names)], in their order.

    An extractor of attributes knows two classes where they are called ``ATTRIBUTE`` and ``not ATTRIBUTE``, or by the
    attribute's first words where no other begins so: ``not blond`` and ``blond`` are of ``Blond_Hair``.

    Returns:
        None where it does not know these classes.
    """
    known = list(extractor.class_names)
    if class_names and set(class_names) == set(known):
        return logits[:, [known.index(name) for name in class_names]]
    if not extractor.attributes or len(class_names) != 2:
        return None
    asked = next((name for name in class_names if f"not {name}" in class_names), None)
    names = [name.replace("_", " ").lower() + " " for name in known]
    columns = [column for column, name in enumerate(names) if name.startswith(f"{asked} ")]
    if len(columns) != 1:
        return None
    has = logits[:, columns[0]]
    return np.stack([has if name == asked else np.zeros_like(has) for name in class_names], axis=1)
