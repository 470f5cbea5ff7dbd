"""Keys: lists of seeds and latents, through which a walk passes or which ``generate`` samples.

A latent is float32 [z_dim]. For a network with a w space it may be longer, [z_dim + w_dim]: the numbers after z are
added to w.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from gan_serve.errors import InvalidLatents, InvalidSeeds
from gan_serve.sampling.latents import FloatArray, check_latents, decode_latents, encode_latents, latents_from_seeds
from gan_serve.sampling.seeds import MAX_SEEDS, Seed, Seeds, choose_seeds, parse_seeds

Keys = Seeds | Iterable[int | npt.ArrayLike]
"""Seeds as ``parse_seeds`` reads them, or a list of seeds and latents."""

PackedLatent = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]
Key = Seed | PackedLatent
"""A seed, or the base64 of a latent as float32, which is the form of receipts."""


def parse_keys(keys: Keys) -> Sequence[int | str]:
    """Return a list of seeds and latents that a caller gave, each latent as ``pack_latent`` packs it.

    Raises:
        InvalidSeeds: an item is neither a seed nor a list of numbers, there are none, or too many.
        InvalidLatents: a latent is empty, or has a number that is not finite.

    >>> parse_keys("0-2"), parse_keys([7, [0.0, 1.0]])
    ([0, 1, 2], [7, 'AAAAAAAAgD8='])
    """
    one_array = isinstance(keys, np.ndarray) and keys.ndim != 2
    if one_array or isinstance(keys, str | bytes | bytearray | Mapping | Set) or not isinstance(keys, Iterable):
        return parse_seeds(keys)  # type: ignore[arg-type]  # seeds, or an error
    items: list[Any] = list(itertools.islice(keys, MAX_SEEDS + 1))
    if not any(_is_vector(item) for item in items):
        return parse_seeds(items)
    if len(items) > MAX_SEEDS:
        raise InvalidSeeds(f"That is more than {MAX_SEEDS:,} seeds and latents.", "Give fewer at a time.")
    return [pack_latent(item) if _is_vector(item) else parse_seeds([item])[0] for item in items]


def choose_keys(n: int | None, seed: int | None, keys: Keys | None) -> Sequence[int | str]:
    """Return the keys of a call: those given, or ``n`` seeds from ``seed`` on; see ``choose_seeds``."""
    if keys is None or not (n is None and seed is None):
        return choose_seeds(n, seed, keys)  # type: ignore[arg-type]  # together with n or seed it is an error
    return parse_keys(keys)


def numbers_of_keys(keys: Sequence[int | str]) -> list[int]:
    """Return the number of each key, which chooses its class if no label is given: the seed, or the place of a latent.

    >>> numbers_of_keys([7, "AAAAAAAAgD8="])
    [7, 1]
    """
    return [key if isinstance(key, int) else place for place, key in enumerate(keys)]


def pack_latent(latent: npt.ArrayLike) -> str:
    """Return one latent as ``encode_latents`` encodes it.

    Raises:
        InvalidLatents: it is not a list of finite numbers.
    """
    try:
        row = np.asarray(latent)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of different lengths, or a tensor on a GPU
        raise InvalidLatents("A latent is not a list of numbers.", "Give float32 [z_dim].") from error
    if row.ndim != 1 or not row.size:
        raise InvalidLatents(f"A latent has the shape {list(row.shape)}.", "Give float32 [z_dim].")
    return encode_latents(check_latents(row[None], len(row)))


def unpack_latent(packed: str) -> FloatArray:
    """Return a packed latent, float32 [D].

    Raises:
        InvalidLatents: it is not base64 of float32, or not finite.
    """
    latent = decode_latents(packed)
    checked: FloatArray = check_latents(latent[None], len(latent))[0]
    return checked


def key_latents(keys: Iterable[int | str], z_dim: int) -> FloatArray:
    """Return the latent of each key, float32 [N, D]; D is that of the longest, and z of the others gets zeros."""
    listed = list(keys)
    latents = [unpack_latent(key) if isinstance(key, str) else None for key in listed]
    width = max([z_dim, *(len(latent) for latent in latents if latent is not None)])
    rows = np.zeros((len(listed), width), np.float32)
    seeds = [place for place, latent in enumerate(latents) if latent is None]
    rows[seeds, :z_dim] = latents_from_seeds((int(listed[place]) for place in seeds), z_dim)
    for place, latent in enumerate(latents):
        if latent is not None:
            rows[place, : len(latent)] = latent
    return rows


def check_key_latents(keys: Iterable[int | str], z_dim: int, w_dim: int) -> None:
    """Raise ``InvalidLatents`` if a latent among keys does not have the length that a model takes."""
    for key in keys:
        if isinstance(key, str):
            check_latents(unpack_latent(key)[None], z_dim, w_dim)


def _is_vector(item: object) -> bool:
    """Return True if an item may be a latent: a list, a tuple, an array with dimensions."""
    return (
        isinstance(item, list | tuple)
        or (isinstance(item, np.ndarray) and item.ndim > 0)
        or (not isinstance(item, np.generic | np.ndarray | str | bytes) and hasattr(item, "__array__"))
    )
