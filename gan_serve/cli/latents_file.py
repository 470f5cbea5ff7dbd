"""Read the latents of a file: that of ``gan-serve project``, or any .npz or .npy with an array of them."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_serve.checkpoint.config import CheckpointConfig
from gan_serve.errors import InvalidLatents
from gan_serve.npy_header import read_npy, read_npz
from gan_serve.regular_files import read_regular
from gan_serve.sampling.latents import FloatArray
from gan_serve.sampling.seeds import parse_seeds

MAX_BYTES = 2**28  # of a file, and of what it unpacks to
DAMAGED = (ValueError, KeyError, EOFError, OverflowError, NotImplementedError, zipfile.BadZipFile, zlib.error)
HINT = "Give a file of gan-serve project, or an .npz or .npy with latents float32 [N, z_dim]."
_ROWS = re.compile(r"@(\d{1,6})(?:-(\d{1,6}))?", re.ASCII)


class LatentsFile(NamedTuple):
    """Latents float32 [N, D], and the label of each, if the file has them."""

    latents: FloatArray
    labels: tuple[str, ...] | None


def read_latents(path: Path, config: CheckpointConfig) -> LatentsFile:
    """Read the latents of a file for a checkpoint.

    Raises:
        InvalidLatents: it cannot be read, has no latents, or has those of another checkpoint.
    """
    try:
        content = read_regular(path, MAX_BYTES)
        arrays = _arrays(content)
    except OSError as error:
        raise InvalidLatents(f"{path} cannot be read: {error.strerror or error}.", HINT) from error
    except DAMAGED as error:
        raise InvalidLatents(f"{path} has no latents: {' '.join(str(error).split())[:100]}.", HINT) from error
    digest = str(arrays.get("digest", ""))
    if digest and digest != config.digest_of("fp32"):
        raise InvalidLatents(
            f"The latents of {path} are those of another checkpoint, {str(arrays.get('model', ''))[:100]!r}.",
            "Use the model that they were found for.",
        )
    labels = None
    if "labels" in arrays and config.c_dim:
        if arrays["labels"].size != len(arrays["latents"]):
            raise InvalidLatents(
                f"{path} has {arrays['labels'].size:,} labels for {len(arrays['latents']):,} latents.", HINT
            )
        labels = tuple(map(str, arrays["labels"].ravel()))
    return LatentsFile(arrays["latents"], labels)


def mixed_keys(text: str | None, file: LatentsFile) -> tuple[list[Any], list[str | None]]:
    """Return seeds and latents in the order of ``text``, and the label of each latent that has one.

    Args:
        text: seeds as ``parse_seeds`` reads them, and latents of the file by their place: ``"0,@0,9,@1-3"``. All of its
            latents if None.
        file: the latents.

    Raises:
        InvalidSeeds: a part is neither. InvalidLatents: the file does not have a latent at that place.
    """
    keys: list[Any] = []
    labels: list[str | None] = []
    for part in [f"@0-{len(file.latents) - 1}"] if text is None else text.split(","):
        rows = _ROWS.fullmatch(part.strip())
        if rows is None:
            seeds = parse_seeds(part)
            keys += seeds
            labels += [None] * len(seeds)
            continue
        for row in range(int(rows[1]), int(rows[2] or rows[1]) + 1):
            if row >= len(file.latents):
                raise InvalidLatents(
                    f"The file has no latent @{row}.",
                    f"It has {len(file.latents)}, from @0 to @{len(file.latents) - 1}.",
                )
            keys.append(file.latents[row])
            labels.append(None if file.labels is None else file.labels[row])
    return keys, labels


def only_label(labels: Sequence[str | None]) -> str | None:
    """Return the label that all latents share; None if they have none, or several.

    >>> only_label(["Bag", None, "Bag"]), only_label(["Bag", "Coat"])
    ('Bag', None)
    """
    distinct = {label for label in labels if label is not None}
    return distinct.pop() if len(distinct) == 1 else None


def _arrays(content: bytes) -> dict[str, Any]:
    """Return the arrays of a file, with latents among them as float32 [N, D]; their sizes are checked before."""
    if content[:4] != b"PK\x03\x04":
        arrays = {"latents": read_npy(content)}
    else:
        arrays = read_npz(content, ("latents", "labels", "model", "digest"), MAX_BYTES)
    latents = arrays.get("latents")
    if latents is None or latents.ndim != 2 or not latents.size or latents.dtype.kind not in "fiu":
        raise ValueError("there is no array of numbers [N, z_dim] in it, named latents if there are several")
    return arrays | {"latents": latents.astype(np.float32)}
