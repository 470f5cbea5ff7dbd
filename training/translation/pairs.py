"""Inputs and targets for translators, with what the intake did in ``notes``.

folders    data/A and data/B, paired by the name of a file without its ending
side       pictures with A on the left and B on the right, as the data sets of Pix2Pix have them
unpaired   two sets: trainA and trainB, as the data sets of CycleGAN have them, or two labels of one set
downscale  any images as targets; inputs are downscaled: Pillow's bicubic filter, which is widened by the factor and so
           does not alias
edges      any images as targets; inputs are their outlines, see ``outline``
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from gan_serve.errors import DataError, InvalidOption
from gan_serve.images.pixels import UInt8Array, crop_and_resize, from_pil, to_pil
from gan_serve.training.data.image_files import read_image
from gan_serve.training.data.image_set import MAX_LEFT_OUT, ImageSet, LeftOut, examples, fit, new_images
from gan_serve.training.data.list_files import image_entries, list_files
from gan_serve.training.data.load import load_images
from gan_serve.training.data.pixels import UNREADABLE
from gan_serve.training.data.splits import HOLDOUT, check_split, held_out, lay_out
from gan_serve.training.data.summary import COLOURS
from gan_serve.training.translation.settings import TranslationConfig

OUTLINE = 32  # grey levels between neighbours, in any channel, that are an edge


@dataclass(frozen=True)
class PairedImages:
    """Inputs uint8 [N, h, w, C], targets uint8 [M, H, W, C]. If ``paired``, M = N and input i belongs to target i."""

    inputs: ImageSet
    targets: ImageSet
    paired: bool = True

    @property
    def digest(self) -> str:
        """``sha256:...`` of the pixels of both."""
        both = f"{self.inputs.digest}\n{self.targets.digest}\n"
        return f"sha256:{hashlib.sha256(both.encode()).hexdigest()}"

    def notes(self) -> list[str]:
        """Return sentences about inputs and targets, for the terminal."""
        sizes = [
            f"{len(each)} of {each.img_resolution}x{each.img_resolution} {COLOURS[each.img_channels]}"
            for each in (self.inputs, self.targets)
        ]
        how = "in pairs" if self.paired else "without pairs"
        return [f"Inputs: {sizes[0]}. Targets: {sizes[1]}, {how}.", *(f"Note: {note}" for note in self.inputs.notes)]


def load_pairs(config: TranslationConfig, split: str = "train") -> PairedImages:
    """Read the images of a config.

    Args:
        config: of a run. split: ``train``, ``test``, or ``holdout`` with ``config.holdout``.

    Raises:
        DataError, InvalidOption: see ``load_images``; no pairs are found, or a label is unknown.
    """
    kind = config.pairs
    if kind == "auto":
        kind = "unpaired" if config.cyclic else "folders" if _domains(Path(config.data)) else "side"
    if kind == "unpaired":
        return _unpaired(config, split)
    if kind in ("folders", "side"):
        pairs = (_from_folders if kind == "folders" else _side_by_side)(config, split)
        if config.direction == "BtoA":
            pairs = PairedImages(pairs.targets, pairs.inputs)
        pairs = PairedImages(
            fit(pairs.inputs, config.in_resolution, config.in_channels),
            fit(pairs.targets, config.resolution, config.channels),
        )
        return _of_split(pairs, split, config.holdout)
    targets = load_images(
        config.data, split=split, resolution=config.resolution, channels=config.channels, labels="none",
        holdout=config.holdout,
    )  # fmt: skip
    if kind == "downscale":
        inputs = targets.with_(images=downscale(targets.images, config.scale), size=None)
        inputs = fit(inputs, None, config.in_channels)
        note = f"inputs are the targets, downscaled {config.scale} times by Pillow's bicubic filter, which antialiases."
    else:
        inputs = targets.with_(images=outline(targets.images), size=None)
        inputs = fit(inputs, None, config.in_channels)
        note = f"inputs are outlines of the targets: black where neighbours differ by more than {OUTLINE} levels."
    return PairedImages(inputs.with_(notes=(note,)), targets)


def downscale(images: UInt8Array, factor: int) -> UInt8Array:
    """Return images uint8 [N, H, W, C] at 1/factor of their size: bicubic (a = -0.5), widened so as not to alias."""
    if factor == 1:
        return images
    n, height, width, channels = images.shape
    small = np.empty((n, height // factor, width // factor, channels), np.uint8)
    for row, image in zip(small, images, strict=True):
        resized = to_pil(image).resize((width // factor, height // factor), Image.Resampling.BICUBIC)
        row[:] = from_pil(resized)
    return small


def outline(images: UInt8Array) -> UInt8Array:
    """Return black outlines on white, uint8 [N, H, W, 1], of images uint8 [N, H, W, C].

    A pixel is black if it differs from its right or lower neighbour by more than ``OUTLINE`` in some channel.
    """
    lines = np.full((*images.shape[:3], 1), 255, np.uint8)
    for start in range(0, len(images), 1024):  # images at a time, to bound the memory
        values = images[start : start + 1024].astype(np.int16)
        part = lines[start : start + 1024, :, :, 0]
        part[:, :, :-1][np.abs(np.diff(values, axis=2)).max(axis=3) > OUTLINE] = 0
        part[:, :-1][np.abs(np.diff(values, axis=1)).max(axis=3) > OUTLINE] = 0
    return lines


def _unpaired(config: TranslationConfig, split: str) -> PairedImages:
    data = load_images(
        config.data, split=split, resolution=config.resolution, channels=config.channels, holdout=config.holdout
    )
    names = (config.domain_a or "A", config.domain_b or "B")
    if data.labels is None:
        raise DataError(
            f"{config.data} has neither two folders, trainA and trainB, nor labels.",
            "Make the folders, or give images with labels and --set domain_a=..., --set domain_b=...",
        )
    names = names if config.direction == "AtoB" else names[::-1]
    chosen = []
    for name in names:
        if name not in data.class_names:
            raise InvalidOption.unknown("label for domain_a and domain_b", name, data.class_names)
        rows = np.flatnonzero(data.labels == data.class_names.index(name))
        if not len(rows):
            raise DataError(f"{data.name} has no images of {name}.", "Choose another label.")
        chosen.append(data.only(rows).with_(labels=None, class_names=(), notes=()))
    return PairedImages(chosen[0].noting(f"inputs are {names[0]}, targets {names[1]}."), chosen[1], paired=False)


def _domains(root: Path) -> tuple[Path, Path] | None:
    """Return the folders A and B of a source, in any case; None if it does not have both."""
    try:
        by_name = {entry.name.upper(): entry for entry in root.expanduser().iterdir() if entry.is_dir()}
    except OSError:
        return None
    return (by_name["A"], by_name["B"]) if {"A", "B"} <= by_name.keys() else None


def _from_folders(config: TranslationConfig, split: str) -> PairedImages:
    domains = _domains(Path(config.data))
    if domains is None:
        raise DataError(
            f"{config.data} has no folders A and B.",
            "Make them, with files of equal names for the two sides of a pair.",
        )
    wanted = "train" if split == HOLDOUT else split
    sets = [load_images(folder, split=wanted, resolution=config.resolution, labels="none") for folder in domains]
    rows = [_by_stem(each) for each in sets]
    common = rows[0].keys() & rows[1].keys()
    if not common:
        raise DataError(f"No file in {domains[0]} has the name of one in {domains[1]}.", "Give pairs equal names.")
    alone = [LeftOut(name, "it has no partner") for each in rows for name in each if name not in common]
    inputs, targets = (
        each.only(np.array([row[name] for name in sorted(common)])) for each, row in zip(sets, rows, strict=True)
    )
    note = f"{len(common)} pairs by name" + (f", {len(alone)} files without a partner are left out." if alone else ".")
    return PairedImages(inputs.noting(note), targets.with_(name=Path(config.data).name, left_out=tuple(alone)))


def _by_stem(data: ImageSet) -> dict[str, int]:
    """Return the row of each image by the name of its file without the ending."""
    found: dict[str, int] = {}
    for row in range(len(data)):
        stem = PurePosixPath(data.name_of(row)).stem
        if stem in found:
            raise DataError(f"Two images of {data.name} are called {stem}.", "Names in A, and in B, must differ.")
        found[stem] = row
    return found


def _side_by_side(config: TranslationConfig, split: str) -> PairedImages:
    """Read pictures twice as wide as high: A on the left, B on the right."""
    folder = Path(config.data).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"{config.data} is no folder of pairs.",
            "Give one with A and B, or with pictures side by side, or pairs=edges.",
        )
    try:
        names = list_files([folder]).images
    except UNREADABLE as error:
        raise DataError(f"{folder} cannot be read: {' '.join(str(error).split())}.", "Give another folder.") from error
    if not names:
        raise DataError(f"{folder} holds no images.", "Pairs are folders A and B, or pictures side by side.")
    kept = lay_out(names, "train" if split == HOLDOUT else split, str(folder)).kept
    wanted = sorted(kept, key=lambda position: names[position])
    halves = [new_images(len(wanted), config.resolution, 3) for _ in range(2)]
    row_of = {position: row for row, position in enumerate(wanted)}
    broken: dict[int, LeftOut] = {}
    for position, entry in enumerate(image_entries([folder])):
        if position not in row_of:
            continue
        try:
            picture = read_image(io.BytesIO(entry.read())).image.convert("RGB")
            if picture.width != 2 * picture.height:
                raise ValueError(f"it has {picture.width}x{picture.height} pixels, and not two squares side by side")
            for half, images in enumerate(halves):
                square = picture.crop((half * picture.height, 0, (half + 1) * picture.height, picture.height))
                images[row_of[position]] = from_pil(crop_and_resize(square, config.resolution))
        except UNREADABLE as error:
            broken[row_of[position]] = LeftOut(entry.name, str(error).replace("\n", " "), broken=True)
    if len(broken) > MAX_LEFT_OUT * len(wanted):
        shown = examples(f"{file}: {reason}" for file, reason, _ in broken.values())
        raise DataError(
            f"{len(broken)} of {len(wanted)} pictures in {folder} are no pairs ({shown}).",
            "A pair is one picture twice as wide as high, or two files of equal names in the folders A and B.",
        )
    good = np.array([row for row in range(len(wanted)) if row not in broken])
    inputs, targets = (
        ImageSet(folder.name, images, names=tuple(names[position] for position in wanted)).only(good)
        for images in halves
    )
    note = "pictures hold A on the left and B on the right."
    return PairedImages(inputs.noting(note), targets.with_(left_out=tuple(broken.values())))


def _of_split(pairs: PairedImages, split: str, share: float) -> PairedImages:
    """Return the pairs of ``train`` or ``holdout``; of ``test`` all that were read."""
    check_split(split, share)
    if not share or split == "test":
        return pairs
    mask = held_out(len(pairs.inputs), share)
    rows = mask if split == HOLDOUT else ~mask
    return PairedImages(pairs.inputs.only(rows), pairs.targets.only(rows))


def as_rows(*sets: Sequence[UInt8Array] | UInt8Array, columns: int = 8) -> UInt8Array:
    """Return images uint8 [n·len(sets), H, W, C] for a grid of ``columns``: a row of each set, then the next ones.

    All sets have n images; smaller ones are enlarged by repeating pixels, and gray ones become RGB where others are.
    """
    side = max(each[0].shape[0] for each in sets)
    channels = max(each[0].shape[2] for each in sets)
    fitted = []
    for each in sets:
        images = np.stack(list(each))
        factor = side // images.shape[1]
        images = images.repeat(factor, axis=1).repeat(factor, axis=2)
        fitted.append(np.broadcast_to(images, (*images.shape[:3], channels)))
    rows = []
    for start in range(0, len(fitted[0]), columns):
        for images in fitted:
            part = images[start : start + columns]
            rows.append(np.pad(part, ((0, columns - len(part)), (0, 0), (0, 0), (0, 0)), constant_values=255))
    return np.concatenate(rows)
