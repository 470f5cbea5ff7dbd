"""Data sets that a script of this repository renders (``zoo/``): found by name, with pinned digests of the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gan_serve.errors import DataError
from gan_serve.training.data.arrays import read_npz
from gan_serve.training.data.image_set import ImageSet


@dataclass(frozen=True)
class PinnedSplit:
    """``ImageSet.digest`` and ``ImageSet.labels_digest`` of one split."""

    images: str
    labels: str


@dataclass(frozen=True)
class RenderedSource:
    """A data set that is made on the user's machine, as ``<split>.npz`` for both splits.

    The npz has ``images`` uint8 [N, H, W, 3], ``labels`` int64 [N] and ``class_names``. ``command`` makes it, from the
    root of a checkout of gan-serve, and ``needs`` is what that takes.
    """

    splits: Mapping[str, PinnedSplit]
    command: str
    needs: str
    license: str
    credit: str


AVATARS = RenderedSource(
    splits={
        "train": PinnedSplit(
            "sha256:7665c71bb65b99b72c2701e667fff31b25d0a8bd256de7140b11e30c8bd43225",
            "sha256:51207fa5fea9c383d718b990df8fd082f4712316bae046b1684f79226c3b2276",
        ),
        "test": PinnedSplit(
            "sha256:73faeb9c0b7577f861e8d74d16558daf4a2f0f866a63e764b32cd420aa467982",
            "sha256:183a9f6ba936525cf1b4ee56a4f9413bc0b2756695678fdeec97c98fae8aa8b5",
        ),
    },
    command="python zoo/avatars/make.py",
    needs="Node.js 20 and npm, two minutes",
    license="other",
    credit="avatars rendered at 64x64 pixels with DiceBear 9.4.3 from the designs Adventurer by Lisa Wischofsky (CC BY "
    "4.0, figma.com/community/file/1184595184137881796), Avataaars by Pablo Stanley (free for personal and commercial "
    "use, avataaars.com), Custom Avatar by Ashley Seo (CC BY 4.0, figma.com/community/file/881358461963645496), Bottts "
    "by Pablo Stanley (free for personal and commercial use, bottts.com), Lorelei by Lisa Wischofsky (CC0 1.0, "
    "figma.com/community/file/1198749693280469639), Avatar Illustration System by Micah Lanier (CC BY 4.0, "
    "figma.com/community/file/829741575478342595), Open Peeps by Pablo Stanley (CC0 1.0, openpeeps.com), Personas by "
    "Draftbit (CC BY 4.0, personas.draftbit.com), Pixel Art by DiceBear (CC0 1.0, "
    "figma.com/community/file/1198754108850888330) and ToonHead by Johan Melin (CC BY 4.0, "
    "figma.com/community/file/1589627891082866389); CC BY 4.0 is creativecommons.org/licenses/by/4.0",
)

BRICKS = RenderedSource(
    splits={
        "train": PinnedSplit(
            "sha256:d26cd763c0bfcc3d4d662a9625c493720ea786004231d07383f41469c888ddf1",
            "sha256:71095aa460e37e7e1cc5b6362fb86d65dd779fcbf502bfd946a613b9e499a230",
        ),
        "test": PinnedSplit(
            "sha256:833e5a6e869360751976a5323c1c2790ff0f095429093a2c0e249d8d33ee27c3",
            "sha256:c6c6cba56f806a364daa4102eb6030884b0928bf96729df7bf8270d7fc053443",
        ),
    },
    command="python zoo/bricks/make.py",
    needs="the package mitsuba and about two hours on two cores",
    license="apache-2.0",
    credit="toy building bricks of the gan-serve project's own geometry, rendered with Mitsuba 3",
)


def read_rendered(name: str, source: RenderedSource, split: str, folder: Path) -> ImageSet:
    """Read one split of ``source`` from ``folder`` and compare its digests with the pinned ones.

    Raises:
        DataError: the file is not there, is not readable, or holds other images, labels or class names.
    """
    path = folder / f"{split}.npz"
    make = f"Make it with `{source.command}` in a checkout of gan-serve ({source.needs})."
    if not path.is_file():
        raise DataError(f"The data set {name} is not on this machine: there is no {path}.", make)
    data = replace(read_npz(path), name=name, split=split, license=source.license, credit=source.credit)
    pinned = source.splits[split]
    for what, found, wanted in (
        ("images", data.digest, pinned.images),
        ("labels or class names", data.labels_digest, pinned.labels),
    ):
        if found != wanted:
            raise DataError(
                f"{path} is not the published data set {name}: its {what} have the digest {found}, not {wanted}.",
                f"Remove it and make it again with `{source.command}`, or use it as it is: --data {path}.",
            )
    return data
