"""Read splits and classes from the names of files and folders; hold out a share of the images."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gan_serve.errors import DataError, InvalidOption
from gan_serve.training.data.class_names import natural_key
from gan_serve.training.data.image_set import examples

HOLDOUT = "holdout"
WANTED = ("train", "test", HOLDOUT)  # values of the argument ``split``
# Names of folders and files for each split, with an optional year or number (train2017) or domain (trainA).
_WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst", "t10k"),
    "unlabeled": ("unlabeled", "unlabelled"),
}
SHARDS = "numbered folders split the images into parts: they are no classes."
_ROLE_OF = {word: role for role, words in _WORDS.items() for word in words}
_SPLIT = re.compile(rf"({'|'.join(sorted(_ROLE_OF, key=len, reverse=True))})[-_ ]?(\d*)(a|b)?", re.IGNORECASE)


class Role(NamedTuple):
    """The split that a folder's name means, and the domain (``A`` or ``B``) where it names one."""

    split: str
    domain: str = ""


class Layout(NamedTuple):
    """The images to read, the class of each (empty where folders name none), notes, and if there is a test split."""

    kept: list[int]
    classes: list[str]
    notes: tuple[str, ...] = ()
    has_test: bool = False


def role_of(name: str) -> Role | None:
    """Return the split that a folder's name means, or None.

    >>> role_of("Train2017"), role_of("testB"), role_of("cat")
    (Role(split='train', domain=''), Role(split='test', domain='B'), None)
    """
    match = _SPLIT.fullmatch(name)
    return Role(_ROLE_OF[match[1].casefold()], (match[3] or "").upper()) if match else None


def role_in(name: str) -> Role | None:
    """Return the split that a word of a name means, as in ``seg_train`` or ``set-test.tar``; None without one."""
    roles = [role for word in re.split(r"[^A-Za-z0-9]+", name) if (role := role_of(word))]
    return roles[0] if len({role.split for role in roles}) == 1 else None


def check_split(split: str, holdout: float) -> None:
    """Raise InvalidOption where ``split`` is none of ``WANTED``, or ``holdout`` is no share or holds out nothing."""
    if split not in WANTED:
        raise InvalidOption.unknown("split", split, WANTED)
    if not 0 <= holdout < 1:
        raise InvalidOption(f"holdout must be a share from 0 to below 1, not {holdout}.", "0.1 holds out a tenth.")
    if split == HOLDOUT and not holdout:
        raise InvalidOption("No images are held out.", "Say which share was: holdout=0.1, as in the run's config.")


def held_out(n: int, share: float) -> npt.NDArray[np.bool_]:
    """Return a mask bool [n] of the images that are held out: for the same n always the same.

    >>> held_out(4, 0.25)
    array([False, False, False,  True])
    """
    mask = np.zeros(n, bool)
    mask[np.random.RandomState(1).permutation(n)[: round(share * n)]] = True  # a stream that NumPy keeps frozen
    return mask


def lay_out(names: Sequence[str], split: str, where: str) -> Layout:
    """Read the folders in ``names`` (paths with ``/``) from the top.

    A folder that holds everything is passed over. Where all folders of a level are called after splits (``train``,
    ``val2017``, ``Testing``, ``trainA``), only those of ``split`` are kept. The first level that tells images apart
    after that names their classes; images beside such folders mean that there are no classes.

    Raises:
        DataError: there are such folders, and none is of ``split``; or some folders are called after splits and
            others are not.

    >>> lay_out(["set/train/cat/1.png", "set/train/dog/1.png", "set/test/cat/2.png"], "train", "here").classes
    ['cat', 'dog']
    """
    kept, depth, split_found, has_test = list(range(len(names))), 0, False, False
    notes: list[str] = []
    folders = [name.split("/")[:-1] for name in names]
    while all(len(folders[index]) > depth for index in kept):
        tops = [folders[index][depth] for index in kept]
        counts = Counter(tops)
        roles = None if split_found else _roles(list(counts), where)
        if roles:
            if split not in {role.split for role in roles.values()}:
                raise DataError(f"{where} has no {split} folder; it has: {', '.join(sorted(counts))}.")
            if others := [f"{count} of {top}" for top, count in sorted(counts.items()) if roles[top].split != split]:
                notes.append(f"folders are splits: images of {split} are read, and not {', '.join(others)}.")
            kept = [index for index, top in zip(kept, tops, strict=True) if roles[top].split == split]
            has_test = "test" in {role.split for role in roles.values()}
            domains = [roles[folders[index][depth]].domain for index in kept]
            if len(set(domains)) > 1:
                return Layout(kept, domains, (*notes, "folders name domains: A and B are the classes."), has_test)
            split_found = True
        elif len(counts) > 1:
            if _are_shards(list(counts), [names[index] for index in kept]):
                return Layout(kept, [], (*notes, SHARDS), has_test)
            return Layout(kept, tops, tuple(notes), has_test)
        depth += 1
    beside = {folders[index][depth] for index in kept if len(folders[index]) > depth}
    if beside:
        count = sum(len(folders[index]) <= depth for index in kept)
        folder_list = examples(sorted(beside, key=natural_key))
        notes.append(f"{count} images are beside the folders {folder_list}: folders are not read as classes.")
    return Layout(kept, [], tuple(notes), has_test)


def files_of_split(names: Sequence[str], split: str, where: str) -> list[str]:
    """Return the files of ``split``, by the words in their paths; all where no path has such a word.

    Raises:
        DataError: some paths name a split, and none names this one.

    >>> files_of_split(["cifar10_test_jpeg.tar.gz", "cifar10_train_jpeg.tar.gz"], "train", "here")
    ['cifar10_train_jpeg.tar.gz']
    """
    roles = [role_in(name) for name in names]
    if not any(roles):
        return list(names)
    found = [name for name, role in zip(names, roles, strict=True) if role and role.split == split]
    if not found:
        raise DataError(f"{where} has no {split} files; it has: {', '.join(names[:10])}.")
    return found


def name_a_test(names: Sequence[str]) -> bool:
    """Return True if one of these paths names a test split, as ``files_of_split`` reads them."""
    return any(role.split == "test" for name in names if (role := role_in(name)))


def _roles(folders: Sequence[str], where: str) -> dict[str, Role] | None:
    """Return the splits that the folders of one level are called after; None where they are no splits."""
    by_name = {folder: role for folder in folders if (role := role_of(folder))}
    by_word = {folder: role for folder in folders if (role := role_in(folder))}
    if len(by_name) == len(folders):
        return by_name
    if len(by_word) == len(folders) and len({role.split for role in by_word.values()}) > 1:
        return by_word
    if "train" in (splits := {role.split for role in by_name.values()}) and len(splits) > 1:
        others = [folder for folder in folders if folder not in by_name]
        raise DataError(
            f"In {where}, the folders {', '.join(sorted(by_name))} are splits, and {examples(sorted(others))} are not.",
            "Move the others away, or give one of the folders as --data.",
        )
    return None


def _are_shards(folders: Sequence[str], names: Sequence[str]) -> bool:
    """Return whether numbered folders only keep the number of files in each small, as StyleGAN's and FFHQ's do."""
    if all(re.search(r"(^|/)\d{5}/img\d{8}\.\w+$", name) for name in names):
        return True
    return "00000" in folders and all(re.fullmatch(r"\d{5}", folder) for folder in folders)
