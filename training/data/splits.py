"""From the names of files to the split they belong to and the class they show; and a share that is held out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gan_serve.errors import DataError, InvalidOption

HOLDOUT = "holdout"
WANTED = ("train", "test", HOLDOUT)  # what can be asked for
SPLITS = frozenset({"train", "val", "valid", "validation", "test"})  # what folders and files are called


class Layout(NamedTuple):
    """Which of the images to read, and the name of each one's class (empty where folders name none)."""

    kept: list[int]
    classes: list[str]


def check_split(split: str, holdout: float) -> None:
    """Raise InvalidOption where ``split`` is none of ``WANTED``, or ``holdout`` is no share or holds out nothing."""
    if split not in WANTED:
        raise InvalidOption.unknown("split", split, WANTED)
    if not 0 <= holdout < 1:
        raise InvalidOption(f"holdout must be a share from 0 to below 1, not {holdout}.", "0.1 holds out a tenth.")
    if split == HOLDOUT and not holdout:
        raise InvalidOption("No images are held out.", "Say which share was: holdout=0.1, as in the run's config.")


def held_out(n: int, share: float) -> npt.NDArray[np.bool_]:
    """Which of n images are held out: bool [n], always the same ones of as many images.

    >>> held_out(4, 0.25)
    array([False, False, False,  True])
    """
    mask = np.zeros(n, bool)
    mask[np.random.RandomState(1).permutation(n)[: round(share * n)]] = True  # a stream that NumPy keeps frozen
    return mask


def lay_out(names: Sequence[str], split: str, where: str) -> Layout:
    """Read the folders in ``names`` (paths with ``/``) from the top.

    A folder that holds everything is passed over. Where the folders are called train, val, test (one of them or all),
    only those of ``split`` are kept. The first level that tells images apart after that names their classes; images
    beside such folders mean that there are no classes.

    Raises:
        DataError: there are such folders, and none is of ``split``.

    >>> lay_out(["set/train/cat/1.png", "set/train/dog/1.png", "set/test/cat/2.png"], "train", "here")
    Layout(kept=[0, 1], classes=['cat', 'dog'])
    """
    kept, depth, split_found = list(range(len(names))), 0, False
    folders = [name.split("/")[:-1] for name in names]
    while all(len(folders[index]) > depth for index in kept):
        tops = [folders[index][depth] for index in kept]
        different = {top.casefold() for top in tops}
        if different <= SPLITS and not split_found:
            if split not in different:
                raise DataError(f"{where} has no {split} folder; it has: {', '.join(sorted(set(tops)))}.")
            kept = [index for index, top in zip(kept, tops, strict=True) if top.casefold() == split]
            split_found = True
        elif len(set(tops)) > 1:
            return Layout(kept, tops)
        depth += 1
    return Layout(kept, [])


def files_of_split(names: Sequence[str], split: str, where: str) -> list[str]:
    """Those of several files that hold ``split``, by the words in their paths; all where no path has such a word.

    Raises:
        DataError: some paths name a split, and none names this one.

    >>> files_of_split(["cifar10_test_jpeg.tar.gz", "cifar10_train_jpeg.tar.gz"], "train", "here")
    ['cifar10_train_jpeg.tar.gz']
    """
    words = [set(re.split(r"[^a-z]+", name.casefold())) for name in names]
    if not any(word & SPLITS for word in words):
        return list(names)
    found = [name for name, word in zip(names, words, strict=True) if split in word]
    if not found:
        raise DataError(f"{where} has no {split} files; it has: {', '.join(names[:10])}.")
    return found
