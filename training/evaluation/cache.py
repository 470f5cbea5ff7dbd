"""A cache of the features of real images, in files named after the digest of extractor and images."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gan_serve.atomic_files import write_atomically
from gan_serve.errors import CannotWrite
from gan_serve.images.pixels import UInt8Array
from gan_serve.training.data.arrays import ARRAY_ERRORS
from gan_serve.training.evaluation.features import Extractor, Features, extract


def cached_features(
    extractor: Extractor,
    images: UInt8Array,
    progress: Callable[[int], object] = lambda images: None,
    folder: Path | None = None,
) -> Features:
    """Return the features of real images uint8 [N, H, W, C] from the cache, or compute and store them.

    Args:
        extractor, images, progress: see ``extract``.
        folder: the folder of the cache; ``gan-serve/features`` in the user's cache if None.
    """
    if folder is None:
        import pooch  # type: ignore[import-untyped]  # training imports this module, but rarely needs pooch

        folder = Path(pooch.os_cache("gan-serve")) / "features"
    path = folder / f"{_key(extractor, images)}.npz"
    with (
        contextlib.suppress(KeyError, *ARRAY_ERRORS),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):
        found = Features(stored["features"], stored["logits"])
        if len(found.features) == len(images):
            progress(len(images))
            return found
    computed = extract(extractor, images, progress)
    with contextlib.suppress(CannotWrite):  # without a cache, features are computed again next time
        write_atomically(path, lambda file: np.savez(file, features=computed.features, logits=computed.logits))
    return computed


def _key(extractor: Extractor, images: UInt8Array) -> str:
    sha256 = hashlib.sha256(f"{extractor.digest}\n{images.shape}\n".encode())
    sha256.update(np.ascontiguousarray(images).data)
    return sha256.hexdigest()
